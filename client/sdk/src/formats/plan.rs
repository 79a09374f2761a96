//! What an import would change, and the transactions that do it.

use std::collections::BTreeMap;

use crate::{Condition, Key, KeyRange, Operation, Relation, Target, Transaction, Value, limits};

use super::{Deletion, Document, PlanError};

/// A document laid over what is there. Only what differs is written.
#[derive(Clone, Debug)]
pub struct ImportPlan {
    changes: Vec<Change>,
    unchanged: usize,
}

/// What is there now.
#[derive(Clone, Debug)]
pub struct Current {
    /// The key.
    pub key: Key,
    /// The revision of its newest version.
    pub modified: u64,
    /// Its value.
    pub value: Value,
}

/// One key that the import changes.
#[derive(Clone, Debug)]
pub struct Change {
    /// The key, prefix and all.
    pub key: Key,
    /// What is there; `None`: nothing.
    pub before: Option<Current>,
    /// What will be there; `None`: nothing.
    pub after: Option<Value>,
}

/// The prefix with the `/` that parts it from the names below; empty stays empty.
pub fn import_prefix(prefix: &str) -> String {
    match prefix {
        "" => String::new(),
        prefix if prefix.ends_with('/') => prefix.to_owned(),
        prefix => format!("{prefix}/"),
    }
}

impl ImportPlan {
    /// Lays `document` under `prefix`, over what is there.
    pub fn new(
        document: &Document,
        prefix: &str,
        current: impl IntoIterator<Item = Current>,
    ) -> Result<Self, PlanError> {
        let prefix = import_prefix(prefix);
        let mut current: BTreeMap<Key, Current> = current
            .into_iter()
            .map(|current| (current.key.clone(), current))
            .collect();
        let mut changes = Vec::new();
        let mut unchanged = 0;
        for parameter in &document.entries {
            let key = key(&prefix, &parameter.key)?;
            let before = current.remove(&key);
            if before
                .as_ref()
                .is_some_and(|before| before.value == parameter.value)
            {
                unchanged += 1;
                continue;
            }
            if before.as_ref().is_some_and(Current::is_secret) {
                return Err(PlanError::Secret { key });
            }
            let after = Some(parameter.value.clone());
            changes.push(Change { key, before, after });
        }
        // What is left of `current`, the file does not set.
        let mut deleted = BTreeMap::new();
        for deletion in &document.deletions {
            match deletion {
                Deletion::Key(name) => deleted.extend(current.get_key_value(&key(&prefix, name)?)),
                Deletion::Tree(name) => {
                    let start = format!("{prefix}{name}");
                    let below = |key: &Key| key.as_bytes().starts_with(start.as_bytes());
                    deleted.extend(current.iter().filter(|(key, _)| below(key)));
                }
            }
        }
        let deletions = deleted.into_iter();
        changes.extend(deletions.map(|(key, before)| Change {
            key: key.clone(),
            before: Some(before.clone()),
            after: None,
        }));
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { changes, unchanged })
    }

    /// What changes, by key.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How many parameters of the file are there already, exactly so.
    pub fn unchanged(&self) -> usize {
        self.unchanged
    }

    /// The transactions that do it, in order. Each holds at most
    /// [`limits::TRANSACTION_OPERATIONS`] keys and fits one request, and is refused whole if
    /// somebody changed one of its keys since the plan was made.
    pub fn transactions(&self) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        let mut transaction = Transaction::new();
        let mut bytes = 0;
        for change in &self.changes {
            let full = transaction.operations() == limits::TRANSACTION_OPERATIONS;
            if full || (bytes > 0 && bytes + change.bytes() > MOST_BYTES) {
                transactions.push(std::mem::take(&mut transaction));
                bytes = 0;
            }
            bytes += change.bytes();
            transaction = transaction
                .when(change.condition())
                .then(change.operation());
        }
        if transaction.operations() > 0 {
            transactions.push(transaction);
        }
        transactions
    }
}

impl Current {
    fn is_secret(&self) -> bool {
        matches!(self.value, Value::Sealed(_))
    }
}

impl Change {
    /// Nobody changed the key since the plan was made.
    fn condition(&self) -> Condition {
        let modified = self.before.as_ref().map_or(0, |before| before.modified);
        let target = Target::Modified(modified);
        Condition::new(KeyRange::single(&self.key), Relation::Equal, target)
    }

    fn operation(&self) -> Operation {
        match &self.after {
            Some(value) => Operation::put(&self.key, value.clone()),
            None => Operation::delete(&self.key),
        }
    }

    /// At most what it takes on the wire: the key stands in the condition too, and each item of a
    /// list has a tag and a length of its own.
    fn bytes(&self) -> usize {
        let value = self.after.as_ref().map_or(0, |value| match value {
            Value::List(items) => value.size() + 4 * items.len(),
            _ => value.size(),
        });
        2 * self.key.as_bytes().len() + value + 64
    }
}

fn key(prefix: &str, name: &str) -> Result<Key, PlanError> {
    let key = format!("{prefix}{name}");
    Key::try_from(key.as_str()).map_err(|source| PlanError::Key {
        name: name.to_owned(),
        source,
    })
}

/// Room is left for the request around a transaction.
const MOST_BYTES: usize = limits::REQUEST_BYTES - 64 * 1024;
