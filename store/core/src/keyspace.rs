//! The keyspace: current entries, and what is known of the versions before them.
//!
//! Invariants: (1) a version is in `current` or in `older`, never in both; a deletion is always in
//! `older`. (2) A key's newest older version is a deletion exactly if the key is not current. (3)
//! Each older version but such a deletion is in `replaced`, under the revision that replaced it.
//! (4) A key's versions are forgotten oldest first, so what is kept of it is always its newest part.

use std::{cmp::Ordering, sync::Arc};

use equivalent::{Comparable, Equivalent};
use holdfast_proto::{Key, KeyRange, Revision};
use imbl::OrdMap;

use crate::{
    entry::{Entry, VersionId, VersionMeta},
    hash::{RollingHash, RowBuffer, RowHash},
};

/// What an entry costs in memory beside key, value and note, bytes.
const ENTRY_OVERHEAD: u64 = 256;
/// What an older version costs in memory beside key and note, bytes.
const VERSION_OVERHEAD: u64 = 320;
/// What a version counts for in its key's budget beside its value, bytes.
const VERSION_BUDGET: u64 = 64;

#[derive(Clone, Default)]
pub(crate) struct Keyspace {
    pub(crate) current: OrdMap<Key, Arc<Entry>>,
    pub(crate) older: OrdMap<VersionId, Arc<VersionMeta>>,
    /// Which version of the key was replaced at the revision. Its first is the first to go.
    replaced: OrdMap<(u64, Key), Revision>,
    pub(crate) totals: OrdMap<Key, Totals>,
    pub(crate) present_bytes: u64,
    pub(crate) history_bytes: u64,
    pub(crate) hash: RollingHash,
}

/// Of the older versions of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// How many are kept, a deletion counted.
    pub(crate) count: u64,
    /// What they count for in the key's budget.
    pub(crate) bytes: u64,
    /// Every version up to this revision is forgotten; 0: none is.
    pub(crate) forgotten: u64,
}

/// A version that is no longer known.
pub(crate) struct Forgotten {
    pub(crate) id: VersionId,
    /// The revision that had replaced it.
    pub(crate) replaced_by: u64,
    /// Nothing of the key is left; it had been deleted at this revision.
    pub(crate) gone: Option<u64>,
}

/// Where a version would stand in `older`, without an owned key.
pub(crate) struct Position<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) revision: u64,
}

/// Where a version would stand in `replaced`, without an owned key.
struct Replacement<'a> {
    by: u64,
    key: &'a [u8],
}

impl Keyspace {
    /// Makes `entry` current; gives back what it replaced.
    pub(crate) fn put(&mut self, key: &Key, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let by = entry.modified.get();
        self.hash.add(entry.row_hash(key));
        self.present_bytes += present_bytes(key, &entry);
        let before = self.current.insert(key.clone(), entry);
        match &before {
            Some(before) => self.replace(key, before, by),
            None if self.totals.contains_key(key) => {
                if let Some((id, _)) = self.newest_older(key) {
                    let revision = id.revision;
                    self.replaced.insert((by, key.clone()), revision);
                }
            }
            None => {}
        }
        before
    }

    /// Takes a key away; gives back what was there.
    pub(crate) fn delete(&mut self, key: &Key, deletion: VersionMeta) -> Option<Arc<Entry>> {
        let before = self.current.remove(key)?;
        self.replace(key, &before, deletion.revision.get());
        self.hash.add(deletion.row_hash(key));
        self.keep(key, deletion);
        Some(before)
    }

    fn replace(&mut self, key: &Key, before: &Entry, by: u64) {
        self.present_bytes -= present_bytes(key, before);
        self.replaced.insert((by, key.clone()), before.modified);
        self.keep(key, before.meta());
    }

    fn keep(&mut self, key: &Key, meta: VersionMeta) {
        self.history_bytes += history_bytes(key, &meta);
        let bytes = meta.bytes + VERSION_BUDGET;
        match self.totals.get_mut(key) {
            Some(totals) => {
                totals.count += 1;
                totals.bytes += bytes;
            }
            None => {
                self.totals.insert(
                    key.clone(),
                    Totals {
                        count: 1,
                        bytes,
                        forgotten: 0,
                    },
                );
            }
        }
        self.older.insert(
            VersionId {
                key: key.clone(),
                revision: meta.revision,
            },
            Arc::new(meta),
        );
    }

