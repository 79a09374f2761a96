//! The keyspace: current entries, and what is known of the versions before them.
//!
//! Invariants: (1) a version is current or in a history, never both; a deletion is always in a
//! history. (2) A key's newest older version is a deletion exactly if the key is not there. (3)
//! Each older version but such a deletion is in `replaced`, under the revision that replaced it.
//! (4) A key's versions are forgotten oldest first, so what is kept of it is always its newest part.
//! (5) No history is blank: an archive has none of those, and what sweeps look at is counted in histories.

mod history;

use std::{cmp::Ordering, ops::Bound, sync::Arc};

use equivalent::{Comparable, Equivalent};
use holdfast_proto::{Key, KeyBounds, KeyRange, Revision, Timestamp};
use imbl::{OrdMap, OrdSet};

pub(crate) use self::history::History;
use crate::{
    entry::{Entry, VersionId, VersionMeta},
    hash::RollingHash,
};

/// What an entry costs in memory beside key, value and note, bytes.
const ENTRY_OVERHEAD: u64 = 256;
/// What an older version costs in memory beside key and note, bytes.
const VERSION_OVERHEAD: u64 = 320;

#[derive(Clone, Default)]
pub(crate) struct Keyspace {
    /// The keys that are there.
    present: OrdMap<Key, Present>,
    /// What is known of those that are gone.
    gone: OrdMap<Key, Arc<History>>,
    /// How many keys have a history, of both kinds.
    history_count: usize,
    /// At which revision a version of the key was replaced. The first is the first to go.
    replaced: OrdSet<(u64, Key)>,
    /// How many versions all histories keep.
    pub(crate) version_count: u64,
    pub(crate) present_bytes: u64,
    pub(crate) history_bytes: u64,
    pub(crate) hash: RollingHash,
}

/// A key that is there. Its history is found with its entry: a put needs both.
#[derive(Clone)]
struct Present {
    entry: Arc<Entry>,
    history: Option<Arc<History>>,
}

/// A version that is no longer known.
pub(crate) struct Forgotten {
    pub(crate) id: VersionId,
    /// The revision that had replaced it.
    pub(crate) replaced_by: u64,
    /// Nothing of the key is left; it had been deleted at this revision.
    pub(crate) gone: Option<u64>,
}

/// Where a version would stand in `replaced`, without an owned key.
struct Replacement<'a> {
    by: u64,
    key: &'a [u8],
}

impl Keyspace {
    /// Makes `entry` current; gives back what it replaced.
    pub(crate) fn put(&mut self, key: &Key, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let by = entry.meta.revision.get();
        self.hash.add(entry.meta.row_hash(key));
        self.present_bytes += present_bytes(key, &entry);
        if let Some(present) = self.present.get_mut(key) {
            let before = std::mem::replace(&mut present.entry, entry);
            self.history_count += usize::from(present.history.is_none());
            let history = Arc::make_mut(present.history.get_or_insert_default());
            history.push(Arc::clone(&before.meta));
            self.present_bytes -= present_bytes(key, &before);
            self.count_older(key, &before.meta);
            self.replaced.insert((by, key.clone()));
            return Some(before);
        }
        let history = self.gone.remove(key);
        if history.as_ref().is_some_and(|known| known.count() > 0) {
            // Its deletion.
            self.replaced.insert((by, key.clone()));
        }
        self.present.insert(key.clone(), Present { entry, history });
        None
    }

    /// Takes a key away; gives back what was there.
    pub(crate) fn delete(&mut self, key: &Key, deletion: VersionMeta) -> Option<Arc<Entry>> {
        let Present { entry, history } = self.present.remove(key)?;
        self.history_count += usize::from(history.is_none());
        let mut history = history.unwrap_or_default();
        self.present_bytes -= present_bytes(key, &entry);
        self.replaced.insert((deletion.revision.get(), key.clone()));
        self.hash.add(deletion.row_hash(key));
        let deletion = Arc::new(deletion);
        for meta in [&entry.meta, &deletion] {
            self.count_older(key, meta);
            Arc::make_mut(&mut history).push(Arc::clone(meta));
        }
        self.gone.insert(key.clone(), history);
        Some(entry)
    }

    fn count_older(&mut self, key: &Key, meta: &VersionMeta) {
        self.version_count += 1;
        self.history_bytes += history_bytes(key, meta);
    }

