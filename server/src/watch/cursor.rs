//! Where a watcher is in the history, and what comes next.

use bytes::Bytes;
use holdfast_core::{Changes, State};
use holdfast_disk::Store;
use holdfast_proto::{
    KeyRange,
    v1::{self, watch_response::Body},
};
use tonic::Status;

use super::events::{self, Batch, Older};
use crate::{convert, kv};

/// A place in the history of one range.
pub(super) struct Cursor {
    range: KeyRange,
    /// Events carry what was there before.
    previous: bool,
    /// First revision that was not delivered.
    next: u64,
    /// What is left of a snapshot; its events follow from `next` on.
    snapshot: Option<Snapshot>,
}

struct Snapshot {
    state: State,
    /// Where the next part begins.
    from: Bytes,
}

/// What a step brought.
pub(super) enum Advance {
    /// For the client.
    Deliver(Vec<Body>),
    /// Revisions went by that do not touch the range.
    Passed,
    /// There is nothing newer.
    CaughtUp,
}

impl Cursor {
    /// Delivers from revision `from` on.
    pub(super) fn from_revision(range: KeyRange, previous: bool, from: u64) -> Self {
        Self {
            range,
            previous,
            next: from,
            snapshot: None,
        }
    }

    /// Delivers the range as it is in `state`, then what comes after.
    pub(super) fn from_snapshot(range: KeyRange, previous: bool, state: State) -> Self {
        Self {
            next: state.revision() + 1,
            snapshot: Some(Snapshot {
                from: range.start().clone(),
                state,
            }),
            range,
            previous,
        }
    }

    /// The revision from which events follow.
    pub(super) fn from(&self) -> u64 {
        self.next
    }

    /// Everything up to and with this revision was delivered.
    pub(super) fn delivered(&self) -> u64 {
        self.next - 1
    }

    /// The next step.
    pub(super) async fn advance(&mut self, store: &Store) -> Result<Advance, Status> {
        if let Some(snapshot) = self.snapshot.take() {
            let part = self.next_part(snapshot);
            return Ok(Advance::Deliver(vec![Body::Snapshot(part)]));
        }
        let next = self.next;
        match store.read(|state| state.changes_since(next, BATCH_BYTES)) {
            Changes::Recent(changes) => {
                let Some(newest) = changes.last().map(|change| change.revision.get()) else {
                    return Ok(Advance::CaughtUp);
                };
                let mut batch = Batch::new(self.next);
                for change in &changes {
                    events::push_recent(&mut batch, change, &self.range, self.previous);
                }
                Ok(self.deliver(batch, newest))
            }
            Changes::Older { below } => {
                let (state, past) = (store.view(), store.clone());
                let (range, previous) = (self.range.clone(), self.previous);
                let older = move || events::older(&state, &past, &range, next..below, previous);
                match kv::on_blocking_thread(older).await? {
                    Older::Kept(batch, newest) => Ok(self.deliver(batch, newest)),
                    Older::Compacted { oldest } => Ok(self.start_over(store, oldest)),
                }
            }
            Changes::Compacted { oldest } => Ok(self.start_over(store, oldest)),
        }
    }

    /// What comes next is gone: a snapshot replaces it.
    fn start_over(&mut self, store: &Store, oldest: u64) -> Advance {
        *self = Self::from_snapshot(self.range.clone(), self.previous, store.view());
        Advance::Deliver(vec![Body::Compacted(v1::WatchCompacted {
            compacted: oldest,
        })])
    }

    fn deliver(&mut self, batch: Batch, newest: u64) -> Advance {
        self.next = newest + 1;
        let messages = batch.finish(newest);
        if messages.is_empty() {
            return Advance::Passed;
        }
        Advance::Deliver(messages.into_iter().map(Body::Events).collect())
    }

    fn next_part(&mut self, snapshot: Snapshot) -> v1::WatchSnapshot {
        let Snapshot { state, from } = snapshot;
        let mut part = v1::WatchSnapshot {
            revision: state.revision(),
            entries: Vec::new(),
            last: true,
        };
        let mut bytes = 0;
        for (key, entry) in state.range(&self.range.continue_from(from)) {
            if bytes > PART_BYTES {
                part.last = false;
                let from = key.to_bytes();
                self.snapshot = Some(Snapshot {
                    state: state.clone(),
                    from,
                });
                break;
            }
            let entry = entry.to_wire(key, true);
            bytes += convert::size(&entry);
            part.entries.push(entry);
        }
        part
    }
}

/// Changes taken at a time, bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// A part of a snapshot, with one value more, fits the 4 MiB that gRPC clients take by default.
const PART_BYTES: usize = 1024 * 1024;
