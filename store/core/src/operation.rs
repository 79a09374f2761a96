//! What a transaction is made of: compares, and the operations of its two branches.

use bytes::Bytes;
use holdfast_proto::{Key, KeyRange, LeaseId, Value};

use crate::keyring::Seal;

/// If every compare holds, `then` is done, or else `otherwise`; all of it in one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transaction {
    /// All must hold. Those of nested transactions are decided up front as well, as etcd does.
    pub compare: Vec<Compare>,
    /// Done if they hold.
    pub then: Vec<Operation>,
    /// Done if one does not.
    pub otherwise: Vec<Operation>,
}

/// One condition. Every key of the range must meet it; where there is none, one missing key (all
/// its numbers 0) is compared, and a value never holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// How the key's property must stand to the target.
    pub relation: Relation,
    /// Which property, and what it is compared with.
    pub target: Target,
}

/// How the key's property must stand to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Equal,
    /// Different.
    NotEqual,
    /// The key's is greater. Values of two kinds have no order: never holds.
    Greater,
    /// The key's is less.
    Less,
}

/// Which property of a key is compared, and with what.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Puts since creation; 0: the key does not exist.
    Version(u64),
    /// The revision that created it.
    Created(u64),
    /// The revision of its newest version.
    Modified(u64),
    /// Its lease; 0: none.
    Lease(u64),
    /// Its value.
    Value(Value),
    /// Its value, by the canonical bytes of both, whatever their kinds: as foreign clients see it.
    Canonical(Value),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Read; sees what earlier steps wrote.
    Range(RangeOperation),
    /// Write one key.
    Put(PutOperation),
    /// Delete a range.
    Delete(DeleteOperation),
    /// A transaction inside.
    Transaction(Transaction),
}

/// Reads a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeOperation {
    /// Which keys.
    pub range: KeyRange,
    /// At most so many entries; 0: all.
    pub limit: u64,
    /// Without values.
    pub keys_only: bool,
    /// Without entries.
    pub count_only: bool,
    /// Not as earlier steps left it, but as it was at this revision; 0: no. The transaction is
    /// refused unless that can be read; the entries are not in the answer, for their values may be
    /// in the past, and whoever asks reads them there.
    pub revision: u64,
}

/// Writes one key.
#[derive(Clone, Debug, PartialEq)]
pub struct PutOperation {
    /// The key.
    pub key: Key,
    /// Its new value; `None`: keep the value, the key must exist.
    pub value: Option<Value>,
    /// Of a sealed value, and of no other: what it was sealed for.
    pub seal: Option<Seal>,
    /// A plain value may take the place of a secret.
    pub replaces_secret: bool,
    /// The lease it lives under.
    pub lease: LeaseChoice,
    /// Answer what was there before.
    pub previous: bool,
}

/// The lease that a put binds its key to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseChoice {
    /// None: the key stays until it is deleted.
    #[default]
    Unbound,
    /// The one it has; the key must exist.
    Keep,
    /// This one; it must exist.
    Bound(LeaseId),
}

/// Deletes a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOperation {
    /// Which keys.
    pub range: KeyRange,
    /// Answer what was there before.
    pub previous: bool,
}

impl PutOperation {
    /// Copies the value out of the `whole` bytes that it was read from, unless it is most of them.
    pub(crate) fn unshare(&mut self, whole: usize) {
        if let Some(Value::Bytes(bytes) | Value::Sealed(bytes)) = &mut self.value
            && bytes.len() * 2 < whole
        {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }
}

impl Transaction {
    /// As [`PutOperation::unshare`], for all of its puts.
    pub(crate) fn unshare(&mut self, whole: usize) {
        for step in self.then.iter_mut().chain(&mut self.otherwise) {
            match step {
                Operation::Put(put) => put.unshare(whole),
                Operation::Transaction(inner) => inner.unshare(whole),
                Operation::Range(_) | Operation::Delete(_) => {}
            }
        }
    }

    /// How many operations it has, nested ones and those of both branches counted.
    pub fn operations(&self) -> usize {
        self.steps()
            .map(|step| match step {
                Operation::Transaction(inner) => 1 + inner.operations(),
                _ => 1,
            })
            .sum()
    }

    /// How deep it is nested; 1: not.
    pub fn depth(&self) -> usize {
        let inner = self.steps().map(|step| match step {
            Operation::Transaction(inner) => inner.depth(),
            _ => 0,
        });
        1 + inner.max().unwrap_or(0)
    }

    /// How many compares it has, nested ones counted.
    pub fn compares(&self) -> usize {
        let inner = self.steps().map(|step| match step {
            Operation::Transaction(inner) => inner.compares(),
            _ => 0,
        });
        self.compare.len() + inner.sum::<usize>()
    }

    fn steps(&self) -> impl Iterator<Item = &Operation> {
        self.then.iter().chain(&self.otherwise)
    }
}

impl PutOperation {
    /// Writes `value`, under no lease.
    pub fn new(key: Key, value: Value) -> Self {
        Self {
            key,
            value: Some(value),
            seal: None,
            replaces_secret: false,
            lease: LeaseChoice::Unbound,
            previous: false,
        }
    }
}

impl DeleteOperation {
    /// Deletes `range`.
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            previous: false,
        }
    }
}

impl RangeOperation {
    /// Reads all of `range`.
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            limit: 0,
            keys_only: false,
            count_only: false,
            revision: 0,
        }
    }
}