    /// Forgets the key's oldest version, and its deletion with the last one. With `mark`, reads and
    /// watches that would need it are told so from now on.
    pub(crate) fn forget_oldest(&mut self, key: &Key, mark: bool) -> Option<Forgotten> {
        let (history, current) = match self.present.get_mut(key) {
            Some(present) => {
                let current = present.entry.meta.revision.get();
                (present.history.as_mut()?, Some(current))
            }
            None => (self.gone.get_mut(key)?, None),
        };
        let history = Arc::make_mut(history);
        let replaced_by = match history.versions.get(1) {
            Some((next, _)) => *next,
            None => current?,
        };
        let oldest = history.pop_oldest()?;
        let revision = oldest.revision;
        self.replaced.remove(&(replaced_by, key.clone()));
        if mark {
            history.set_mark(key, revision.get(), &mut self.hash);
        }
        let mut gone = None;
        if history.count() == 1 && current.is_none() {
            gone = history.pop_oldest();
            history.set_mark(key, 0, &mut self.hash);
        }
        if history.is_blank() {
            self.history_count -= 1;
            match self.present.get_mut(key) {
                Some(present) => present.history = None,
                None => drop(self.gone.remove(key)),
            }
        }
        for meta in std::iter::once(&oldest).chain(&gone) {
            self.version_count -= 1;
            self.history_bytes -= history_bytes(key, meta);
            self.hash.remove(meta.row_hash(key));
        }
        Some(Forgotten {
            id: VersionId {
                key: key.clone(),
                revision,
            },
            replaced_by,
            gone: gone.map(|deletion| deletion.revision.get()),
        })
    }

    /// Takes a mark from an archive.
    pub(crate) fn restore_mark(&mut self, key: &Key, forgotten: u64) {
        let mut hash = self.hash;
        self.change_history(key, |history| history.set_mark(key, forgotten, &mut hash));
        self.hash = hash;
    }

    /// Takes a current entry from an archive.
    pub(crate) fn restore_entry(&mut self, key: Key, entry: Entry) -> bool {
        self.hash.add(entry.meta.row_hash(&key));
        self.present_bytes += present_bytes(&key, &entry);
        let present = Present {
            entry: Arc::new(entry),
            history: self.gone.remove(&key),
        };
        self.present.insert(key, present).is_none()
    }

    /// Takes an older version from an archive. False: it is there already.
    pub(crate) fn restore_version(&mut self, key: &Key, meta: VersionMeta) -> bool {
        let meta = Arc::new(meta);
        let insert = |history: &mut History| history.insert(Arc::clone(&meta));
        let is_new = self.change_history(key, insert);
        if is_new {
            self.count_older(key, &meta);
            self.hash.add(meta.row_hash(key));
        }
        is_new
    }

    /// Changes the history of a key, which may be its first.
    fn change_history<R>(&mut self, key: &Key, change: impl FnOnce(&mut History) -> R) -> R {
        let known = match self.present.get_mut(key) {
            Some(present) => present.history.as_mut(),
            None => self.gone.get_mut(key),
        };
        if let Some(history) = known {
            return change(Arc::make_mut(history));
        }
        let mut history = History::default();
        let result = change(&mut history);
        let history = Arc::new(history);
        self.history_count += 1;
        match self.present.get_mut(key) {
            Some(present) => present.history = Some(history),
            None => drop(self.gone.insert(key.clone(), history)),
        }
        result
    }

    /// Rebuilds `replaced` once every row is there. False: a key has neither a current entry nor a
    /// deletion after its older versions.
    pub(crate) fn restore_order(&mut self) -> bool {
        let mut whole = true;
        let mut replaced = OrdSet::new();
        for (by, key, meta) in self.older_with_followers(History::glance) {
            match by {
                Some(by) => {
                    whole &= by > meta.revision.get();
                    replaced.insert((by, key.clone()));
                }
                None => whole &= meta.is_deletion(),
            }
        }
        self.replaced = replaced;
        whole
    }

    /// All older versions, and at which revision each was replaced. `None`: it is its key's newest.
    /// Each key's are together and in order; `look` sees its history before them.
    fn older_with_followers(
        &self,
        look: impl Fn(&History),
    ) -> impl Iterator<Item = (Option<u64>, &Key, &Arc<VersionMeta>)> {
        let present = self.present.iter().filter_map(|(key, present)| {
            let current = present.entry.meta.revision.get();
            Some((key, present.history.as_ref()?, Some(current)))
        });
        let gone = self.gone.iter().map(|(key, history)| (key, history, None));
        present
            .chain(gone)
            .flat_map(move |(key, history, current)| {
                look(history);
                let revisions = history.versions.iter().map(|(revision, _)| Some(*revision));
                let followers = revisions.skip(1).chain(std::iter::once(current));
                let versions = history.versions().zip(followers);
                versions.map(move |(meta, by)| (by, key, meta))
            })
    }

