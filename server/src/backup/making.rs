//! Making backups on a running node.

use std::{io::Write, path::PathBuf, sync::Arc};

use bytes::Bytes;
use holdfast_core::State;
use holdfast_proto::log::v1::BackupHeader;
use holdfast_seal::{PublicKey, Recipient, stream::Reader};
use parking_lot::Mutex;

use super::{BackupError, folder::Folder, format};
use crate::{dir::NodeDir, host::Host};

/// The backups of a node that runs.
pub(crate) struct Backups {
    dir: Arc<NodeDir>,
    /// One at a time: two would fight for the disk.
    making: tokio::sync::Mutex<()>,
    problem: Mutex<Option<String>>,
}

impl Backups {
    pub(crate) fn new(dir: Arc<NodeDir>) -> Self {
        Self {
            dir,
            making: tokio::sync::Mutex::new(()),
            problem: Mutex::default(),
        }
    }

    pub(crate) fn dir(&self) -> &Arc<NodeDir> {
        &self.dir
    }

    pub(crate) fn folder(&self) -> Folder {
        Folder::new(self.dir.backups())
    }

    /// Why the last one that was due was not made.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }

    /// Makes one now and returns where it is.
    pub(crate) async fn make(&self, host: &Host, scheduled: bool) -> Result<PathBuf, BackupError> {
        let _one = self.making.lock().await;
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
        let (folder, dir) = (self.folder(), self.dir.clone());
        tokio::task::spawn_blocking(move || {
            let signer = dir.signer()?;
            folder.prepare()?;
            let (unpublished, file) = folder.begin(header.at_ms, header.index)?;
            let path = unpublished.path.clone();
            let archive = |to: &mut dyn Write| job.write_to(to).map_err(BackupError::from);
            let readers: Vec<Reader<'_>> = readers
                .iter()
                .map(|(recipient, key)| Reader::Holder(*recipient, key))
                .collect();
            format::write(&path, file, header, &readers, &signer, archive)?;
            unpublished.publish()
        })
        .await
        .map_err(|error| BackupError::Thread(error.to_string()))?
    }
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
