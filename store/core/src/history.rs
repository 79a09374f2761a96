//! History: the versions of one key, the changes that watches missed, and differences.

use std::collections::BTreeMap;

use holdfast_proto::{Key, KeyRange, Revision};

use crate::{
    State,
    entry::{Located, VersionId, VersionMeta},
    range::{AtRevision, ReadError},
};

/// One key's part in a change that left the window.
#[derive(Clone, Debug)]
pub struct OlderEvent {
    /// The key.
    pub key: Key,
    /// The version that the change made; a deletion too.
    pub now: VersionMeta,
    /// Its value; `None`: a deletion.
    pub value: Option<Located>,
    /// The version before, if it is known and was not a deletion.
    pub before: Option<(VersionMeta, Located)>,
}

/// Changes that left the window.
#[derive(Clone, Debug)]
pub struct OlderChanges {
    /// By revision, then by key; whole revisions only.
    pub events: Vec<OlderEvent>,
    /// Where to go on: every event below this revision is there.
    pub next: u64,
}

/// What became of a key between two revisions.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The key.
    pub key: Key,
    /// As it was; `None`: added.
    pub before: Option<AtRevision>,
    /// As it is; `None`: removed.
    pub after: Option<AtRevision>,
}

impl State {
    /// What is known of a key's versions, newest first, the current one and deletions included.
    pub fn history(&self, key: &[u8]) -> Vec<VersionMeta> {
        let current = self.get(key).map(|entry| VersionMeta::clone(&entry.meta));
        let older = self
            .keys
            .versions(key)
            .rev()
            .map(|meta| VersionMeta::clone(meta));
        current.into_iter().chain(older).collect()
    }

    /// What changed in a range from revision `from` on and below `below`, out of what is known of
    /// older versions. About `limit` events, whole revisions, at least one if there is one. O(n) in
    /// the range and its history.
    pub fn older_changes(
        &self,
        range: &KeyRange,
        from: u64,
        below: u64,
        limit: usize,
    ) -> Result<OlderChanges, ReadError> {
        let oldest = self.oldest_watchable_in(range);
        if from < oldest {
            return Err(ReadError::Compacted { oldest });
        }
        let mut below = below.min(self.revision + 1);
        let mut found: BTreeMap<u64, Vec<(&Key, VersionMeta)>> = BTreeMap::new();
        let mut count = 0;
        let current = self
            .keys
            .range(range)
            .map(|(key, entry)| (key, &entry.meta));
        let older = self.keys.older_range(range);
        for (key, meta) in current.chain(older) {
            let revision = meta.revision.get();
            if !(from..below).contains(&revision) {
                continue;
            }
            let changed = found.entry(revision).or_default();
            changed.push((key, VersionMeta::clone(meta)));
            count += 1;
            while count > limit && found.len() > 1 {
                let Some((newest, events)) = found.pop_last() else {
                    break;
                };
                count -= events.len();
                below = newest;
            }
        }
        let mut events = Vec::with_capacity(count);
        for (_, mut changed) in found {
            changed.sort_unstable_by_key(|(key, _)| *key);
            events.extend(
                changed
                    .into_iter()
                    .map(|(key, meta)| self.older_event(key, meta)),
            );
        }
        Ok(OlderChanges {
            events,
            next: below,
        })
    }

    /// The first revision from which every change of a range is still known.
    pub fn oldest_watchable_in(&self, range: &KeyRange) -> u64 {
        let marked = self
            .keys
            .histories(range)
            .map(|(_, history)| history.forgotten)
            .max();
        self.compacted
            .max(self.policies.floor(range))
            .max(marked.unwrap_or(0))
            + 1
    }

    fn older_event(&self, key: &Key, meta: VersionMeta) -> OlderEvent {
        let id = VersionId {
            key: key.clone(),
            revision: meta.revision,
        };
        let before = self.keys.older_at(key.as_bytes(), meta.revision.get() - 1);
        let before = before.filter(|meta| !meta.is_deletion()).map(|meta| {
            (
                VersionMeta::clone(meta),
                self.locate_older(key, meta.revision),
            )
        });
        OlderEvent {
            key: key.clone(),
            value: self.locate(&id),
            now: meta,
            before,
        }
    }

    /// What differs in a range between two revisions, by key. Values are told apart by digest.
    pub fn diff(
        &self,
        range: &KeyRange,
        from: Revision,
        to: Revision,
    ) -> Result<Vec<Difference>, ReadError> {
        let mut before = self.range_at(range, from)?.into_iter().peekable();
        let mut after = self.range_at(range, to)?.into_iter().peekable();
        let mut differences = Vec::new();
        while let Some(key) = match (before.peek(), after.peek()) {
            (Some(one), Some(other)) => Some(one.key.clone().min(other.key.clone())),
            (Some(only), None) | (None, Some(only)) => Some(only.key.clone()),
            (None, None) => None,
        } {
            let before = before.next_if(|at| at.key == key);
            let after = after.next_if(|at| at.key == key);
            let digest = |at: &Option<AtRevision>| at.as_ref().map(|at| at.meta.digest);
            if digest(&before) != digest(&after) {
                differences.push(Difference { key, before, after });
            }
        }
        Ok(differences)
    }
}
