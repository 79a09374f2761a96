//! Putting keys back to what they were: a transaction like any other, made from differences.

use holdfast_proto::{Key, KeyRange, LeaseId, Revision, Value};

use crate::operation::{
    Compare, DeleteOperation, LeaseChoice, Operation, PutOperation, Relation, Target, Transaction,
};

/// One key to put back.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    /// The key.
    pub key: Key,
    /// Its revision now; `None`: it is not there. If it moved on, nothing is put back.
    pub now: Option<Revision>,
    /// What it was; `None`: it was not there.
    pub then: Option<Value>,
    /// The lease to bind it to, if the one it had still lives.
    pub lease: Option<LeaseId>,
}

/// Puts all of them back in one revision, or none if one of them has moved on since it was looked at.
pub fn rollback(keys: impl IntoIterator<Item = Restore>) -> Transaction {
    let mut transaction = Transaction::default();
    for restore in keys {
        let range = KeyRange::single(&restore.key);
        transaction.compare.push(Compare {
            range: range.clone(),
            relation: Relation::Equal,
            target: Target::Modified(restore.now.map_or(0, Revision::get)),
        });
        transaction.then.push(match restore.then {
            None => Operation::Delete(DeleteOperation::new(range)),
            Some(value) => Operation::Put(PutOperation {
                key: restore.key,
                seal: None,
                value: Some(value),
                lease: restore
                    .lease
                    .map_or(LeaseChoice::Unbound, LeaseChoice::Bound),
                previous: false,
            }),
        });
    }
    transaction
}
