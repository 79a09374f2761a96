//! Whether compares hold.

use holdfast_proto::{LeaseId, Value};

use crate::{
    State,
    entry::Entry,
    operation::{Compare, Operation, Relation, Target, Transaction},
};

/// Decides every compare on the way, before anything is written, as etcd does.
pub(crate) fn decide(state: &State, transaction: &Transaction, decisions: &mut Vec<bool>) {
    let holds = transaction
        .compare
        .iter()
        .all(|compare| holds(state, compare));
    decisions.push(holds);
    for step in if holds {
        &transaction.then
    } else {
        &transaction.otherwise
    } {
        if let Operation::Transaction(inner) = step {
            decide(state, inner, decisions);
        }
    }
}

impl State {
    /// Whether a compare holds now.
    pub fn holds(&self, compare: &Compare) -> bool {
        holds(self, compare)
    }
}

fn holds(state: &State, compare: &Compare) -> bool {
    let mut found = state.keys.range(&compare.range).peekable();
    if found.peek().is_none() {
        return holds_for(compare, None);
    }
    found.all(|(_, entry)| holds_for(compare, Some(entry)))
}

fn holds_for(compare: &Compare, entry: Option<&Entry>) -> bool {
    use std::cmp::Ordering;
    let number = |of: fn(&Entry) -> u64| entry.map_or(0, of);
    let order = match &compare.target {
        Target::Version(target) => Some(number(|entry| entry.meta.version).cmp(target)),
        Target::Created(target) => Some(number(|entry| entry.meta.created.get()).cmp(target)),
        Target::Modified(target) => Some(number(|entry| entry.meta.revision.get()).cmp(target)),
        Target::Lease(target) => {
            Some(number(|entry| entry.meta.lease.map_or(0, LeaseId::get)).cmp(target))
        }
        Target::Value(target) => match entry {
            None => return false,
            Some(entry) => compare_values(&entry.value, target),
        },
        Target::Canonical(target) => match entry {
            None => return false,
            Some(entry) => Some(entry.value.to_canonical().cmp(&target.to_canonical())),
        },
    };
    match compare.relation {
        Relation::Equal => order == Some(Ordering::Equal),
        Relation::NotEqual => order != Some(Ordering::Equal),
        Relation::Greater => order == Some(Ordering::Greater),
        Relation::Less => order == Some(Ordering::Less),
    }
}

/// `None`: of two kinds.
fn compare_values(one: &Value, other: &Value) -> Option<std::cmp::Ordering> {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) | (Value::Json(one), Value::Json(other)) => {
            Some(one.cmp(other))
        }
        (Value::Integer(one), Value::Integer(other)) => Some(one.cmp(other)),
        (Value::Float(one), Value::Float(other)) => one.partial_cmp(other),
        (Value::Boolean(one), Value::Boolean(other)) => Some(one.cmp(other)),
        (Value::Bytes(one), Value::Bytes(other)) => Some(one.cmp(other)),
        (Value::List(one), Value::List(other)) => Some(one.cmp(other)),
        _ => None,
    }
}
