//! The state machine as consensus sees it, over the store on disk.
//!
//! Entries are applied in batches, each under one write lock of the store; whoever waits for a
//! batch is answered after it. Readers never come through here: they use the store.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use holdfast_core::Context;
use holdfast_disk::{ArchiveFile, ArchiveJob, IncomingArchive, Store};
use holdfast_proto::log::v1 as wire;
use openraft::storage::RaftStateMachine;
use prost::Message as _;
use tokio::sync::watch;

use crate::{
    progress::Progress,
    record::{meta_of_wire, meta_to_wire},
    snapshot::{Builder, Newest, SnapshotData},
    turns::let_others_run,
    types::{
        ApplyResponder, EntryResponder, LogId, Payload, Response, Snapshot, SnapshotMeta,
        StoredMembership, Types,
    },
};

/// Most entries applied under one lock.
const BATCH_ENTRIES: usize = 512;

/// Owned by the core's worker; shares the store with everybody.
pub(crate) struct Machine {
    store: Store,
    progress: Arc<Progress>,
    last: Option<LogId>,
    membership: StoredMembership,
    newest: Newest,
}

impl Machine {
    /// `meta` is what the loaded archive says of itself, if one was loaded.
    pub(crate) fn new(
        store: Store,
        progress: Arc<Progress>,
        meta: Option<Bytes>,
    ) -> Result<Self, io::Error> {
        let meta = meta.map(decode_meta).transpose()?;
        let newest = Newest::default();
        if let Some((meta, file)) = meta.clone().zip(store.newest_archive()) {
            newest.replace(meta, file);
        }
        let meta = meta.unwrap_or_default();
        progress.jump(meta.last_log_id);
        Ok(Self {
            store,
            progress,
            last: meta.last_log_id,
            membership: meta.last_membership,
            newest,
        })
    }

    /// An archive of this very moment, to be written elsewhere.
    pub(crate) fn prepare(&self) -> (SnapshotMeta, ArchiveJob) {
        let meta = SnapshotMeta {
            last_log_id: self.last,
            last_membership: self.membership.clone(),
        };
        let header = meta_to_wire(&meta).encode_to_vec();
        let job = self.store.prepare_archive(header.into());
        (meta, job)
    }

    /// An archive was written and synced.
    pub(crate) fn archived(&self, meta: SnapshotMeta, file: ArchiveFile) {
        self.newest.advance(meta, file);
    }

    fn finish(&mut self, batch: &mut Batch) -> Result<(), io::Error> {
        let Some(last) = batch.last.take() else {
            return Ok(());
        };
        let mut replies = self.store.apply(batch.commands.drain(..)).into_iter();
        self.last = Some(last);
        for slot in batch.slots.drain(..) {
            let reply = if slot.is_command {
                Some(replies.next().ok_or_else(|| {
                    io::Error::other("the store answered fewer commands than it was given")
                })?)
            } else {
                None
            };
            if let Some(responder) = slot.responder {
                responder.send(Response(reply));
            }
        }
        self.progress
            .advance(last, std::mem::take(&mut batch.bytes));
        Ok(())
    }
}

/// Tells watchers of new revisions, once whatever else is ready has run: so a leader lets its followers
/// know of a commit before it makes the events of its own watchers, and theirs are served at the same time.
///
/// Between two groups of watchers the first one's events are made and sent, and whoever else waits for the
/// processor has a turn: it may be who reads them.
pub(crate) async fn announce(store: Store, mut applied: watch::Receiver<Option<LogId>>) {
    // What was committed before a start is applied before this begins to listen.
    loop {
        for group in 0..Store::GROUPS {
            if store.announce(group) {
                tokio::task::yield_now().await;
                let_others_run();
            }
        }
        if applied.changed().await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
        applied.mark_unchanged();
    }
}

/// Entries on their way into the store together.
#[derive(Default)]
struct Batch {
    commands: Vec<(Context, Bytes)>,
    slots: Vec<Slot>,
    last: Option<LogId>,
    bytes: u64,
}

