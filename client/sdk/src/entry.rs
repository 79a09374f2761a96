//! What a read hands out: never a bare value, always with where it came from and how old it is.

use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::{Key, LeaseId, NodeId, Revision, Timestamp, Value, v1};

/// One version of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value; `None` where values were not asked for, and in a deletion.
    pub value: Option<Value>,
    /// The revision that created the key.
    pub created: Revision,
    /// The revision of this version.
    pub modified: Revision,
    /// 1 for the first put after creation, then rising by one.
    pub version: u64,
    /// The lease it lives under.
    pub lease: Option<LeaseId>,
    /// Who wrote it: `client/NAME` or `node/NAME`.
    pub author: String,
    /// Why, as the author said.
    pub note: String,
    /// When, in cluster time.
    pub at: Timestamp,
}

impl Entry {
    /// Whether it is a secret: then its value is empty, see [`crate::SecretsClient::reveal`].
    pub fn is_secret(&self) -> bool {
        matches!(self.value, Some(Value::Sealed(_)))
    }
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A server answered just now.
    Server(NodeId),
    /// Memory of this process, or of the agent of this node; see its age.
    Cache,
    /// A file of this node: no server answered since this process, or the agent, started. See its age.
    Disk,
}

/// What an answer's header says of where it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) origin: Origin,
    /// How long ago it was current, at most, when it was sent.
    pub(crate) age: Duration,
}

impl Told {
    pub(crate) fn of(header: Option<&v1::Header>) -> Self {
        let origin = match header.map(v1::Header::origin) {
            Some(v1::Origin::AgentMemory) => Origin::Cache,
            Some(v1::Origin::AgentDisk) => Origin::Disk,
            Some(v1::Origin::Server) | None => {
                Origin::Server(NodeId(header.map_or(0, |header| header.member)))
            }
        };
        let age = match origin {
            Origin::Server(_) => Duration::ZERO,
            Origin::Cache | Origin::Disk => header
                .and_then(|header| header.age_ms)
                .map_or(Duration::MAX, Duration::from_millis),
        };
        Self { origin, age }
    }
}

/// What was found under a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The key's version that was read.
    pub entry: Entry,
    /// The store's revision that was read; 0: nothing was ever written.
    pub revision: u64,
    /// Where it comes from.
    pub origin: Origin,
    /// How long ago it was known to be current, at most. A linearizable answer's age is the time
    /// the call took.
    pub age: Duration,
}

impl Found {
    /// The value.
    pub fn value(&self) -> &Value {
        self.entry.value.as_ref().unwrap_or(&EMPTY)
    }
}

/// Stands in for a value that was not asked for.
static EMPTY: Value = Value::Text(String::new());

/// Entries of a range, all at one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// By key.
    pub entries: Vec<Entry>,
    /// The revision that was read; 0: nothing was ever written.
    pub revision: u64,
    /// Whether there is more behind these.
    pub more: bool,
    /// Where to go on, if there is more: the first key that is not in this page.
    pub next: Option<Key>,
    /// All keys of the range, whatever the limit.
    pub count: u64,
    /// Where it comes from.
    pub origin: Origin,
    /// How long ago it was known to be current, at most.
    pub age: Duration,
}

/// A message that this version cannot read: it names the field.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server's answer has no usable {0}; it may be newer than this program, update it")]
pub(crate) struct Unreadable(pub(crate) &'static str);

impl Entry {
    pub(crate) fn to_wire(&self) -> v1::Entry {
        v1::Entry {
            key: self.key.to_bytes(),
            value: self.value.clone().map(v1::Value::from),
            created: self.created.get(),
            modified: self.modified.get(),
            version: self.version,
            lease: self.lease.map_or(0, LeaseId::get),
            author: self.author.clone(),
            note: self.note.clone(),
            at_ms: self.at.as_millis(),
        }
    }

    pub(crate) fn from_wire(wire: v1::Entry) -> Result<Self, Unreadable> {
        let modified = Revision::new(wire.modified).ok_or(Unreadable("revision"))?;
        Ok(Self {
            key: Key::new(wire.key).map_err(|_| Unreadable("key"))?,
            value: wire
                .value
                .map(Value::try_from)
                .transpose()
                .map_err(|_| Unreadable("value"))?
                .map(without_payload),
            // A deletion has no creation of its own.
            created: Revision::new(wire.created).unwrap_or(modified),
            modified,
            version: wire.version,
            lease: LeaseId::new(wire.lease),
            author: wire.author,
            note: wire.note,
            at: Timestamp::from_millis(wire.at_ms),
        })
    }
}

/// That there is a secret is all that a reader learns, whatever a server sends.
fn without_payload(value: Value) -> Value {
    match value {
        Value::Sealed(_) => Value::Sealed(Bytes::new()),
        plain => plain,
    }
}

/// All of them, or what is wrong with the first that cannot be read.
pub(crate) fn entries(wire: Vec<v1::Entry>) -> Result<Vec<Entry>, Unreadable> {
    wire.into_iter().map(Entry::from_wire).collect()
}

impl From<Unreadable> for crate::ReadError {
    fn from(error: Unreadable) -> Self {
        Self::Invalid {
            message: error.to_string(),
        }
    }
}
