//! TOML 1.0.

use std::collections::BTreeMap;

use ::toml::{Table, Value as Toml};
use holdfast_proto::Value;

use super::{
    Document, Format, FormatError, RenderError,
    tree::{self, Node, Tree, Written},
};

pub(super) fn read(text: &str) -> Result<Document, FormatError> {
    let node: Node = ::toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| {
            let above = text.as_bytes().get(..span.start).unwrap_or_default();
            1 + above.iter().filter(|&&byte| byte == b'\n').count()
        });
        FormatError::syntax(line, Format::Toml, error.message())
    })?;
    tree::flatten(node, Format::Toml)
}

pub(super) fn write(entries: &[(String, Value)]) -> Result<String, RenderError> {
    let top = table(&tree::nest(entries, Format::Toml)?);
    ::toml::to_string(&top).map_err(|error| {
        let key = entries.first().map_or("", |(key, _)| key);
        RenderError::unsayable(key, Format::Toml, error.to_string())
    })
}

fn table(names: &BTreeMap<String, Tree<'_>>) -> Table {
    let named = names.iter().map(|(name, tree)| {
        let value = match tree {
            Tree::Leaf(_, value) => written(value),
            Tree::Table(below) => Toml::Table(table(below)),
        };
        (name.clone(), value)
    });
    named.collect()
}

fn written(value: &Value) -> Toml {
    match tree::written(value, |json, text| {
        tree::is_compact(json, text) && has_no_null(json)
    }) {
        Written::Text(text) => text.into(),
        Written::Integer(number) => number.into(),
        Written::Float(number) => number.into(),
        Written::Boolean(flag) => flag.into(),
        Written::Texts(items) => items.to_vec().into(),
        Written::Native(json, _) => from_json(json),
        Written::Tagged(tag, text) => {
            Toml::Table(Table::from_iter([(tag.to_owned(), Toml::String(text))]))
        }
    }
}

fn has_no_null(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Null => false,
        serde_json::Value::Array(items) => items.iter().all(has_no_null),
        serde_json::Value::Object(names) => names.values().all(has_no_null),
        _ => true,
    }
}

/// Null was ruled out before.
fn from_json(json: serde_json::Value) -> Toml {
    match json {
        serde_json::Value::Null => Toml::Boolean(false),
        serde_json::Value::Bool(flag) => flag.into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => Toml::Array(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(names) => {
            let named = names.into_iter();
            Toml::Table(named.map(|(name, item)| (name, from_json(item))).collect())
        }
    }
}
