//! The file that `txn` takes.

use holdfast_client::{Condition, Key, KeyRange, Operation, Relation, Target, Transaction, limits};
use serde::Deserialize;

use crate::value;

/// What `kvctl txn --help` says of the file.
pub(super) const HELP: &str = r#"The file:
  {
    "note": "why",
    "if":   [CONDITION…]      all must hold; without any, "then" is done
    "then": [OPERATION…]
    "else": [OPERATION…]      done where a condition does not hold
  }
CONDITION, about one key, or each key of a prefix:
  {"key": K, "exists": true}
  {"key": K, "revision": N}   of its newest version; 0: there is no such key
  {"key": K, "version": N} {"key": K, "created": N} {"key": K, "lease": "00000000000000ff"}
  {"key": K, "value": VALUE}
  {"prefix": P, …}            instead of "key"
  with "relation": "equal" (default), "not_equal", "greater" or "less"
OPERATION:
  {"put": K, "value": VALUE}
  {"delete": K} {"delete_prefix": P}
  {"get": K} {"get_prefix": P, "limit": N}
  {"txn": {"if": …, "then": …, "else": …}}
VALUE:
  a string, number, boolean or array of strings; or {"type": TYPE, "value": …} as `-o json` prints
  it: bytes in base64, json as text"#;

