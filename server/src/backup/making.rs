//! Making backups on a running node.

use std::{
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use holdfast_core::State;
use holdfast_proto::log::v1::BackupHeader;
use holdfast_raft::aside;
use holdfast_seal::{PublicKey, Recipient, stream::Reader};
use parking_lot::Mutex;
use tokio::sync::MutexGuard;

use super::{BackupError, folder::Folder, format};
use crate::{dir::NodeDir, host::Host};

/// The backups of a node that runs.
pub(crate) struct Backups {
    dir: Arc<NodeDir>,
    folder: Folder,
    /// One is made or looked through at a time: two would fight for the disk.
    busy: tokio::sync::Mutex<()>,
    problem: Mutex<String>,
    newest_at_ms: AtomicU64,
}

impl Backups {
    pub(crate) fn new(dir: Arc<NodeDir>) -> Self {
        let configuration = dir.configuration();
        let folder = Folder::new(
            dir.backups(),
            configuration.name.clone(),
            configuration.cluster_id.as_str().into(),
        );
        Self {
            folder,
            dir,
            busy: tokio::sync::Mutex::new(()),
            problem: Mutex::default(),
            newest_at_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn dir(&self) -> &Arc<NodeDir> {
        &self.dir
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Why the last one that was due was not made, for whoever asks; empty: it was.
    pub(crate) fn problem(&self) -> String {
        self.problem.lock().clone()
    }

    pub(super) fn set_problem(&self, problem: String) {
        *self.problem.lock() = problem;
    }

    /// When the newest was made that is there, cluster time in milliseconds; 0: there is none.
    pub(crate) fn newest_at_ms(&self) -> u64 {
        self.newest_at_ms.load(Ordering::Relaxed)
    }

    /// Waits until nobody else makes one or looks one through.
    pub(super) async fn alone(&self) -> MutexGuard<'_, ()> {
        self.busy.lock().await
    }

    /// Sees what there is, for the status and the metrics. Blocks.
    pub(super) fn look(&self) -> Result<(), BackupError> {
        let own = self.folder.own()?;
        let newest = own.iter().max_by_key(|backup| backup.header().at_ms);
        let at_ms = newest.map_or(0, |backup| backup.header().at_ms);
        self.newest_at_ms.store(at_ms, Ordering::Relaxed);
        metrics::gauge!("holdfast_backup_newest_timestamp_seconds").set(at_ms as f64 / 1_000.0);
        metrics::gauge!("holdfast_backup_newest_bytes")
            .set(newest.map_or(0.0, |backup| backup.bytes() as f64));
        metrics::gauge!("holdfast_backups").set(own.len() as f64);
        Ok(())
    }

    /// Makes one now and returns where it is.
    pub(crate) async fn make(
        self: &Arc<Self>,
        host: &Host,
        scheduled: bool,
    ) -> Result<PathBuf, BackupError> {
        let _alone = self.alone().await;
        let begun = Instant::now();
        let made = self.make_alone(host, scheduled).await;
        let result = if made.is_ok() { "made" } else { "failed" };
        metrics::counter!("holdfast_backups_total", "result" => result).increment(1);
        metrics::histogram!("holdfast_backup_seconds").record(begun.elapsed());
        made
    }

    async fn make_alone(
        self: &Arc<Self>,
        host: &Host,
        scheduled: bool,
    ) -> Result<PathBuf, BackupError> {
        let job = host.replica.backup().await?;
        let state = job.state();
        let cluster = state.cluster();
        let header = BackupHeader {
            cluster_id: host.cluster.to_string(),
            cluster_name: cluster.map_or_else(String::new, |cluster| cluster.name.to_string()),
            lineage: cluster.map_or_else(String::new, |cluster| cluster.lineage.to_string()),
            member: host.id.0,
            member_name: host.name.to_string(),
            index: job.index(),
            revision: state.revision(),
            state_hash: Bytes::copy_from_slice(state.hash().as_bytes()),
            at_ms: host.replica.now_ms(),
            keys: state.usage().keys,
            body: 0,
            epoch: state.newest_epoch().map_or(0, |epoch| epoch.epoch),
            scheduled,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let readers = readers(state);
        let backups = self.clone();
        let made = aside("backup", move || {
            let signer = backups.dir.signer()?;
            backups.folder.prepare()?;
            let (unpublished, file) = backups.folder.begin(header.at_ms, header.index)?;
            let path = unpublished.path.clone();
            let archive = |to: &mut dyn Write| job.write_to(to).map_err(BackupError::from);
            let readers: Vec<Reader<'_>> = readers
                .iter()
                .map(|(recipient, key)| Reader::Holder(*recipient, key))
                .collect();
            format::write(&path, file, header, &readers, &signer, archive)?;
            let made = unpublished.publish()?;
            backups.look()?;
            Ok(made)
        });
        made.await
            .unwrap_or_else(|error| Err(BackupError::Thread(error.to_string())))
    }
}

/// Runs what blocks on a thread for that.
pub(super) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, BackupError> + Send + 'static,
) -> Result<R, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| BackupError::Thread(error.to_string()))?
}

/// Whom a backup is sealed for: every member that holds keys, and the recovery key. Nobody while there is
/// no keyring: then there are no secrets, and nobody could open it.
fn readers(state: &State) -> Vec<(Recipient, PublicKey)> {
    let Some(recovery) = state.recovery() else {
        return Vec::new();
    };
    let members = state
        .key_holders()
        .map(|(id, key)| (Recipient::Member(id.0), &key.public_key));
    members
        .chain([(Recipient::Recovery, &recovery.public_key)])
        .filter_map(|(recipient, key)| Some((recipient, PublicKey::from_bytes(key).ok()?)))
        .collect()
}