    /// Forgets the key's oldest version, and its deletion with the last one. With `mark`, reads and
    /// watches that would need it are told so from now on.
    pub(crate) fn forget_oldest(&mut self, key: &Key, mark: bool) -> Option<Forgotten> {
        let id = self.oldest(key)?.0.clone();
        let replaced_by = self.after(&id)?;
        let meta = self.older.remove(&id)?;
        self.replaced.remove(&(replaced_by, key.clone()));
        self.hash.remove(meta.row_hash(key));
        self.history_bytes -= history_bytes(key, &meta);
        let mut totals = self.totals.get(key).copied().unwrap_or_default();
        totals.count -= 1;
        totals.bytes -= meta.bytes + VERSION_BUDGET;
        if mark {
            self.change_mark(key, &mut totals, id.revision.get());
        }
        let gone = if totals.count == 1 && !self.current.contains_key(key) {
            self.forget_deletion(key, &mut totals)
        } else {
            None
        };
        if totals == Totals::default() {
            self.totals.remove(key);
        } else {
            self.totals.insert(key.clone(), totals);
        }
        Some(Forgotten {
            id,
            replaced_by,
            gone,
        })
    }

    fn forget_deletion(&mut self, key: &Key, totals: &mut Totals) -> Option<u64> {
        let (id, meta) = self.newest_older(key)?;
        let (id, meta) = (id.clone(), Arc::clone(meta));
        self.older.remove(&id);
        self.hash.remove(meta.row_hash(key));
        self.history_bytes -= history_bytes(key, &meta);
        self.change_mark(key, totals, 0);
        *totals = Totals::default();
        Some(id.revision.get())
    }

    fn change_mark(&mut self, key: &Key, totals: &mut Totals, forgotten: u64) {
        if totals.forgotten != 0 {
            self.hash.remove(mark_hash(key, totals.forgotten));
        }
        if forgotten != 0 {
            self.hash.add(mark_hash(key, forgotten));
        }
        totals.forgotten = forgotten;
    }

    /// Takes a mark from an archive.
    pub(crate) fn restore_mark(&mut self, key: &Key, forgotten: u64) {
        let mut totals = self.totals.get(key).copied().unwrap_or_default();
        self.change_mark(key, &mut totals, forgotten);
        self.totals.insert(key.clone(), totals);
    }

    /// Takes a current entry from an archive.
    pub(crate) fn restore_entry(&mut self, key: Key, entry: Entry) -> bool {
        self.hash.add(entry.row_hash(&key));
        self.present_bytes += present_bytes(&key, &entry);
        self.current.insert(key, Arc::new(entry)).is_none()
    }

    /// Takes an older version from an archive.
    pub(crate) fn restore_version(&mut self, key: &Key, meta: VersionMeta) -> bool {
        let fresh = !self.older.contains_key(&Position {
            key: key.as_bytes(),
            revision: meta.revision.get(),
        });
        self.hash.add(meta.row_hash(key));
        self.keep(key, meta);
        fresh
    }

    /// Rebuilds `replaced` once every row is there. False: a key has neither a current entry nor a
    /// deletion after its older versions.
    pub(crate) fn restore_order(&mut self) -> bool {
        let mut whole = true;
        let mut replaced = OrdMap::new();
        let mut versions = self.older.iter().peekable();
        while let Some((id, meta)) = versions.next() {
            let next = versions.peek().filter(|(next, _)| next.key == id.key);
            let current = self.current.get(&id.key);
            let by = match (next, current) {
                (Some((next, _)), _) => next.revision.get(),
                (None, Some(current)) => current.modified.get(),
                (None, None) => {
                    whole &= meta.is_deletion();
                    continue;
                }
            };
            whole &= by > id.revision.get();
            replaced.insert((by, id.key.clone()), id.revision);
        }
        self.replaced = replaced;
        whole
    }

    /// The version that was replaced first, of all keys.
    pub(crate) fn first_replaced(&self) -> Option<(u64, &Key)> {
        self.replaced.get_min().map(|((by, key), _)| (*by, key))
    }

    /// Whether what the revision `by` replaced of a key is still known. Cheaper than to look for it
    /// in `older`: neighbours in `replaced` are told apart by a number, without a look at a key.
    pub(crate) fn is_known_at(&self, by: Revision, key: &Key) -> bool {
        self.replaced.contains_key(&Replacement {
            by: by.get(),
            key: key.as_bytes(),
        })
    }

    /// The key's oldest older version.
    pub(crate) fn oldest(&self, key: &Key) -> Option<(&VersionId, &Arc<VersionMeta>)> {
        let found = self.older.get_next(&Position {
            key: key.as_bytes(),
            revision: 0,
        })?;
        (found.0.key == *key).then_some(found)
    }

    /// The key's newest older version.
    pub(crate) fn newest_older(&self, key: &Key) -> Option<(&VersionId, &Arc<VersionMeta>)> {
        self.older_at(key.as_bytes(), u64::MAX)
    }

