//! Events of revisions that left memory: what is known of them is in the state, values are on disk.

use std::ops::Range;

use holdfast_core::{Located, OlderEvent, ReadError, State, VersionMeta};
use holdfast_disk::Store;
use holdfast_proto::{
    Value, ValueKind,
    etcd::mvccpb::{Event, event::EventType},
};
use tonic::Status;

use super::watcher::Watcher;
use crate::etcd::{convert, error, range::not_at_hand};

/// What became of older revisions.
pub(super) enum Older {
    /// Their events, and the first revision that is not among them.
    Kept(Vec<Event>, u64),
    /// They are no longer kept; the first one that is.
    Gone(u64),
}

/// What a watch needs to know here.
#[derive(Clone)]
pub(super) struct Wanted {
    range: holdfast_proto::KeyRange,
    previous: bool,
    puts: bool,
    deletes: bool,
}

impl Wanted {
    pub(super) fn of(watcher: &Watcher) -> Self {
        Self {
            range: watcher.range.clone(),
            previous: watcher.previous,
            puts: watcher.puts,
            deletes: watcher.deletes,
        }
    }
}

/// Events of `revisions`, as many as make one message, whole revisions only. Blocks.
pub(super) fn events(
    state: &State,
    store: &Store,
    wanted: &Wanted,
    revisions: Range<u64>,
) -> Result<Older, Status> {
    let found = state.older_changes(
        &wanted.range,
        revisions.start,
        revisions.end,
        EVENTS_AT_ONCE,
    );
    let changes = match found {
        Ok(changes) => changes,
        Err(ReadError::Compacted { oldest }) => return Ok(Older::Gone(oldest)),
        Err(ReadError::Future { .. }) => return Err(error::future_revision()),
    };
    let mut events = Vec::new();
    let mut bytes = 0;
    let by_revision = changes
        .events
        .chunk_by(|one, other| one.now.revision == other.now.revision);
    for changed in by_revision {
        if bytes > MESSAGE_BYTES {
            return Ok(Older::Kept(events, changed[0].now.revision.get()));
        }
        for event in changed {
            let Some(event) = show(store, event, wanted)? else {
                continue;
            };
            bytes += prost::Message::encoded_len(&event);
            events.push(event);
        }
    }
    Ok(Older::Kept(events, changes.next))
}

fn show(store: &Store, event: &OlderEvent, wanted: &Wanted) -> Result<Option<Event>, Status> {
    let deleted = event.now.is_deletion();
    if (deleted && !wanted.deletes) || (!deleted && !wanted.puts) {
        return Ok(None);
    }
    let sealed = |meta: &VersionMeta| meta.kind == Some(ValueKind::Sealed);
    let before = event.before.as_ref();
    if sealed(&event.now) || (deleted && before.is_some_and(|(meta, _)| sealed(meta))) {
        return Ok(None);
    }
    let key = event.key.to_bytes();
    let pair = match &event.value {
        Some(located) => convert::version(key.clone(), &event.now, Some(&resolve(store, located)?)),
        None => convert::deleted(key.clone(), event.now.revision.get()),
    };
    let before = match &event.before {
        Some((meta, located)) if wanted.previous && !sealed(meta) => {
            Some(convert::version(key, meta, Some(&resolve(store, located)?)))
        }
        _ => None,
    };
    let kind = if deleted {
        EventType::Delete
    } else {
        EventType::Put
    };
    Ok(Some(Event {
        r#type: kind.into(),
        kv: Some(pair),
        prev_kv: before,
    }))
}

fn resolve(store: &Store, located: &Located) -> Result<Value, Status> {
    match located {
        Located::Here(entry) => Ok(entry.value.clone()),
        Located::Past(id) => store.value(id).map_err(|error| not_at_hand(&error)),
    }
}

const MESSAGE_BYTES: usize = 1024 * 1024;
const EVENTS_AT_ONCE: usize = 1_024;