struct Slot {
    is_command: bool,
    responder: Option<ApplyResponder>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder, io::Error>> + Unpin + Send,
    {
        let mut batch = Batch::default();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            batch.last = Some(entry.log_id);
            let is_command = match entry.payload {
                Payload::Blank => false,
                Payload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    false
                }
                Payload::Normal(record) => {
                    batch.bytes += record.bytes() as u64;
                    let (context, command) = record.command(&entry.log_id)?;
                    #[cfg(feature = "faults")]
                    let command = crate::faults::misapply(command);
                    batch.commands.push((context, command));
                    true
                }
            };
            batch.slots.push(Slot {
                is_command,
                responder,
            });
            if batch.slots.len() >= BATCH_ENTRIES {
                self.finish(&mut batch)?;
                tokio::task::yield_now().await;
            }
        }
        self.finish(&mut batch)
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if force {
            // Asked for at a start that finds a log cut short and no archive.
            return Some(self.get_snapshot_builder().await);
        }
        let (meta, file) = self.newest.get()?;
        Some(Builder::Ready(meta, file))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let (meta, job) = self.prepare();
        Builder::Job(meta, Some(job), self.newest.clone())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let incoming = match snapshot {
                SnapshotData::Received(incoming) => incoming,
                SnapshotData::Here(file) => copy(&store, &file)?,
            };
            store.install(incoming).map_err(io::Error::other)
        })
        .await
        .map_err(io::Error::other)??;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        if let Some(file) = self.store.newest_archive() {
            self.newest.replace(meta.clone(), file);
        }
        self.progress.jump(self.last);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.newest.get().map(|(meta, file)| Snapshot {
            meta,
            snapshot: SnapshotData::Here(file),
        }))
    }
}

/// An archive of another folder, as if it had been received.
fn copy(store: &Store, file: &ArchiveFile) -> Result<IncomingArchive, io::Error> {
    use std::io::Read as _;

    let mut incoming = store.incoming().map_err(io::Error::other)?;
    let mut source = std::fs::File::open(&file.path)?;
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            return Ok(incoming);
        }
        incoming.write(&chunk[..read]).map_err(io::Error::other)?;
    }
}

fn decode_meta(header: Bytes) -> Result<SnapshotMeta, io::Error> {
    let meta = wire::SnapshotMeta::decode(header).map_err(io::Error::other)?;
    Ok(meta_of_wire(meta)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use holdfast_core::{Body, Command, Put, PutOperation};
    use holdfast_disk::StoreOptions;
    use holdfast_proto::Timestamp;

    use super::*;

    /// Applies the first command, and so on.
    fn put(store: &Store, index: u64) {
        let put = Put {
            put: PutOperation::new("key".try_into().unwrap(), "value".into()),
            expected: None,
        };
        let at = Timestamp::from_millis(index);
        let command = Command::internal("node/n1", Body::Put(put)).encode();
        store.apply([(Context { index, term: 1, at }, command)].into_iter());
    }

    async fn told(waiting: &mut watch::Receiver<u64>, newest: u64) {
        let told = waiting.wait_for(|revision| *revision == newest);
        let told = tokio::time::timeout(Duration::from_secs(10), told).await;
        assert!(told.is_ok_and(|told| told.is_ok()), "{newest}");
    }

    #[tokio::test]
    async fn what_was_applied_before_and_what_is_applied_later_is_announced_to_all() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let mut waiting = [(); 2 * Store::GROUPS].map(|()| store.revisions());
        let (progress, applied) = watch::channel(None);
        put(&store, 1);
        tokio::spawn(announce(store.clone(), applied));
        for newest in [1, 2] {
            for waiting in &mut waiting {
                told(waiting, newest).await;
            }
            put(&store, newest + 1);
            progress.send_replace(None);
        }
    }

    #[tokio::test]
    async fn who_is_told_first_runs_before_the_others_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let (mut first, mut second) = (store.revisions(), store.revisions());
        assert!(!first.same_channel(&second));
        let (_progress, applied) = watch::channel(None);
        put(&store, 1);
        let others = second.clone();
        let runs = tokio::spawn(async move {
            told(&mut first, 1).await;
            others.has_changed().unwrap()
        });
        tokio::spawn(announce(store.clone(), applied));
        assert!(!runs.await.unwrap(), "the second knew, too");
        told(&mut second, 1).await;
    }
}
