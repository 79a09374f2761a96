//! Every format against real files, wrong files and generated parameters.

mod errors;
mod import;
mod registry;
mod round_trip;
mod types;

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_proto::Value;

use super::{Document, Format, read};

const ACCESS_MANAGER: &[u8] = include_bytes!("../../../tests/data/AccessManager.reg");
const EXPECTED: &str = include_str!("../../../tests/data/AccessManager.parameters.json");
const SERVICES: &[u8] = include_bytes!("../../../tests/data/services.yaml");

/// What a file says, by key.
fn parameters(document: Document) -> BTreeMap<String, Value> {
    let entries = document.entries.into_iter();
    entries
        .map(|parameter| (parameter.key, parameter.value))
        .collect()
}

/// Reads text that is right.
fn said(text: &str, format: Format) -> BTreeMap<String, Value> {
    match read(text.as_bytes(), format) {
        Ok(document) => parameters(document),
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// The error of text that is wrong.
fn refused(text: &str, format: Format) -> String {
    match read(text.as_bytes(), format) {
        Ok(document) => panic!("was taken as {:?}\n{text}", document.entries),
        Err(error) => error.to_string(),
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|&item| item.to_owned()).collect())
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(Bytes::copy_from_slice(bytes))
}

fn json(text: &str) -> Value {
    Value::Json(text.to_owned())
}

/// Compares by content: the `Debug` of a value hides it.
#[track_caller]
fn assert_said<const N: usize>(found: BTreeMap<String, Value>, expected: [(&str, Value); N]) {
    let show = |value: &Value| format!("{} {:?}", value.kind(), value.to_canonical());
    let found: Vec<_> = found
        .iter()
        .map(|(key, value)| (key.clone(), show(value)))
        .collect();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(key, value)| ((*key).to_owned(), show(value)))
        .collect();
    expected.sort();
    assert_eq!(found, expected);
}
