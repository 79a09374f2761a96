//! Locks and elections, made of keys, leases and transactions: the log knows no lock.
//!
//! A contender is a key `NAME/LEASE` (the lease as 16 hex digits) under that lease; the one created
//! first holds. Its creating revision is the fencing token: it rises from holder to holder, so
//! whatever the lock protects refuses a token lower than one it has seen.

use std::sync::Arc;

use holdfast_proto::{Key, KeyError, KeyRange, LeaseId, Revision, Value};

use crate::{
    State,
    entry::Entry,
    operation::{
        Compare, DeleteOperation, LeaseChoice, Operation, PutOperation, RangeOperation, Relation,
        Target, Transaction,
    },
};

/// The key of a contender.
pub fn contender_key(name: &Key, lease: LeaseId) -> Result<Key, KeyError> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend_from_slice(format!("/{lease}").as_bytes());
    Key::new(bytes)
}

/// The range that holds all contenders of a lock: what to watch while waiting.
pub fn contenders(name: &Key) -> KeyRange {
    let mut prefix = name.as_bytes().to_vec();
    prefix.push(b'/');
    KeyRange::prefix(prefix)
}

/// Joins the queue, or finds that it already stands in it: creates the contender's key if it is not
/// there, and reads it otherwise. Either way the place in the queue is the key's creating revision.
pub fn contend(name: &Key, lease: LeaseId, value: Value) -> Result<Transaction, KeyError> {
    let key = contender_key(name, lease)?;
    let range = KeyRange::single(&key);
    Ok(Transaction {
        compare: vec![created(range.clone(), 0)],
        then: vec![Operation::Put(PutOperation {
            key,
            seal: None,
            replaces_secret: false,
            value: Some(value),
            lease: LeaseChoice::Bound(lease),
            previous: false,
        })],
        otherwise: vec![Operation::Range(RangeOperation::new(range))],
    })
}

/// Gives up the hold, or the place in the queue, that has this token; no later one.
pub fn release(name: &Key, lease: LeaseId, token: Revision) -> Result<Transaction, KeyError> {
    let range = KeyRange::single(&contender_key(name, lease)?);
    Ok(Transaction {
        compare: vec![created(range.clone(), token.get())],
        then: vec![Operation::Delete(DeleteOperation::new(range))],
        otherwise: Vec::new(),
    })
}

/// Changes the value of the contender that has this token; its place stays.
pub fn proclaim(
    name: &Key,
    lease: LeaseId,
    token: Revision,
    value: Value,
) -> Result<Transaction, KeyError> {
    let key = contender_key(name, lease)?;
    Ok(Transaction {
        compare: vec![created(KeyRange::single(&key), token.get())],
        then: vec![Operation::Put(PutOperation {
            key,
            seal: None,
            replaces_secret: false,
            value: Some(value),
            lease: LeaseChoice::Keep,
            previous: false,
        })],
        otherwise: Vec::new(),
    })
}

/// Who holds the lock, or leads: the contender created first. `created` is its fencing token.
pub fn holder<'a>(state: &'a State, name: &Key) -> Option<(&'a Key, &'a Arc<Entry>)> {
    let range = contenders(name);
    let skip = name.as_bytes().len() + 1;
    state
        .range(&range)
        .filter(|(key, entry)| is_contender(&key.as_bytes()[skip..], entry))
        .min_by_key(|(key, entry)| (entry.meta.created, *key))
}

/// Whether what follows `NAME/` is the entry's own lease. Keys below `NAME/` may be anything. etcd's
/// clients write the lease without leading zeros.
fn is_contender(rest: &[u8], entry: &Entry) -> bool {
    entry.meta.lease.is_some_and(|lease| {
        rest == lease.to_string().as_bytes() || rest == format!("{:x}", lease.get()).as_bytes()
    })
}

fn created(range: KeyRange, revision: u64) -> Compare {
    Compare {
        range,
        relation: Relation::Equal,
        target: Target::Created(revision),
    }
}