    /// The versions that were replaced, in that order, and at which revision; deletions, too. No version is
    /// looked at. Sorted anew: to look each of `replaced` up would cost several times as much.
    pub(crate) fn in_order_of_replacement(&self) -> Vec<(u64, &Key, &Arc<VersionMeta>)> {
        let mut found = Vec::with_capacity(self.replaced.len());
        let versions = self.older_with_followers(|_| ());
        found.extend(versions.filter_map(|(by, key, meta)| Some((by?, key, meta))));
        found.sort_unstable_by_key(|(by, key, _)| (*by, *key));
        found
    }

    /// The version that was replaced first, of all keys.
    pub(crate) fn first_replaced(&self) -> Option<&(u64, Key)> {
        self.replaced.get_min()
    }

    /// Whether what the revision `by` replaced of a key is still known. Cheaper than to look for it
    /// in its history: neighbours in `replaced` are told apart by a number, without a look at a key.
    pub(crate) fn is_known_at(&self, by: Revision, key: &Key) -> bool {
        self.replaced.contains(&Replacement {
            by: by.get(),
            key: key.as_bytes(),
        })
    }

    /// The current entry of a key.
    pub(crate) fn current(&self, key: &[u8]) -> Option<&Arc<Entry>> {
        self.present.get(key).map(|present| &present.entry)
    }

    /// The current entry of a key, and what is known of it beside that.
    pub(crate) fn current_with_history(
        &self,
        key: &Key,
    ) -> Option<(&Arc<Entry>, Option<&History>)> {
        let present = self.present.get(key)?;
        Some((&present.entry, present.history.as_deref()))
    }

    /// The current entry of a key, if it is there, and what is known beside that, if anything is.
    pub(crate) fn current_and_history(&self, key: &Key) -> (Option<&Arc<Entry>>, Option<&History>) {
        match self.current_with_history(key) {
            Some((entry, history)) => (Some(entry), history),
            None => (None, self.gone.get(key).map(|history| &**history)),
        }
    }

    /// The current entry of a key, and the key as it stands here.
    pub(crate) fn current_with_key(&self, key: &Key) -> Option<(&Key, &Arc<Entry>)> {
        let known = self.present.get_key_value(key);
        known.map(|(key, present)| (key, &present.entry))
    }

    /// How many keys are there.
    pub(crate) fn count(&self) -> usize {
        self.present.len()
    }

    /// What is known of a key beside its current version.
    pub(crate) fn history(&self, key: &[u8]) -> Option<&History> {
        match self.present.get(key) {
            Some(present) => present.history.as_deref(),
            None => self.gone.get(key).map(|history| &**history),
        }
    }

    /// The histories of a range, by key.
    pub(crate) fn histories<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Key, &'a History)> + use<'a> {
        let histories = range.bounds().map(|bounds| self.histories_within(bounds));
        histories.into_iter().flatten()
    }

    /// All histories after that of a key, by key.
    pub(crate) fn histories_after(&self, key: &[u8]) -> impl Iterator<Item = (&Key, &History)> {
        self.histories_within((Bound::Excluded(key), Bound::Unbounded))
    }

