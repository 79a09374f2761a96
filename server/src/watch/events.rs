//! Changes as watchers get them.

use std::ops::Range;

use holdfast_core::{Change, Located, OlderEvent, ReadError, State};
use holdfast_disk::Store;
use holdfast_proto::{
    KeyRange,
    v1::{self, event::Type},
};
use tonic::Status;

use crate::{convert, kv, status};

/// Messages in the making, from whole revisions.
pub(super) struct Batch {
    done: Vec<v1::WatchEvents>,
    open: v1::WatchEvents,
    bytes: usize,
    /// Everything below is delivered, or in `done` and `open`.
    next: u64,
}

impl Batch {
    /// A batch whose first revision is `next` or later.
    pub(super) fn new(next: u64) -> Self {
        Self {
            done: Vec::new(),
            open: v1::WatchEvents::default(),
            bytes: 0,
            next,
        }
    }

    /// Adds all events of one revision.
    fn push(&mut self, revision: u64, events: impl Iterator<Item = v1::Event>) {
        for event in events {
            let bytes = size(&event);
            if self.bytes + bytes > PART_BYTES {
                self.close();
            }
            self.bytes += bytes;
            self.open.events.push(event);
        }
        self.next = revision + 1;
        if self.bytes > MESSAGE_BYTES {
            self.close();
        }
    }

    /// Ends a message: what it says was delivered are the revisions that came whole.
    fn close(&mut self) {
        if !self.open.events.is_empty() {
            self.open.revision = self.next - 1;
            self.done.push(std::mem::take(&mut self.open));
            self.bytes = 0;
        }
    }

    /// The messages; after the last, everything up to and with `newest` is delivered.
    pub(super) fn finish(mut self, newest: u64) -> Vec<v1::WatchEvents> {
        self.close();
        if let Some(last) = self.done.last_mut() {
            last.revision = newest;
        }
        self.done
    }
}

/// Adds what a recent change did to `range`.
pub(super) fn push_recent(batch: &mut Batch, change: &Change, range: &KeyRange, previous: bool) {
    let events = change
        .events
        .iter()
        .filter(|event| range.contains(event.key.as_bytes()))
        .map(|event| {
            let before = event.before.as_ref().filter(|_| previous);
            let previous = before.map(|entry| entry.to_wire(&event.key, true));
            match &event.now {
                Some(entry) => v1::Event {
                    r#type: Type::Put.into(),
                    entry: Some(entry.to_wire(&event.key, true)),
                    previous,
                },
                None => v1::Event {
                    r#type: Type::Delete.into(),
                    entry: Some(v1::Entry {
                        key: event.key.to_bytes(),
                        modified: change.revision.get(),
                        author: change.author.to_string(),
                        at_ms: change.at.as_millis(),
                        note: change.note.to_string(),
                        ..v1::Entry::default()
                    }),
                    previous,
                },
            }
        });
    batch.push(change.revision.get(), events);
}

/// What became of revisions that left memory.
pub(super) enum Older {
    /// Their events, up to and with the revision.
    Kept(Batch, u64),
    /// They are no longer kept.
    Compacted {
        /// The first revision that can still be watched from.
        oldest: u64,
    },
}

/// Events of `revisions` that left memory, as many as make one batch. Blocks.
pub(super) fn older(
    state: &State,
    store: &Store,
    range: &KeyRange,
    revisions: Range<u64>,
    previous: bool,
) -> Result<Older, Status> {
    let found = state.older_changes(range, revisions.start, revisions.end, EVENTS_AT_ONCE);
    let changes = match found {
        Ok(changes) => changes,
        Err(ReadError::Compacted { oldest }) => return Ok(Older::Compacted { oldest }),
        Err(error) => return Err(status::not_readable(&error)),
    };
    let mut batch = Batch::new(revisions.start);
    let mut bytes = 0;
    for events in changes
        .events
        .chunk_by(|one, other| one.now.revision == other.now.revision)
    {
        let revision = events[0].now.revision.get();
        let events = events
            .iter()
            .map(|event| older_event(store, event, previous))
            .collect::<Result<Vec<_>, _>>()?;
        bytes += events.iter().map(size).sum::<usize>();
        batch.push(revision, events.into_iter());
        if bytes > BATCH_BYTES {
            return Ok(Older::Kept(batch, revision));
        }
    }
    Ok(Older::Kept(batch, changes.next - 1))
}

fn older_event(store: &Store, event: &OlderEvent, previous: bool) -> Result<v1::Event, Status> {
    let value = match &event.value {
        Some(located) => Some(resolve(store, located)?),
        None => None,
    };
    let before = match &event.before {
        Some((meta, located)) if previous => Some(convert::version(
            &event.key,
            meta,
            Some(resolve(store, located)?),
        )),
        _ => None,
    };
    let kind = if event.now.is_deletion() {
        Type::Delete
    } else {
        Type::Put
    };
    Ok(v1::Event {
        r#type: kind.into(),
        entry: Some(convert::version(&event.key, &event.now, value)),
        previous: before,
    })
}

fn resolve(store: &Store, located: &Located) -> Result<holdfast_proto::Value, Status> {
    match located {
        Located::Here(entry) => Ok(entry.value.clone()),
        Located::Past(id) => kv::value(store, id),
    }
}

fn size(event: &v1::Event) -> usize {
    event
        .entry
        .iter()
        .chain(&event.previous)
        .map(convert::size)
        .sum::<usize>()
        + 16
}

/// A message is closed once it is larger than this …
const MESSAGE_BYTES: usize = 1024 * 1024;
/// … and never larger than this: a revision above it comes in parts.
const PART_BYTES: usize = 12 * 1024 * 1024;
const BATCH_BYTES: usize = 1024 * 1024;
const EVENTS_AT_ONCE: usize = 1_024;
