//! What a mirror has at one revision.

use std::{
    ops::{Deref, RangeInclusive},
    sync::Arc,
};

use arc_swap::Guard;
use holdfast_proto::{Key, KeyRange};
use imbl::OrdMap;

use crate::Entry;

/// The mirrored keys at one revision.
#[derive(Clone, Debug, Default)]
pub struct MirrorView {
    pub(super) entries: OrdMap<Key, Arc<Entry>>,
    pub(super) revision: u64,
    /// The revision of the newest change that was seen; it is so since then.
    pub(super) changed: u64,
}

/// A view that is being read. Keep it short; for longer take [`crate::Mirror::view`].
pub struct MirrorRead(pub(super) Guard<Arc<MirrorView>>);

impl MirrorView {
    /// So from one revision to another.
    pub(crate) fn of(
        entries: impl IntoIterator<Item = Arc<Entry>>,
        revisions: RangeInclusive<u64>,
    ) -> Self {
        let entries = entries.into_iter();
        Self {
            entries: entries.map(|entry| (entry.key.clone(), entry)).collect(),
            changed: *revisions.start(),
            revision: *revisions.end(),
        }
    }

    /// It was still so then.
    pub(crate) fn still_at(mut self, revision: u64) -> Self {
        self.revision = self.revision.max(revision);
        self
    }

    /// What is under a key (the whole key, with the prefix).
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Arc<Entry>> {
        self.entries.get(key.as_ref())
    }

    /// Everything in a range, by key.
    pub fn range<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Arc<Entry>> {
        let bounds = range.bounds();
        bounds
            .into_iter()
            .flat_map(|bounds| self.entries.range::<_, [u8]>(bounds))
            .map(|(_, entry)| entry)
    }

    /// Everything, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The revision all of it is at.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Since which revision it is so, as far as is known: views of several mirrors are of one moment
    /// where what lies between this and [`MirrorView::revision`] overlaps.
    pub fn changed(&self) -> u64 {
        self.changed
    }
}

impl Deref for MirrorRead {
    type Target = MirrorView;

    fn deref(&self) -> &MirrorView {
        &self.0
    }
}
