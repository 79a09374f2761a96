//! Making a decided set of writes the newest revision: the one place where the keyspace changes.

use std::sync::Arc;

use holdfast_proto::{Key, Revision, Timestamp};
use smallvec::SmallVec;

use crate::{
    State,
    apply::Work,
    entry::{Entry, Retired, VersionId, VersionMeta},
    hash::Digest,
    keyring::{Wrap, secret::wrap_bytes},
    keyspace::{present_bytes, replaced_bytes},
    recent::{Change, ChangeEvent, ChangeEvents},
    reply::{Reason, Refusal},
    retention,
};

/// What every write of one command carries.
#[derive(Clone)]
pub(crate) struct Stamp {
    pub(crate) revision: Revision,
    pub(crate) author: Arc<str>,
    pub(crate) note: Arc<str>,
    pub(crate) at: Timestamp,
}

/// Writes of one revision.
#[derive(Default)]
pub(crate) struct Staged {
    /// By key, each key once. `None`: the key goes.
    pub(crate) writes: SmallVec<[(Key, Option<Arc<Entry>>); 1]>,
    /// Of the sealed values among them.
    pub(crate) wraps: Vec<(Key, Wrap)>,
    /// There were more, which cancel each other out. They make a revision all the same, as in etcd.
    pub(crate) has_cancelled: bool,
}

/// More than what is known of one older version can cost, bytes.
const MOST_REPLACED_BYTES: u64 = 4 * 1024;

/// Whether the state has room for the writes. Pure deletions always have.
pub(crate) fn check_room(state: &State, staged: &Staged) -> Result<(), Refusal> {
    let used = state.state_bytes();
    // Far from the limit, what is replaced need not be looked up: it costs at most so much.
    let wraps = staged.wraps.iter();
    let wraps: u64 = wraps.map(|(key, wrap)| wrap_bytes(key, wrap)).sum();
    let at_most = staged.writes.iter().map(|(key, now)| {
        now.as_ref().map_or(0, |entry| present_bytes(key, entry)) + MOST_REPLACED_BYTES
    });
    if used + at_most.sum::<u64>() + wraps <= state.limits.state_bytes {
        return Ok(());
    }
    let (mut more, mut less, mut puts) = (wraps, 0, false);
    for (key, now) in &staged.writes {
        if let Some(before) = state.keys.current(key.as_bytes()) {
            less += present_bytes(key, before);
            more += replaced_bytes(key, before);
        }
        if let Some(entry) = now {
            puts = true;
            more += present_bytes(key, entry);
        }
    }
    if puts && more > less && used + (more - less) > state.limits.state_bytes {
        let most = state.limits.state_bytes;
        let message = format!(
            "the store holds {used} of {most} bytes and has no room for this; delete keys, or keep \
             less history"
        );
        return Err(Refusal::new(Reason::StateFull, message)
            .numbers(used, most)
            .limit("state bytes"));
    }
    Ok(())
}

/// Writes them. The caller has checked everything: this cannot fail half-way.
pub(crate) fn commit(state: &mut State, stamp: &Stamp, staged: Staged, work: &mut Work) {
    if staged.writes.is_empty() && !staged.has_cancelled {
        return;
    }
    let mut events = ChangeEvents::with_capacity(staged.writes.len());
    for (key, now) in staged.writes {
        let before = match &now {
            Some(entry) => state.keys.put(&key, Arc::clone(entry)),
            None => {
                let Some(current) = state.keys.current(key.as_bytes()) else {
                    continue;
                };
                let deletion = deletion(current, stamp);
                state.keys.delete(&key, deletion)
            }
        };
        let lease = |entry: &Option<Arc<Entry>>| entry.as_ref().and_then(|entry| entry.meta.lease);
        state.leases.rebind(&key, lease(&before), lease(&now));
        if before.is_some() {
            retention::trim(state, &key, work);
        }
        events.push(ChangeEvent { key, now, before });
    }
    for (key, wrap) in staged.wraps {
        let revision = stamp.revision;
        state.keyring.insert_wrap(VersionId { key, revision }, wrap);
    }
    state.revision = stamp.revision.get();
    let change = Arc::new(Change {
        revision: stamp.revision,
        author: Arc::clone(&stamp.author),
        note: Arc::clone(&stamp.note),
        at: stamp.at,
        events,
    });
    state.recent.push(Arc::clone(&change));
    work.change = Some(change);
    retention::keep_budget(state, work);
    retire(state, work);
}

fn deletion(before: &Entry, stamp: &Stamp) -> VersionMeta {
    VersionMeta {
        revision: stamp.revision,
        created: before.meta.created,
        version: before.meta.version,
        kind: None,
        digest: Digest::NONE,
        author: Arc::clone(&stamp.author),
        note: Arc::clone(&stamp.note),
        at: stamp.at,
        lease: None,
        bytes: 0,
    }
}

/// Shrinks the window; hands out the values that leave memory with it.
fn retire(state: &mut State, work: &mut Work) {
    while let Some(change) = state.recent.pop_excess(&state.limits) {
        let by = change.revision;
        // Mostly nobody watches any more, and what was replaced can be moved out.
        for ChangeEvent { key, before, .. } in Arc::unwrap_or_clone(change).events {
            let Some(before) = before else {
                continue;
            };
            if state.keys.is_known_at(by, &key) {
                let Entry { value, meta } = Arc::unwrap_or_clone(before);
                work.retired.push(Retired {
                    id: VersionId {
                        key,
                        revision: meta.revision,
                    },
                    value,
                    digest: meta.digest,
                });
            }
        }
    }
}
