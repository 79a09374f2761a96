//! Puts and transactions in the naive model: on a copy of all keys, step by step.

use holdfast_core::{
    Compare, LeaseChoice, Operation, PutOperation, RangeOperation, Relation, Target, Transaction,
};
use holdfast_proto::{Key, KeyRange, Value, v1};

use super::model::{Item, Keys, Model, Reason, Refused, Stamp, delete_range, refuse};

impl Model {
    pub(crate) fn put(
        &self,
        keys: &mut Keys,
        stamp: &Stamp,
        put: &PutOperation,
    ) -> Result<Option<v1::Entry>, Refused> {
        let key = put.key.as_bytes();
        let before = keys.get(key).cloned();
        if before.is_none() && put.lease == LeaseChoice::Keep {
            return refuse(Reason::KeyMissing);
        }
        let lease = match put.lease {
            LeaseChoice::Unbound => 0,
            LeaseChoice::Keep => before.as_ref().unwrap().lease,
            LeaseChoice::Bound(lease) if self.leases.contains(&lease.get()) => lease.get(),
            LeaseChoice::Bound(_) => return refuse(Reason::LeaseMissing),
        };
        let value = match (&put.value, &before) {
            (Some(value), _) => value.clone(),
            (None, Some(before)) => before.value.clone(),
            (None, None) => return refuse(Reason::KeyMissing),
        };
        let item = Item {
            value,
            created: before
                .as_ref()
                .map_or(stamp.revision, |before| before.created),
            modified: stamp.revision,
            version: before.as_ref().map_or(1, |before| before.version + 1),
            lease,
            author: stamp.author.clone(),
            note: stamp.note.clone(),
            at: stamp.at,
        };
        keys.insert(key.to_vec(), item);
        Ok(before
            .filter(|_| put.previous)
            .map(|before| before.to_wire(key)))
    }

    pub(crate) fn transact(
        &self,
        keys: &mut Keys,
        stamp: &Stamp,
        transaction: &Transaction,
    ) -> Result<v1::TransactionResult, Refused> {
        let mut writes = Vec::new();
        gather(transaction, &mut Vec::new(), &mut writes);
        for (index, one) in writes.iter().enumerate() {
            if writes[index + 1..].iter().any(|other| clash(one, other)) {
                return refuse(Reason::DuplicateKey);
            }
        }
        self.run(keys, stamp, transaction)
    }

    /// Compares look at the keys before the whole transaction; operations at the copy.
    fn run(
        &self,
        keys: &mut Keys,
        stamp: &Stamp,
        transaction: &Transaction,
    ) -> Result<v1::TransactionResult, Refused> {
        use v1::operation_result::Result as Wire;
        let succeeded = transaction
            .compare
            .iter()
            .all(|compare| holds(self.now(), compare));
        let steps = if succeeded {
            &transaction.then
        } else {
            &transaction.otherwise
        };
        let mut results = Vec::new();
        for step in steps {
            let result = match step {
                Operation::Range(range) if range.revision != 0 => {
                    Wire::Range(self.count_at(range)?)
                }
                Operation::Range(range) => Wire::Range(read(keys, range)),
                Operation::Put(put) => Wire::Put(v1::PutResult {
                    previous: self.put(keys, stamp, put)?,
                }),
                Operation::Delete(delete) => {
                    Wire::Delete(delete_range(keys, &delete.range, delete.previous))
                }
                Operation::Transaction(inner) => Wire::Transaction(self.run(keys, stamp, inner)?),
            };
            results.push(v1::OperationResult {
                result: Some(result),
            });
        }
        Ok(v1::TransactionResult { succeeded, results })
    }

    /// At an older revision it is only said whether that can be read, and how much there was.
    fn count_at(&self, operation: &RangeOperation) -> Result<v1::RangeResult, Refused> {
        let (asked, newest) = (operation.revision, self.revision());
        if asked > newest {
            return Err(Refused(Reason::FutureRevision, newest, asked));
        }
        if asked < self.compacted {
            return Err(Refused(Reason::Compacted, self.compacted, asked));
        }
        let keys = &self.past[asked as usize];
        let found = keys.keys().filter(|key| operation.range.contains(key));
        Ok(v1::RangeResult {
            count: found.count() as u64,
            ..v1::RangeResult::default()
        })
    }
}

fn read(keys: &Keys, operation: &RangeOperation) -> v1::RangeResult {
    let found: Vec<_> = keys
        .iter()
        .filter(|(key, _)| operation.range.contains(key))
        .collect();
    let limit = if operation.limit == 0 {
        found.len()
    } else {
        operation.limit as usize
    };
    let shown = if operation.count_only {
        0
    } else {
        limit.min(found.len())
    };
    let entries = found[..shown].iter().map(|(key, item)| {
        let mut entry = item.to_wire(key);
        if operation.keys_only {
            entry.value = None;
        }
        entry
    });
    v1::RangeResult {
        entries: entries.collect(),
        more: !operation.count_only && shown < found.len(),
        count: found.len() as u64,
    }
}

fn holds(keys: &Keys, compare: &Compare) -> bool {
    let found: Vec<&Item> = keys
        .iter()
        .filter(|(key, _)| compare.range.contains(key))
        .map(|(_, item)| item)
        .collect();
    if !found.is_empty() {
        return found.into_iter().all(|item| holds_for(compare, Some(item)));
    }
    holds_for(compare, None)
}