    /// The key's newest older version that is no newer than `revision`.
    pub(crate) fn older_at(
        &self,
        key: &[u8],
        revision: u64,
    ) -> Option<(&VersionId, &Arc<VersionMeta>)> {
        let found = self.older.get_prev(&Position { key, revision })?;
        (found.0.key.as_bytes() == key).then_some(found)
    }

    /// The key's older versions, oldest first.
    pub(crate) fn versions<'a>(
        &'a self,
        key: &'a [u8],
    ) -> impl DoubleEndedIterator<Item = &'a Arc<VersionMeta>> {
        let (first, last) = (
            Position { key, revision: 0 },
            Position {
                key,
                revision: u64::MAX,
            },
        );
        self.older
            .range::<_, Position<'_>>((
                std::ops::Bound::Included(&first),
                std::ops::Bound::Included(&last),
            ))
            .map(|(_, meta)| meta)
    }

    /// The revision that replaced an older version; `None`: it is a deletion and the key's newest.
    pub(crate) fn after(&self, id: &VersionId) -> Option<u64> {
        self.follower(id).map(|(revision, _)| revision)
    }

    /// What replaced an older version: its revision and time.
    pub(crate) fn follower(&self, id: &VersionId) -> Option<(u64, holdfast_proto::Timestamp)> {
        let key = id.key.as_bytes();
        let next = self.older.get_next(&Position {
            key,
            revision: id.revision.get() + 1,
        });
        match next.filter(|(next, _)| next.key == id.key) {
            Some((next, meta)) => Some((next.revision.get(), meta.at)),
            None => {
                let current = self.current.get(key)?;
                Some((current.modified.get(), current.at))
            }
        }
    }

    /// Current entries of a range, by key.
    pub(crate) fn range<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Entry>)> + use<'a> {
        range
            .bounds()
            .map(|bounds| self.current.range::<_, [u8]>(bounds))
            .into_iter()
            .flatten()
    }

    /// The revision of the newest deletion among keys of a range that are gone, as far as is known.
    pub(crate) fn last_deletion(&self, range: &KeyRange) -> u64 {
        let totals = range
            .bounds()
            .map(|bounds| self.totals.range::<_, [u8]>(bounds));
        let gone = totals
            .into_iter()
            .flatten()
            .filter(|(key, _)| !self.current.contains_key(*key));
        let deleted = gone.map(|(key, totals)| {
            let known = self.newest_older(key);
            known.map_or(totals.forgotten, |(id, _)| id.revision.get())
        });
        deleted.max().unwrap_or(0)
    }

    /// The totals of a range's keys, by key.
    pub(crate) fn totals_range(&self, range: &KeyRange) -> impl Iterator<Item = &Totals> {
        let totals = range
            .bounds()
            .map(|bounds| self.totals.range::<_, [u8]>(bounds));
        totals.into_iter().flatten().map(|(_, totals)| totals)
    }

    /// Older versions of a range, by key and revision.
    pub(crate) fn older_range<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> impl Iterator<Item = (&'a VersionId, &'a Arc<VersionMeta>)> {
        let first = Position {
            key: range.start(),
            revision: 0,
        };
        self.older
            .range::<_, Position<'_>>((
                std::ops::Bound::Included(&first),
                std::ops::Bound::<&Position<'_>>::Unbounded,
            ))
            .take_while(|(id, _)| range.contains(id.key.as_bytes()))
    }
}

/// What an entry counts for in the state's limit, bytes.
pub(crate) fn present_bytes(key: &Key, entry: &Entry) -> u64 {
    (key.as_bytes().len() + entry.note.len() + entry.value.size()) as u64 + ENTRY_OVERHEAD
}

/// What an older version counts for in the state's limit, bytes.
pub(crate) fn history_bytes(key: &Key, meta: &VersionMeta) -> u64 {
    (key.as_bytes().len() + meta.note.len()) as u64 + VERSION_OVERHEAD
}

/// What it costs to keep a version of `key` that had this entry's note, bytes.
pub(crate) fn replaced_bytes(key: &Key, entry: &Entry) -> u64 {
    (key.as_bytes().len() + entry.note.len()) as u64 + VERSION_OVERHEAD
}

fn mark_hash(key: &Key, forgotten: u64) -> RowHash {
    RowBuffer::new(b'f')
        .bytes(key.as_bytes())
        .number(forgotten)
        .finish()
}

impl Equivalent<VersionId> for Position<'_> {
    fn equivalent(&self, id: &VersionId) -> bool {
        self.compare(id) == Ordering::Equal
    }
}

impl Comparable<VersionId> for Position<'_> {
    fn compare(&self, id: &VersionId) -> Ordering {
        self.key
            .cmp(id.key.as_bytes())
            .then(self.revision.cmp(&id.revision.get()))
    }
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
