//! A key's current version, and what stays known of it once it is replaced.

use std::{cmp::Ordering, fmt, sync::Arc};

use bytes::Bytes;
use equivalent::{Comparable, Equivalent};
use holdfast_proto::{Key, LeaseId, Revision, Timestamp, Value, ValueKind, v1};

use crate::{
    Digest,
    hash::{RowBuffer, RowHash},
};

/// A key's current version.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What was stored.
    pub value: Value,
    /// Of `value`, computed once.
    pub digest: Digest,
    /// The revision that created the key.
    pub created: Revision,
    /// The revision of this version.
    pub modified: Revision,
    /// 1 for the first put after creation.
    pub version: u64,
    /// The lease that the key lives under.
    pub lease: Option<LeaseId>,
    /// Who put it.
    pub author: Arc<str>,
    /// Why, in the author's words. May be empty.
    pub note: Arc<str>,
    /// Cluster time of the put.
    pub at: Timestamp,
}

/// What is known of a version without its value. Of older ones, this is what stays in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionMeta {
    /// The revision of this version.
    pub revision: Revision,
    /// The revision that created the key.
    pub created: Revision,
    /// 1 for the first put after creation; of a deletion, how many puts there had been.
    pub version: u64,
    /// The value's kind; `None`: a deletion.
    pub kind: Option<ValueKind>,
    /// The value's digest; of a deletion [`Digest::NONE`].
    pub digest: Digest,
    /// Who wrote it.
    pub author: Arc<str>,
    /// Why, in the author's words. May be empty.
    pub note: Arc<str>,
    /// Cluster time of the write.
    pub at: Timestamp,
    /// The lease that the key lived under.
    pub lease: Option<LeaseId>,
    /// The value's size as limits count it.
    pub bytes: u64,
}

/// Names one version of one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    /// The key.
    pub key: Key,
    /// The version's revision.
    pub revision: Revision,
}

/// Where a version would stand among version ids, without an owned key.
pub(crate) struct Position<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) revision: Revision,
}

/// A value that left memory: the past must keep it until it is forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Retired {
    /// Which version.
    pub id: VersionId,
    /// Its value.
    pub value: Value,
    /// The value's digest.
    pub digest: Digest,
}

/// Where a version's value is.
#[derive(Clone, Debug)]
pub enum Located {
    /// In memory.
    Here(Arc<Entry>),
    /// On disk: ask the past for it.
    Past(VersionId),
}

/// A key with its entry, as a read or a reply gives it out.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The key.
    pub key: Key,
    /// Its version.
    pub entry: Arc<Entry>,
}

impl Entry {
    /// What is known of it without its value.
    pub fn meta(&self) -> VersionMeta {
        VersionMeta {
            revision: self.modified,
            created: self.created,
            version: self.version,
            kind: Some(self.value.kind()),
            digest: self.digest,
            author: Arc::clone(&self.author),
            note: Arc::clone(&self.note),
            at: self.at,
            lease: self.lease,
            bytes: self.value.size() as u64,
        }
    }

    /// As it goes over the wire; without the value if the caller asked for keys only, and of a
    /// secret without its payload.
    pub fn to_wire(&self, key: &Key, with_value: bool) -> v1::Entry {
        self.wire(key, with_value.then(|| shown(&self.value)))
    }

    /// As it goes into an archive: with what is sealed.
    pub(crate) fn to_row(&self, key: &Key) -> v1::Entry {
        self.wire(key, Some(self.value.clone()))
    }

    fn wire(&self, key: &Key, value: Option<Value>) -> v1::Entry {
        v1::Entry {
            key: key.to_bytes(),
            value: value.map(Into::into),
            created: self.created.get(),
            modified: self.modified.get(),
            version: self.version,
            lease: self.lease.map_or(0, LeaseId::get),
            author: self.author.to_string(),
            at_ms: self.at.as_millis(),
            note: self.note.to_string(),
        }
    }

    /// The hash of the row that this version is, now and when it is an older one.
    pub(crate) fn row_hash(&self, key: &Key) -> RowHash {
        row_hash(
            key,
            [
                self.modified.get(),
                self.created.get(),
                self.version,
                kind_number(Some(self.value.kind())),
                self.at.as_millis(),
                self.lease.map_or(0, LeaseId::get),
                self.value.size() as u64,
            ],
            &self.digest,
            (&self.author, &self.note),
        )
    }
}

/// A value as anybody gets to see it: of a secret, that it is one. All that leaves the store for
/// clients comes through here.
pub fn shown(value: &Value) -> Value {
    match value {
        Value::Sealed(_) => Value::Sealed(Bytes::new()),
        plain => plain.clone(),
    }
}

impl Found {
    /// An entry as a reply gives it out.
    pub(crate) fn shown(key: &Key, entry: &Arc<Entry>) -> Self {
        let entry = match &entry.value {
            Value::Sealed(_) => {
                let value = shown(&entry.value);
                let digest = Digest::of(&value);
                Arc::new(Entry {
                    value,
                    digest,
                    ..Entry::clone(entry)
                })
            }
            _ => Arc::clone(entry),
        };
        Self {
            key: key.clone(),
            entry,
        }
    }
}

impl VersionMeta {
    /// As it goes over the wire: an entry with no value.
    pub fn to_wire(&self, key: &Key) -> v1::Entry {
        v1::Entry {
            key: key.to_bytes(),
            value: None,
            created: self.created.get(),
            modified: self.revision.get(),
            version: self.version,
            lease: self.lease.map_or(0, LeaseId::get),
            author: self.author.to_string(),
            at_ms: self.at.as_millis(),
            note: self.note.to_string(),
        }
    }

    /// Whether this is a deletion.
    pub fn is_deletion(&self) -> bool {
        self.kind.is_none()
    }

    pub(crate) fn row_hash(&self, key: &Key) -> RowHash {
        row_hash(
            key,
            [
                self.revision.get(),
                self.created.get(),
                self.version,
                kind_number(self.kind),
                self.at.as_millis(),
                self.lease.map_or(0, LeaseId::get),
                self.bytes,
            ],
            &self.digest,
            (&self.author, &self.note),
        )
    }
}

impl Found {
    /// As it goes over the wire.
    pub fn to_wire(&self) -> v1::Entry {
        self.entry.to_wire(&self.key, true)
    }
}

fn row_hash(key: &Key, numbers: [u64; 7], digest: &Digest, texts: (&str, &str)) -> RowHash {
    let mut row = RowBuffer::new(b'v')
        .bytes(key.as_bytes())
        .bytes(digest.as_bytes());
    for number in numbers {
        row = row.number(number);
    }
    row.bytes(texts.0.as_bytes())
        .bytes(texts.1.as_bytes())
        .finish()
}

fn kind_number(kind: Option<ValueKind>) -> u64 {
    match kind {
        None => 0,
        Some(ValueKind::Text) => 1,
        Some(ValueKind::Integer) => 2,
        Some(ValueKind::Float) => 3,
        Some(ValueKind::Boolean) => 4,
        Some(ValueKind::Json) => 5,
        Some(ValueKind::Bytes) => 6,
        Some(ValueKind::List) => 7,
        Some(ValueKind::Sealed) => 8,
    }
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
            .then(self.revision.cmp(&id.revision))
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
