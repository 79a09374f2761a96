//! The changes of the newest revisions, kept whole in memory for watches.
//!
//! Not part of what nodes agree on: a node that started from an archive has fewer. What leaves the
//! window while still known as an older version is *retired*: its value goes to the past.

use std::sync::Arc;

use holdfast_proto::{Key, Revision, Timestamp};
use imbl::Vector;
use smallvec::SmallVec;

use crate::{entry::Entry, limits::Limits};

/// What one command changed: all of one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The revision.
    pub revision: Revision,
    /// Who.
    pub author: Arc<str>,
    /// Why.
    pub note: Arc<str>,
    /// Cluster time.
    pub at: Timestamp,
    /// One for each changed key, by key.
    pub events: ChangeEvents,
}

/// The events of a change. Most changes are of one key.
pub type ChangeEvents = SmallVec<[ChangeEvent; 1]>;

/// What became of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeEvent {
    /// The key.
    pub key: Key,
    /// Its new entry; `None`: deleted.
    pub now: Option<Arc<Entry>>,
    /// The entry before; `None`: there was none.
    pub before: Option<Arc<Entry>>,
}

/// What is recent from a revision on.
#[derive(Clone, Debug)]
pub enum Changes {
    /// The changes from that revision on, in order; as many as fit, at least one if there is one.
    Recent(Vec<Arc<Change>>),
    /// The revision is older than the window: ask
    /// [`State::older_changes`](crate::State::older_changes), below this revision.
    Older {
        /// The first revision of the window.
        below: u64,
    },
    /// The revision was compacted away.
    Compacted {
        /// The first revision that can still be watched from.
        oldest: u64,
    },
}

#[derive(Clone)]
pub(crate) struct Recent {
    changes: Vector<Arc<Change>>,
    /// The revision of the first change, or the next one.
    pub(crate) first: u64,
    pub(crate) bytes: usize,
}

impl Recent {
    /// Empty; the next change is that of revision `next`.
    pub(crate) fn starting_at(next: u64) -> Self {
        Self {
            changes: Vector::new(),
            first: next,
            bytes: 0,
        }
    }

    /// Whether what was replaced at `revision` is still here, or about to come.
    pub(crate) fn holds(&self, revision: u64) -> bool {
        revision >= self.first
    }

    pub(crate) fn push(&mut self, change: Arc<Change>) {
        self.bytes += weight(&change);
        self.changes.push_back(change);
    }

    /// Takes out the oldest change, if the window is over its limits. The newest always stays.
    pub(crate) fn pop_excess(&mut self, limits: &Limits) -> Option<Arc<Change>> {
        let over = self.changes.len() > limits.recent_revisions || self.bytes > limits.recent_bytes;
        if !over || self.changes.len() < 2 {
            return None;
        }
        let change = self.changes.pop_front()?;
        self.bytes -= weight(&change);
        self.first += 1;
        Some(change)
    }

    /// The changes that leave a full window when so many more come.
    pub(crate) fn next_to_leave(&self, more: usize) -> impl Iterator<Item = &Arc<Change>> {
        self.changes.iter().take(more)
    }

    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// The change of a revision, if it is here.
    pub(crate) fn change(&self, revision: u64) -> Option<&Arc<Change>> {
        let index = revision.checked_sub(self.first)?;
        self.changes.get(usize::try_from(index).ok()?)
    }

    /// From a revision on, until `max_bytes` are passed.
    pub(crate) fn since(&self, from: u64, max_bytes: usize) -> Vec<Arc<Change>> {
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut found = Vec::new();
        if skip >= self.changes.len() {
            return found;
        }
        for change in self.changes.skip(skip).iter() {
            bytes += change.bytes();
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(Arc::clone(change));
        }
        found
    }
}

impl Change {
    /// The event of a key, if it changed.
    pub fn event(&self, key: &Key) -> Option<&ChangeEvent> {
        let index = self
            .events
            .binary_search_by(|event| event.key.cmp(key))
            .ok()?;
        Some(&self.events[index])
    }

    /// About how large its new values are with their keys, bytes.
    pub fn bytes(&self) -> usize {
        let sizes = self.events.iter().map(|event| {
            let value = event.now.as_ref().map_or(0, |entry| entry.value.size());
            event.key.as_bytes().len() + value + EVENT_OVERHEAD
        });
        sizes.sum()
    }
}

/// What a change keeps in memory that the current entries do not.
fn weight(change: &Change) -> usize {
    let sizes = change
        .events
        .iter()
        .map(|event| EVENT_OVERHEAD + event.before.as_ref().map_or(0, |entry| entry.value.size()));
    sizes.sum()
}

/// What an event costs beside its values, bytes.
const EVENT_OVERHEAD: usize = 200;