/// A transaction as it was read.
pub(super) struct Parsed {
    pub(super) transaction: Transaction,
    pub(super) note: Option<String>,
    pub(super) has_otherwise: bool,
}

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let has_otherwise = !file.otherwise.is_empty();
    let branches = Branches {
        conditions: file.conditions,
        then: file.then,
        otherwise: file.otherwise,
    };
    let transaction = branches.build(1)?;
    let operations = transaction.operations();
    if operations == 0 {
        return Err("there is nothing to do in it".to_owned());
    }
    if operations > limits::TRANSACTION_OPERATIONS {
        return Err(format!(
            "it has {operations} operations; at most {} are allowed, split it",
            limits::TRANSACTION_OPERATIONS
        ));
    }
    Ok(Parsed {
        transaction,
        note: file.note,
        has_otherwise,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    note: Option<String>,
    #[serde(rename = "if", alias = "when", default)]
    conditions: Vec<ConditionFields>,
    #[serde(default)]
    then: Vec<OperationFields>,
    #[serde(rename = "else", alias = "otherwise", default)]
    otherwise: Vec<OperationFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Branches {
    #[serde(rename = "if", alias = "when", default)]
    conditions: Vec<ConditionFields>,
    #[serde(default)]
    then: Vec<OperationFields>,
    #[serde(rename = "else", alias = "otherwise", default)]
    otherwise: Vec<OperationFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionFields {
    key: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    relation: RelationWord,
    exists: Option<bool>,
    revision: Option<u64>,
    created: Option<u64>,
    version: Option<u64>,
    lease: Option<String>,
    value: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RelationWord {
    #[default]
    Equal,
    NotEqual,
    Greater,
    Less,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationFields {
    put: Option<String>,
    value: Option<serde_json::Value>,
    delete: Option<String>,
    delete_prefix: Option<String>,
    get: Option<String>,
    get_prefix: Option<String>,
    limit: Option<u64>,
    txn: Option<Box<Branches>>,
}

impl Branches {
    fn build(self, depth: usize) -> Result<Transaction, String> {
        if depth > limits::TRANSACTION_DEPTH {
            let most = limits::TRANSACTION_DEPTH;
            return Err(format!("transactions are at most {most} deep"));
        }
        let mut transaction = Transaction::new();
        for (place, condition) in self.conditions.into_iter().enumerate() {
            let condition = condition.build().map_err(at("if", place))?;
            transaction = transaction.when(condition);
        }
        for (place, operation) in self.then.into_iter().enumerate() {
            transaction = transaction.then(operation.build(depth).map_err(at("then", place))?);
        }
        for (place, operation) in self.otherwise.into_iter().enumerate() {
            transaction = transaction.otherwise(operation.build(depth).map_err(at("else", place))?);
        }
        Ok(transaction)
    }
}

fn at(branch: &'static str, place: usize) -> impl FnOnce(String) -> String {
    move |error| format!("\"{branch}\" number {}: {error}", place + 1)
}

impl ConditionFields {
    fn build(self) -> Result<Condition, String> {
        let range = match (self.key, self.prefix) {
            (Some(key), None) => KeyRange::single(&parse_key(&key)?),
            (None, Some(prefix)) => KeyRange::prefix(prefix),
            _ => return Err("a condition needs \"key\" or \"prefix\"".to_owned()),
        };
        let relation = match self.relation {
            RelationWord::Equal => Relation::Equal,
            RelationWord::NotEqual => Relation::NotEqual,
            RelationWord::Greater => Relation::Greater,
            RelationWord::Less => Relation::Less,
        };
        let lease = self.lease.map(|lease| parse_lease(&lease)).transpose()?;
        let value = self.value.as_ref().map(value::from_json).transpose()?;
        if let Some(exists) = self.exists {
            let others = [self.revision, self.created, self.version, lease];
            if others.iter().any(Option::is_some) || value.is_some() {
                return Err(ONE_TARGET.to_owned());
            }
            let relation = match exists {
                true => Relation::Greater,
                false => Relation::Equal,
            };
            return Ok(Condition::new(range, relation, Target::Version(0)));
        }
        let mut targets = [
            self.revision.map(Target::Modified),
            self.created.map(Target::Created),
            self.version.map(Target::Version),
            lease.map(Target::Lease),
            value.map(Target::Value),
        ]
        .into_iter()
        .flatten();
        match (targets.next(), targets.next()) {
            (Some(target), None) => Ok(Condition::new(range, relation, target)),
            _ => Err(ONE_TARGET.to_owned()),
        }
    }
}

impl OperationFields {
    fn build(self, depth: usize) -> Result<Operation, String> {
        let is_get = self.get.is_some() || self.get_prefix.is_some();
        if (self.value.is_some() && self.put.is_none()) || (self.limit.is_some() && !is_get) {
            return Err("\"value\" goes with \"put\", \"limit\" with a get".to_owned());
        }
        let limit = self.limit.unwrap_or(0);
        let mut operations = Vec::new();
        if let Some(key) = self.put {
            let value = self.value.ok_or("a put needs a \"value\"")?;
            operations.push(Operation::put(&parse_key(&key)?, value::from_json(&value)?));
        }
        if let Some(key) = self.delete {
            operations.push(Operation::delete(&parse_key(&key)?));
        }
        if let Some(prefix) = self.delete_prefix {
            let prefix = parse_key(&prefix)?;
            operations.push(Operation::delete_range(KeyRange::prefix(prefix.to_bytes())));
        }
        if let Some(key) = self.get {
            operations.push(Operation::range(KeyRange::single(&parse_key(&key)?), limit));
        }
        if let Some(prefix) = self.get_prefix {
            operations.push(Operation::range(KeyRange::prefix(prefix), limit));
        }
        if let Some(branches) = self.txn {
            operations.push(Operation::transaction(branches.build(depth + 1)?));
        }
        match (operations.pop(), operations.is_empty()) {
            (Some(operation), true) => Ok(operation),
            _ => Err(
                "an operation is one of put, delete, delete_prefix, get, get_prefix and txn"
                    .to_owned(),
            ),
        }
    }
}

fn parse_key(key: &str) -> Result<Key, String> {
    Key::try_from(key).map_err(|error| error.to_string())
}

fn parse_lease(lease: &str) -> Result<u64, String> {
    u64::from_str_radix(lease, 16).map_err(|_| format!("{lease:?} is no lease of 16 hex digits"))
}

const ONE_TARGET: &str =
    "a condition has one of exists, revision, created, version, lease and value";

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        match parse(text) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => error,
        }
    }

    #[test]
    fn every_condition_and_operation_is_understood() {
        let parsed = parse(
            r#"{
                "note": "why",
                "if": [
                    {"key": "a", "exists": false}, {"key": "a", "revision": 3},
                    {"key": "a", "created": 3, "relation": "less"},
                    {"prefix": "p/", "version": 1, "relation": "not_equal"},
                    {"key": "a", "lease": "00000000000000ff"},
                    {"key": "a", "value": {"type": "bytes", "value": "AP8="}}
                ],
                "then": [
                    {"put": "a", "value": 5}, {"delete": "b"}, {"delete_prefix": "c/"},
                    {"get": "d"}, {"get_prefix": "e/", "limit": 3},
                    {"txn": {"then": [{"put": "f", "value": ["x"]}]}}
                ],
                "else": [{"get": "a"}]
            }"#,
        );
        let parsed = parsed.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(parsed.transaction.operations(), 8);
        assert_eq!(parsed.note.as_deref(), Some("why"));
        assert!(parsed.has_otherwise);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        for (text, word) in [
            ("{", "EOF"),
            (r#"{"then": []}"#, "nothing to do"),
            (r#"{"than": []}"#, "unknown field"),
            (
                r#"{"then": [{"put": "a"}]}"#,
                "\"then\" number 1: a put needs",
            ),
            (
                r#"{"then": [{"get": "a"}, {"get": ""}]}"#,
                "number 2: the key is empty",
            ),
            (r#"{"then": [{"delete_prefix": ""}]}"#, "empty"),
            (r#"{"then": [{"get": "a", "delete": "b"}]}"#, "one of put"),
            (r#"{"then": [{"get": "a", "value": 1}]}"#, "goes with"),
            (r#"{"then": [{"put": "a", "value": [1]}]}"#, "strings only"),
            (
                r#"{"if": [{"key": "a"}], "then": [{"get": "a"}]}"#,
                "\"if\" number 1: a condition has",
            ),
            (
                r#"{"if": [{"revision": 1}], "then": [{"get": "a"}]}"#,
                "\"key\" or \"prefix\"",
            ),
            (
                r#"{"if": [{"key": "a", "exists": true, "revision": 1}]}"#,
                "one of exists",
            ),
        ] {
            let error = error(text);
            assert!(error.contains(word), "{error}\n{text}");
        }
    }

    #[test]
    fn limits_are_told_before_anything_is_sent() {
        let many = vec![r#"{"get": "a"}"#; limits::TRANSACTION_OPERATIONS + 1].join(",");
        assert!(error(&format!(r#"{{"then": [{many}]}}"#)).contains("513 operations"));
        let mut deep = r#"{"get": "a"}"#.to_owned();
        for _ in 0..limits::TRANSACTION_DEPTH {
            deep = format!(r#"{{"txn": {{"then": [{deep}]}}}}"#);
        }
        assert!(error(&format!(r#"{{"then": [{deep}]}}"#)).contains("deep"));
    }
}
