//! Entries, in JSON and in tables.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_client::{Entry, Key, LeaseId, Value};
use serde_json::{Map, Value as Json, json};

use crate::{time, value};

/// `"key"`, and `"key_base64"` beside it where the key is not UTF-8.
pub(crate) fn key_fields(key: &Key) -> Map<String, Json> {
    let mut fields = Map::new();
    fields.insert("key".to_owned(), json!(key.to_string()));
    if key.as_str().is_none() {
        let exact = BASE64_STANDARD.encode(key.as_bytes());
        fields.insert("key_base64".to_owned(), json!(exact));
    }
    fields
}

/// An entry with whatever of it there is.
pub(crate) fn entry_json(entry: &Entry) -> Json {
    let mut fields = key_fields(&entry.key);
    if let Some(value) = &entry.value
        && let Json::Object(value) = value::to_json(value)
    {
        fields.extend(value);
    }
    fields.extend(version_fields(entry));
    Json::Object(fields)
}

/// What is known about a version.
pub(crate) fn version_fields(entry: &Entry) -> Map<String, Json> {
    let lease = entry.lease.map(|lease: LeaseId| lease.to_string());
    let fields = json!({
        "revision": entry.modified.get(),
        "created": entry.created.get(),
        "version": entry.version,
        "lease": lease,
        "author": entry.author,
        "at": time::rfc3339(entry.at),
        "note": entry.note,
    });
    match fields {
        Json::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A value or `null`.
pub(crate) fn optional_json(value: Option<&Value>) -> Json {
    value.map_or(Json::Null, value::to_json)
}

/// The type and the value, for a row.
pub(crate) fn type_and_value(entry: &Entry) -> [String; 2] {
    match &entry.value {
        Some(value) => [value.kind().to_string(), value::show(value)],
        None => [String::new(), String::new()],
    }
}

#[cfg(test)]
pub(crate) fn sample(key: &str, value: Value) -> Entry {
    use holdfast_client::{Revision, Timestamp};
    Entry {
        key: Key::try_from(key).unwrap(),
        value: Some(value),
        created: Revision::new(3).unwrap(),
        modified: Revision::new(7).unwrap(),
        version: 2,
        lease: LeaseId::new(255),
        author: "client/admin".to_owned(),
        note: "why".to_owned(),
        at: Timestamp::from_millis(1_700_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_s_json_has_the_documented_shape() {
        assert_eq!(
            entry_json(&sample("a/b", Value::Integer(30))).to_string(),
            r#"{"key":"a/b","type":"integer","value":30,"revision":7,"created":3,"version":2,"lease":"00000000000000ff","author":"client/admin","at":"2023-11-14T22:13:20.000Z","note":"why"}"#
        );
    }

    #[test]
    fn a_key_that_is_no_text_is_given_exactly_as_well() {
        let key = Key::new(vec![b'a', 0xff]).unwrap();
        let json = Json::Object(key_fields(&key)).to_string();
        assert_eq!(json, r#"{"key":"a\\xff","key_base64":"Yf8="}"#);
    }
}
