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
    /// What is known of it. Its history takes this over when it is replaced.
    pub meta: Arc<VersionMeta>,
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
    /// The value's size as limits count it. Four bytes, since all of this fits two lines of a
    /// processor's cache then.
    pub bytes: u32,
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
            value: value.map(Into::into),
            ..self.meta.to_wire(key)
        }
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
                let mut meta = VersionMeta::clone(&entry.meta);
                meta.digest = digest;
                meta.bytes = counted(&value);
                Arc::new(Entry {
                    value,
                    meta: Arc::new(meta),
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

    /// The hash of the row that this version is, while it is current and when it is an older one.
    pub(crate) fn row_hash(&self, key: &Key) -> RowHash {
        let numbers = [
            self.revision.get(),
            self.created.get(),
            self.version,
            kind_number(self.kind),
            self.at.as_millis(),
            self.lease.map_or(0, LeaseId::get),
            u64::from(self.bytes),
        ];
        let row = RowBuffer::new(b'v')
            .bytes(key.as_bytes())
            .bytes(self.digest.as_bytes());
        numbers
            .into_iter()
            .fold(row, RowBuffer::number)
            .bytes(self.author.as_bytes())
            .bytes(self.note.as_bytes())
            .finish()
    }
}

impl Found {
    /// As it goes over the wire.
    pub fn to_wire(&self) -> v1::Entry {
        self.entry.to_wire(&self.key, true)
    }
}

/// A value's size as limits count it. No value comes near the limit of the number.
pub(crate) fn counted(value: &Value) -> u32 {
    u32::try_from(value.size()).unwrap_or(u32::MAX)
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
