//! What an import would change, and the transactions that do it.

use std::collections::BTreeMap;

use holdfast_proto::{Key, Value, limits, v1};
use prost::Message as _;

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
        let mut current: BTreeMap<Key, Current> =
            current.into_iter().map(|current| (current.key.clone(), current)).collect();
        let mut changes = Vec::new();
        let mut unchanged = 0;
        for parameter in &document.entries {
            let key = key(&prefix, &parameter.key)?;
            let before = current.remove(&key);
            if before.as_ref().is_some_and(|before| before.value == parameter.value) {
                unchanged += 1;
                continue;
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
    pub fn transactions(&self) -> Vec<v1::Transaction> {
        let mut transactions = Vec::new();
        let mut transaction = v1::Transaction::default();
        let mut bytes = 0;
        for change in &self.changes {
            let (compare, operation) = (change.unchanged_since(), change.operation());
            // Ten bytes a message for its tag and length.
            let more = compare.encoded_len() + operation.encoded_len() + 20;
            let full = transaction.then.len() == limits::TRANSACTION_OPERATIONS;
            if full || (bytes + more > MOST_BYTES && !transaction.then.is_empty()) {
                transactions.push(std::mem::take(&mut transaction));
                bytes = 0;
            }
            bytes += more;
            transaction.compare.push(compare);
            transaction.then.push(operation);
        }
        if !transaction.then.is_empty() {
            transactions.push(transaction);
        }
        transactions
    }
}

impl Change {
    fn unchanged_since(&self) -> v1::Compare {
        let modified = self.before.as_ref().map_or(0, |before| before.modified);
        v1::Compare {
            range: Some(self.range()),
            relation: v1::compare::Relation::Equal.into(),
            target: Some(v1::compare::Target::Modified(modified)),
        }
    }

    fn operation(&self) -> v1::Operation {
        let operation = match &self.after {
            Some(value) => v1::operation::Operation::Put(v1::PutOperation {
                key: self.key.to_bytes(),
                value: Some(value.clone().into()),
                ..v1::PutOperation::default()
            }),
            None => v1::operation::Operation::Delete(v1::DeleteOperation {
                range: Some(self.range()),
                previous: false,
            }),
        };
        v1::Operation {
            operation: Some(operation),
        }
    }

    fn range(&self) -> v1::KeyRange {
        holdfast_proto::KeyRange::single(&self.key).into()
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
