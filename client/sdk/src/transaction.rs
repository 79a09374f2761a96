//! Transactions: if all conditions hold then these operations, otherwise those; in one revision.
//!
//! At most [`holdfast_proto::limits::TRANSACTION_OPERATIONS`] operations, nested ones counted.

use holdfast_proto::{Key, KeyRange, LeaseId, Revision, Value, v1};

use crate::entry::{Entry, Unreadable, entries};

/// What to do, depending on what is there.
///
/// ```
/// use holdfast_client::{Condition, Key, Operation, Transaction};
/// # fn main() -> Result<(), holdfast_client::KeyError> {
/// let key = Key::try_from("jobs/7/owner")?;
/// let claim = Transaction::new()
///     .when(Condition::absent(&key))
///     .then(Operation::put(&key, "worker-3"))
///     .otherwise(Operation::get(&key));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Transaction(v1::Transaction);

/// Something that must hold.
#[derive(Clone, Debug)]
pub struct Condition(v1::Compare);

/// Something to do.
#[derive(Clone, Debug)]
pub struct Operation(v1::Operation);

/// How the two sides of a condition must relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// What is there equals the target.
    Equal,
    /// It differs.
    NotEqual,
    /// It is greater.
    Greater,
    /// It is less.
    Less,
}

/// What of a key is compared, and with what.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Its version; 0: the key does not exist.
    Version(u64),
    /// The revision that created it; 0: the key does not exist.
    Created(u64),
    /// The revision of its current version; 0: the key does not exist.
    Modified(u64),
    /// Its lease's number; 0: none.
    Lease(u64),
    /// Its value; never holds for a missing key.
    Value(Value),
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq)]
pub struct Transacted {
    /// The revision it made; the newest one, unchanged, if it changed nothing.
    pub revision: u64,
    /// Whether the conditions held.
    pub succeeded: bool,
    /// One result for each operation of the branch that was taken, in order.
    pub results: Vec<OperationResult>,
}

/// What one operation of a transaction did.
#[derive(Clone, Debug, PartialEq)]
pub enum OperationResult {
    /// Of a read.
    Range {
        /// By key.
        entries: Vec<Entry>,
        /// Whether the limit cut it short.
        more: bool,
        /// All keys of the range.
        count: u64,
    },
    /// Of a put.
    Put {
        /// What was there, if asked for.
        previous: Option<Entry>,
    },
    /// Of a delete.
    Delete {
        /// How many keys are gone.
        deleted: u64,
        /// What was there, if asked for.
        previous: Vec<Entry>,
    },
    /// Of a nested transaction.
    Transaction {
        /// Whether its conditions held.
        succeeded: bool,
        /// One for each operation of the branch that was taken.
        results: Vec<OperationResult>,
    },
}

impl Transaction {
    /// An empty one: no conditions, nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition; all must hold.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.0.compare.push(condition.0);
        self
    }

    /// Adds an operation for when all conditions hold.
    #[must_use]
    pub fn then(mut self, operation: Operation) -> Self {
        self.0.then.push(operation.0);
        self
    }

    /// Adds an operation for when a condition does not hold.
    #[must_use]
    pub fn otherwise(mut self, operation: Operation) -> Self {
        self.0.otherwise.push(operation.0);
        self
    }

    /// How many operations both branches have, nested ones counted.
    pub fn operations(&self) -> usize {
        operations(&self.0)
    }

    pub(crate) fn into_wire(self) -> v1::Transaction {
        self.0
    }
}

impl Condition {
    /// `target` of every key in `range` relates so. An empty range holds.
    pub fn new(range: KeyRange, relation: Relation, target: Target) -> Self {
        use v1::compare::{Relation as Wire, Target as WireTarget};
        let relation = match relation {
            Relation::Equal => Wire::Equal,
            Relation::NotEqual => Wire::NotEqual,
            Relation::Greater => Wire::Greater,
            Relation::Less => Wire::Less,
        };
        Self(v1::Compare {
            range: Some(range.into()),
            relation: relation.into(),
            target: Some(match target {
                Target::Version(version) => WireTarget::Version(version),
                Target::Created(revision) => WireTarget::Created(revision),
                Target::Modified(revision) => WireTarget::Modified(revision),
                Target::Lease(lease) => WireTarget::Lease(lease),
                Target::Value(value) => WireTarget::Value(value.into()),
            }),
        })
    }

    /// The key does not exist.
    pub fn absent(key: &Key) -> Self {
        Self::new(KeyRange::single(key), Relation::Equal, Target::Version(0))
    }