fn holds_for(compare: &Compare, item: Option<&Item>) -> bool {
    let (number, target) = match (&compare.target, item) {
        (Target::Value(_) | Target::Canonical(_), None) => return false,
        (Target::Canonical(target), Some(item)) => {
            let (one, other) = (canonical(&item.value), canonical(target));
            return match compare.relation {
                Relation::Equal => one == other,
                Relation::NotEqual => one != other,
                Relation::Greater => one > other,
                Relation::Less => one < other,
            };
        }
        (Target::Value(target), Some(item)) => {
            return value_holds(compare.relation, &item.value, target);
        }
        (Target::Version(target), item) => (item.map_or(0, |item| item.version), target),
        (Target::Created(target), item) => (item.map_or(0, |item| item.created), target),
        (Target::Modified(target), item) => (item.map_or(0, |item| item.modified), target),
        (Target::Lease(target), item) => (item.map_or(0, |item| item.lease), target),
    };
    match compare.relation {
        Relation::Equal => number == *target,
        Relation::NotEqual => number != *target,
        Relation::Greater => number > *target,
        Relation::Less => number < *target,
    }
}

/// What foreign clients read of a value.
fn canonical(value: &Value) -> Vec<u8> {
    match value {
        Value::Text(text) | Value::Json(text) => text.clone().into_bytes(),
        Value::Integer(number) => format!("{number}").into_bytes(),
        Value::Float(number) => format!("{number}").into_bytes(),
        Value::Boolean(true) => b"true".to_vec(),
        Value::Boolean(false) => b"false".to_vec(),
        Value::Bytes(bytes) => bytes.to_vec(),
        Value::List(items) => items.join("\n").into_bytes(),
        Value::Sealed(_) => Vec::new(),
    }
}

fn value_holds(relation: Relation, one: &Value, other: &Value) -> bool {
    let (greater, less) = match (one, other) {
        (Value::Text(one), Value::Text(other)) => (one > other, one < other),
        (Value::Json(one), Value::Json(other)) => (one > other, one < other),
        (Value::Integer(one), Value::Integer(other)) => (one > other, one < other),
        (Value::Float(one), Value::Float(other)) => (one > other, one < other),
        (Value::Boolean(one), Value::Boolean(other)) => (one & !other, !one & other),
        (Value::Bytes(one), Value::Bytes(other)) => (one > other, one < other),
        (Value::List(one), Value::List(other)) => (one > other, one < other),
        _ => (false, false),
    };
    match relation {
        Relation::Equal => one == other,
        Relation::NotEqual => one != other,
        Relation::Greater => greater,
        Relation::Less => less,
    }
}

/// Where a write stands: on each level, which step it is below, and of which branch.
struct Write<'a> {
    path: Vec<(bool, usize)>,
    what: What<'a>,
}

enum What<'a> {
    Put(&'a Key),
    Delete(&'a KeyRange),
}

fn gather<'a>(
    transaction: &'a Transaction,
    path: &mut Vec<(bool, usize)>,
    writes: &mut Vec<Write<'a>>,
) {
    for (branch, steps) in [(true, &transaction.then), (false, &transaction.otherwise)] {
        for (index, step) in steps.iter().enumerate() {
            path.push((branch, index));
            match step {
                Operation::Put(put) => {
                    writes.push(Write {
                        path: path.clone(),
                        what: What::Put(&put.key),
                    });
                }
                Operation::Delete(delete) => {
                    writes.push(Write {
                        path: path.clone(),
                        what: What::Delete(&delete.range),
                    });
                }
                Operation::Transaction(inner) => gather(inner, path, writes),
                Operation::Range(_) => {}
            }
            path.pop();
        }
    }
}

/// Whether a step of it wrote something, though a later one may have taken that away.
pub(crate) fn has_written(result: &v1::TransactionResult) -> bool {
    use v1::operation_result::Result as Wire;
    let mut results = result
        .results
        .iter()
        .filter_map(|step| step.result.as_ref());
    results.any(|step| match step {
        Wire::Put(_) => true,
        Wire::Delete(deletion) => deletion.deleted > 0,
        Wire::Transaction(inner) => has_written(inner),
        _ => false,
    })
}

/// etcd's rule, as pairs: two writes that can both happen must not be of one key. It lets one case
/// pass: a nested transaction deletes what an earlier nested one put.
fn clash(one: &Write<'_>, other: &Write<'_>) -> bool {
    let level = one
        .path
        .iter()
        .zip(&other.path)
        .take_while(|(one, other)| one == other)
        .count();
    let (here, there) = (one.path[level], other.path[level]);
    if here.0 != there.0 {
        return false;
    }
    let nested = one.path.len() > level + 1 && other.path.len() > level + 1;
    match (&one.what, &other.what) {
        (What::Put(one), What::Put(other)) => one == other,
        (What::Put(key), What::Delete(range)) => {
            range.contains(key.as_bytes()) && (!nested || there.1 < here.1)
        }
        (What::Delete(range), What::Put(key)) => {
            range.contains(key.as_bytes()) && (!nested || here.1 < there.1)
        }
        (What::Delete(_), What::Delete(_)) => false,
    }
}
