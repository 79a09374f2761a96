//! What is known of one key beside its current version.

use std::sync::Arc;

use holdfast_proto::{Key, Timestamp};
use imbl::Vector;

use crate::{
    entry::VersionMeta,
    foresight,
    hash::{RollingHash, RowBuffer, RowHash},
};

/// What a version counts for in its key's budget beside its value, bytes.
const VERSION_BUDGET: u64 = 64;

/// The versions of one key before its current one, and which of them are forgotten.
#[derive(Clone, Default)]
pub(crate) struct History {
    /// With their revisions, so that they are found without a look at each. Oldest first.
    pub(super) versions: Vector<(u64, Arc<VersionMeta>)>,
    /// What they count for in the key's budget.
    pub(crate) bytes: u64,
    /// Every version up to this revision is forgotten; 0: none is.
    pub(crate) forgotten: u64,
    /// When the second of them was written, which replaced the oldest.
    second_at: Option<Timestamp>,
}

impl History {
    /// How many older versions are kept, a deletion counted.
    pub(crate) fn count(&self) -> u64 {
        self.versions.len() as u64
    }

    /// The newest of them.
    pub(crate) fn newest(&self) -> Option<&Arc<VersionMeta>> {
        self.versions.back().map(|(_, meta)| meta)
    }

    /// When the oldest of them was replaced; `None`: its follower is none of them. Every put asks, and none
    /// looks at versions that nobody has looked at for long.
    pub(crate) fn second_at(&self) -> Option<Timestamp> {
        self.second_at
    }

    /// Oldest first.
    pub(crate) fn versions(&self) -> impl DoubleEndedIterator<Item = &Arc<VersionMeta>> {
        self.versions.iter().map(|(_, meta)| meta)
    }

    /// Looks at the first of them at once: they are about to be read one by one.
    pub(super) fn glance(&self) {
        for meta in self.versions().take(foresight::AT_ONCE) {
            foresight::glance_at_meta(meta);
        }
    }

    /// The newest that is no newer than `revision`.
    pub(super) fn at(&self, revision: u64) -> Option<&Arc<VersionMeta>> {
        let last = self.count_until(revision).checked_sub(1)?;
        self.versions.get(last).map(|(_, meta)| meta)
    }

    /// How many are no newer than `revision`.
    pub(super) fn count_until(&self, revision: u64) -> usize {
        match self.find(revision) {
            Ok(index) => index + 1,
            Err(index) => index,
        }
    }

    pub(super) fn find(&self, revision: u64) -> Result<usize, usize> {
        self.versions.binary_search_by_key(&revision, |(at, _)| *at)
    }

    pub(super) fn push(&mut self, meta: Arc<VersionMeta>) {
        self.bytes += budget_bytes(&meta);
        if self.versions.len() == 1 {
            self.second_at = Some(meta.at);
        }
        self.versions.push_back((meta.revision.get(), meta));
    }

    /// At its place. False: it is there already.
    pub(super) fn insert(&mut self, meta: Arc<VersionMeta>) -> bool {
        let Err(place) = self.find(meta.revision.get()) else {
            return false;
        };
        self.bytes += budget_bytes(&meta);
        self.versions.insert(place, (meta.revision.get(), meta));
        self.note_second();
        true
    }

    pub(super) fn pop_oldest(&mut self) -> Option<Arc<VersionMeta>> {
        let (_, oldest) = self.versions.pop_front()?;
        self.bytes -= budget_bytes(&oldest);
        self.note_second();
        Some(oldest)
    }

    fn note_second(&mut self) {
        self.second_at = self.versions.get(1).map(|(_, meta)| meta.at);
    }

    pub(super) fn set_mark(&mut self, key: &Key, forgotten: u64, hash: &mut RollingHash) {
        if self.forgotten != 0 {
            hash.remove(mark_hash(key, self.forgotten));
        }
        if forgotten != 0 {
            hash.add(mark_hash(key, forgotten));
        }
        self.forgotten = forgotten;
    }

    /// It says nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.versions.is_empty() && self.forgotten == 0
    }
}

/// What a version counts for in its key's budget, bytes.
fn budget_bytes(meta: &VersionMeta) -> u64 {
    u64::from(meta.bytes) + VERSION_BUDGET
}

fn mark_hash(key: &Key, forgotten: u64) -> RowHash {
    RowBuffer::new(b'f')
        .bytes(key.as_bytes())
        .number(forgotten)
        .finish()
}

#[cfg(test)]
mod tests {
    use holdfast_proto::Revision;

    use super::*;
    use crate::hash::Digest;

    fn version(revision: u64) -> Arc<VersionMeta> {
        let revision = Revision::new(revision).unwrap();
        Arc::new(VersionMeta {
            revision,
            created: revision,
            version: 1,
            kind: None,
            digest: Digest::NONE,
            author: "somebody".into(),
            note: "".into(),
            at: Timestamp::from_millis(1_000 * revision.get()),
            lease: None,
            bytes: 0,
        })
    }

    #[test]
    fn when_the_oldest_was_replaced_is_known_however_the_versions_came_and_went() {
        let mut history = History::default();
        let check = |history: &History, second: Option<u64>| {
            let second = second.map(|revision| Timestamp::from_millis(1_000 * revision));
            assert_eq!(history.second_at(), second);
        };
        for (revision, second) in [(5, None), (6, Some(6)), (9, Some(6))] {
            history.push(version(revision));
            check(&history, second);
        }
        for (revision, second) in [(3, 5), (4, 4), (8, 4)] {
            assert!(history.insert(version(revision)));
            check(&history, Some(second));
        }
        for second in [Some(5), Some(6), Some(8), Some(9), None, None] {
            assert!(history.pop_oldest().is_some());
            check(&history, second);
        }
        history.push(version(10));
        check(&history, None);
    }
}