    fn histories_within<'a>(
        &'a self,
        bounds: KeyBounds<'_>,
    ) -> impl Iterator<Item = (&'a Key, &'a History)> + use<'a> {
        let present = self.present.range::<_, [u8]>(bounds);
        let mut present = present
            .filter_map(|(key, present)| Some((key, present.history.as_deref()?)))
            .peekable();
        let gone = self.gone.range::<_, [u8]>(bounds);
        let mut gone = gone.map(|(key, history)| (key, &**history)).peekable();
        std::iter::from_fn(move || match (present.peek(), gone.peek()) {
            (Some((one, _)), Some((other, _))) if other < one => gone.next(),
            (None, _) => gone.next(),
            _ => present.next(),
        })
    }

    /// How many keys have a history.
    pub(crate) fn history_count(&self) -> usize {
        self.history_count
    }

    /// Exactly this older version.
    pub(crate) fn older(&self, key: &[u8], revision: Revision) -> Option<&Arc<VersionMeta>> {
        let history = self.history(key)?;
        let place = history.find(revision.get()).ok()?;
        history.versions.get(place).map(|(_, meta)| meta)
    }

    /// The key's newest older version that is no newer than `revision`.
    pub(crate) fn older_at(&self, key: &[u8], revision: u64) -> Option<&Arc<VersionMeta>> {
        self.history(key)?.at(revision)
    }

    /// The key's older versions, oldest first.
    pub(crate) fn versions(
        &self,
        key: &[u8],
    ) -> impl DoubleEndedIterator<Item = &Arc<VersionMeta>> {
        let history = self.history(key).into_iter();
        history.flat_map(|history| history.versions())
    }

    /// What replaced an older version: its revision and time. `None`: it is a deletion and the key's
    /// newest.
    pub(crate) fn follower(&self, key: &[u8], revision: Revision) -> Option<(u64, Timestamp)> {
        let history = self.history(key)?;
        match history.versions.get(history.count_until(revision.get())) {
            Some((next, meta)) => Some((*next, meta.at)),
            None => {
                let current = self.current(key)?;
                Some((current.meta.revision.get(), current.meta.at))
            }
        }
    }

    /// Current entries of a range, by key.
    pub(crate) fn range<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Entry>)> + use<'a> {
        let bounds = range.bounds();
        let present = bounds.map(|bounds| self.present.range::<_, [u8]>(bounds));
        present
            .into_iter()
            .flatten()
            .map(|(key, present)| (key, &present.entry))
    }

    /// The revision of the newest deletion among keys of a range that are gone, as far as is known.
    pub(crate) fn last_deletion(&self, range: &KeyRange) -> u64 {
        let bounds = range.bounds().into_iter();
        let gone = bounds.flat_map(|bounds| self.gone.range::<_, [u8]>(bounds));
        let deleted = gone.map(|(_, history)| {
            let known = history.newest();
            known.map_or(history.forgotten, |deletion| deletion.revision.get())
        });
        deleted.max().unwrap_or(0)
    }

    /// Older versions of a range, by key and revision.
    pub(crate) fn older_range<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<VersionMeta>)> + use<'a> {
        let histories = self.histories(range);
        histories.flat_map(|(key, history)| {
            history.glance();
            history.versions().map(move |meta| (key, meta))
        })
    }
}

/// What an entry counts for in the state's limit, bytes.
pub(crate) fn present_bytes(key: &Key, entry: &Entry) -> u64 {
    (key.as_bytes().len() + entry.meta.note.len() + entry.meta.bytes as usize) as u64
        + ENTRY_OVERHEAD
}

/// What an older version counts for in the state's limit, bytes.
pub(crate) fn history_bytes(key: &Key, meta: &VersionMeta) -> u64 {
    (key.as_bytes().len() + meta.note.len()) as u64 + VERSION_OVERHEAD
}

/// What it costs to keep a version of `key` that had this entry's note, bytes.
pub(crate) fn replaced_bytes(key: &Key, entry: &Entry) -> u64 {
    (key.as_bytes().len() + entry.meta.note.len()) as u64 + VERSION_OVERHEAD
}

impl Equivalent<(u64, Key)> for Replacement<'_> {
    fn equivalent(&self, place: &(u64, Key)) -> bool {
        self.compare(place) == Ordering::Equal
    }
}

impl Comparable<(u64, Key)> for Replacement<'_> {
    fn compare(&self, (by, key): &(u64, Key)) -> Ordering {
        self.by.cmp(by).then_with(|| self.key.cmp(key.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::Value;

    use super::*;
    use crate::{entry::counted, hash::Digest};

    fn entry(revision: u64) -> Arc<Entry> {
        let value = Value::Integer(1);
        let revision = Revision::new(revision).unwrap();
        Arc::new(Entry {
            meta: Arc::new(VersionMeta {
                revision,
                created: revision,
                version: 1,
                kind: Some(value.kind()),
                digest: Digest::of(&value),
                author: "somebody".into(),
                note: "".into(),
                at: Timestamp::from_millis(0),
                lease: None,
                bytes: counted(&value),
            }),
            value,
        })
    }

    #[test]
    fn a_history_that_says_nothing_is_not_there() {
        let key = Key::new("a").unwrap();
        let mut keys = Keyspace::default();
        keys.put(&key, entry(1));
        for (revision, mark, left) in [(2, false, 0), (3, true, 1)] {
            keys.put(&key, entry(revision));
            assert_eq!(keys.history_count(), 1);
            let forgotten = keys.forget_oldest(&key, mark).unwrap();
            assert_eq!(forgotten.replaced_by, revision);
            assert_eq!(keys.history_count(), left, "forgotten with a mark: {mark}");
            assert_eq!((keys.version_count, keys.history_bytes), (0, 0));
        }
    }
}
