//! Reading a range as it was at an older revision.
//!
//! The state knows what there was; of values, it has those of the recent window, and names the
//! others for the past to find. Where something that the answer needs was forgotten, the read is
//! refused: an old read is right or there is none.

use std::sync::Arc;

use holdfast_proto::{Key, KeyRange, Revision};

use crate::{
    Digest, State,
    entry::{Entry, Located, VersionId, VersionMeta},
    foresight,
};

/// A key as it was.
#[derive(Clone, Debug)]
pub struct AtRevision {
    /// The key.
    pub key: Key,
    /// What is known of its version then.
    pub meta: VersionMeta,
    /// Where its value is.
    pub value: Located,
}

/// An older version that has a value.
#[derive(Clone, Debug, PartialEq)]
pub struct OlderValue {
    /// Which version.
    pub id: VersionId,
    /// The value's digest.
    pub digest: Digest,
    /// The version in memory; `None`: only the past has its value.
    pub entry: Option<Arc<Entry>>,
}

/// Why an older revision cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Some of it is no longer known.
    #[error("that revision is no longer known in whole; the oldest readable here is {oldest}")]
    Compacted {
        /// The oldest revision at which the range can be read.
        oldest: u64,
    },
    /// It is not there yet.
    #[error("that revision is not there yet; the newest is {newest}")]
    Future {
        /// The newest revision.
        newest: u64,
    },
}

impl State {
    /// The entries of a range as they were at a revision, by key. O(n) in the range and its history.
    pub fn range_at(
        &self,
        range: &KeyRange,
        revision: Revision,
    ) -> Result<Vec<AtRevision>, ReadError> {
        let at = revision.get();
        self.check_readable(range, at)?;
        let mut found = Vec::new();
        if at == self.revision {
            found.extend(self.keys.range(range).map(|(key, entry)| here(key, entry)));
            return Ok(found);
        }
        let mut current = self.keys.range(range).peekable();
        let mut older = self.keys.older_range(range).peekable();
        let mut oldest_needed = 0;
        loop {
            let key = match (current.peek(), older.peek()) {
                (Some((one, _)), Some((other, _))) => (*one).min(*other),
                (Some((key, _)), None) => *key,
                (None, Some((key, _))) => *key,
                (None, None) => break,
            };
            let entry = current
                .next_if(|(next, _)| *next == key)
                .map(|(_, entry)| entry);
            let mut version = None;
            let mut first = None;
            while let Some((_, meta)) = older.next_if(|(next, _)| *next == key) {
                first.get_or_insert(meta.revision.get());
                if meta.revision <= revision {
                    version = Some(meta);
                }
            }
            match (
                entry.filter(|entry| entry.meta.revision <= revision),
                version,
            ) {
                (Some(entry), _) => found.push(here(key, entry)),
                (None, Some(meta)) if meta.is_deletion() => {}
                (None, Some(meta)) => found.push(AtRevision {
                    key: key.clone(),
                    meta: VersionMeta::clone(meta),
                    value: self.locate_older(key, meta.revision),
                }),
                // Not there yet at that revision, unless its beginning was forgotten.
                (None, None) => {
                    let first = first.or(entry.map(|entry| entry.meta.revision.get()));
                    let history = self.keys.history(key.as_bytes());
                    if history.is_some_and(|history| history.forgotten > 0) {
                        oldest_needed = oldest_needed.max(first.unwrap_or(0));
                    }
                }
            }
        }
        if oldest_needed > 0 {
            return Err(ReadError::Compacted {
                oldest: oldest_needed,
            });
        }
        Ok(found)
    }

    /// All older versions that have a value, in the order in which they were replaced. Values went to
    /// the past in that order, too, so its neighbours lie side by side there. O(n log n), and 24 bytes
    /// of memory for each.
    pub fn older_values(&self) -> impl Iterator<Item = OlderValue> {
        let replaced = self.keys.in_order_of_replacement();
        (0..replaced.len()).filter_map(move |index| {
            if index.is_multiple_of(foresight::AT_ONCE) {
                for (_, key, meta) in replaced[index..].iter().take(foresight::AT_ONCE) {
                    foresight::glance(key, meta);
                }
            }
            let (by, key, meta) = replaced[index];
            if meta.is_deletion() {
                return None;
            }
            let change = self.recent.change(by);
            let event = change.and_then(|change| change.event(key));
            Some(OlderValue {
                id: VersionId {
                    key: key.clone(),
                    revision: meta.revision,
                },
                digest: meta.digest,
                entry: event.and_then(|event| event.before.clone()),
            })
        })
    }

    /// Where a version's value is; `None`: it is not known, or a deletion.
    pub fn locate(&self, id: &VersionId) -> Option<Located> {
        if let Some(entry) = self.keys.current(id.key.as_bytes())
            && entry.meta.revision == id.revision
        {
            return Some(Located::Here(Arc::clone(entry)));
        }
        let meta = self.keys.older(id.key.as_bytes(), id.revision)?;
        (!meta.is_deletion()).then(|| self.locate_older(&id.key, id.revision))
    }

    /// Of an older version: in the window, as what a change made or replaced, or in the past.
    pub(crate) fn locate_older(&self, key: &Key, revision: Revision) -> Located {
        let made = self
            .recent
            .change(revision.get())
            .and_then(|change| change.event(key));
        if let Some(entry) = made.and_then(|event| event.now.as_ref()) {
            return Located::Here(Arc::clone(entry));
        }
        let follower = self.keys.follower(key.as_bytes(), revision);
        let change = follower.and_then(|(by, _)| self.recent.change(by));
        let replaced = change.and_then(|change| change.event(key));
        match replaced.and_then(|event| event.before.as_ref()) {
            Some(entry) => Located::Here(Arc::clone(entry)),
            None => Located::Past(VersionId {
                key: key.clone(),
                revision,
            }),
        }
    }

    /// Whether a range can be read at a revision, as far as is known without looking at each key.
    fn check_readable(&self, range: &KeyRange, at: u64) -> Result<(), ReadError> {
        if at > self.revision {
            return Err(ReadError::Future {
                newest: self.revision,
            });
        }
        let oldest = self.compacted.max(self.policies.floor(range));
        if at < oldest {
            return Err(ReadError::Compacted { oldest });
        }
        Ok(())
    }
}

fn here(key: &Key, entry: &Arc<Entry>) -> AtRevision {
    AtRevision {
        key: key.clone(),
        meta: VersionMeta::clone(&entry.meta),
        value: Located::Here(Arc::clone(entry)),
    }
}