    /// The key exists.
    pub fn exists(key: &Key) -> Self {
        Self::new(KeyRange::single(key), Relation::Greater, Target::Version(0))
    }

    /// The key's current version was written at this revision.
    pub fn modified_at(key: &Key, revision: Revision) -> Self {
        let target = Target::Modified(revision.get());
        Self::new(KeyRange::single(key), Relation::Equal, target)
    }

    /// The key has this value.
    pub fn value_is(key: &Key, value: impl Into<Value>) -> Self {
        let target = Target::Value(value.into());
        Self::new(KeyRange::single(key), Relation::Equal, target)
    }
}

impl Operation {
    /// Puts a value.
    pub fn put(key: &Key, value: impl Into<Value>) -> Self {
        Self::put_under(key, value, None)
    }

    /// Puts a value that lives under a lease.
    pub fn put_under(key: &Key, value: impl Into<Value>, lease: Option<LeaseId>) -> Self {
        Self::wrap(v1::operation::Operation::Put(v1::PutOperation {
            key: key.to_bytes(),
            value: Some(value.into().into()),
            lease: lease.map_or(0, LeaseId::get),
            ..Default::default()
        }))
    }

    /// Deletes the key.
    pub fn delete(key: &Key) -> Self {
        Self::delete_range(KeyRange::single(key))
    }

    /// Deletes every key of a range.
    pub fn delete_range(range: KeyRange) -> Self {
        Self::wrap(v1::operation::Operation::Delete(v1::DeleteOperation {
            range: Some(range.into()),
            previous: false,
        }))
    }

    /// Reads the key.
    pub fn get(key: &Key) -> Self {
        Self::range(KeyRange::single(key), 0)
    }

    /// Reads a range; limit 0: all of it.
    pub fn range(range: KeyRange, limit: u64) -> Self {
        Self::wrap(v1::operation::Operation::Range(v1::RangeOperation {
            range: Some(range.into()),
            limit,
            ..v1::RangeOperation::default()
        }))
    }

    /// Runs a transaction inside this one, at most
    /// [`holdfast_proto::limits::TRANSACTION_DEPTH`] deep.
    pub fn transaction(transaction: Transaction) -> Self {
        Self::wrap(v1::operation::Operation::Transaction(transaction.0))
    }

    /// Makes a put or a delete return what was there; no effect on the others.
    #[must_use]
    pub fn with_previous(mut self) -> Self {
        match &mut self.0.operation {
            Some(v1::operation::Operation::Put(put)) => put.previous = true,
            Some(v1::operation::Operation::Delete(delete)) => delete.previous = true,
            _ => {}
        }
        self
    }

    fn wrap(operation: v1::operation::Operation) -> Self {
        Self(v1::Operation {
            operation: Some(operation),
        })
    }
}

impl Transacted {
    pub(crate) fn from_wire(wire: v1::TransactResponse) -> Result<Self, Unreadable> {
        let result = wire.result.ok_or(Unreadable("result"))?;
        Ok(Self {
            revision: wire.revision,
            succeeded: result.succeeded,
            results: results(result.results)?,
        })
    }
}

fn results(wire: Vec<v1::OperationResult>) -> Result<Vec<OperationResult>, Unreadable> {
    wire.into_iter().map(one_result).collect()
}

fn one_result(wire: v1::OperationResult) -> Result<OperationResult, Unreadable> {
    use v1::operation_result::Result as Wire;
    Ok(match wire.result.ok_or(Unreadable("result"))? {
        Wire::Range(range) => OperationResult::Range {
            entries: entries(range.entries)?,
            more: range.more,
            count: range.count,
        },
        Wire::Put(put) => OperationResult::Put {
            previous: put.previous.map(Entry::from_wire).transpose()?,
        },
        Wire::Delete(delete) => OperationResult::Delete {
            deleted: delete.deleted,
            previous: entries(delete.previous)?,
        },
        Wire::Transaction(nested) => OperationResult::Transaction {
            succeeded: nested.succeeded,
            results: results(nested.results)?,
        },
    })
}

fn operations(transaction: &v1::Transaction) -> usize {
    transaction
        .then
        .iter()
        .chain(&transaction.otherwise)
        .map(|operation| match &operation.operation {
            Some(v1::operation::Operation::Transaction(nested)) => 1 + operations(nested),
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_operations_are_counted_with_their_transaction() {
        let key = Key::try_from("k").unwrap();
        let inner = Transaction::new()
            .then(Operation::put(&key, "a"))
            .otherwise(Operation::delete(&key));
        let outer = Transaction::new()
            .then(Operation::transaction(inner))
            .then(Operation::get(&key));
        assert_eq!(outer.operations(), 4);
    }
}
