//! What JSON, YAML and TOML share: nested names, and values that they have no type for.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_proto::Value;

use super::{Document, Format, FormatError, Parameter, Problem, RenderError, name};

/// A value of a file, as its reader found it.
pub(super) struct Node {
    /// Where, counted from 1, where the reader knows.
    pub(super) line: Option<usize>,
    pub(super) content: Content,
}

pub(super) enum Content {
    Null,
    Scalar(Value),
    /// An array of strings, and of nothing else.
    Texts(Vec<String>),
    /// Any other array, as one JSON document.
    Json(String),
    Table(Vec<(String, Node)>),
}

/// Names below names, as a file is written from.
pub(super) enum Tree<'a> {
    Leaf(&'a str, &'a Value),
    Table(BTreeMap<String, Tree<'a>>),
}

/// A value, as one of these formats says it.
pub(super) enum Written<'a> {
    Text(&'a str),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Texts(&'a [String]),
    /// A JSON document that reads back as it is.
    Native(serde_json::Value, &'a str),
    /// A table of one name.
    Tagged(&'static str, String),
}

/// Tables of one such name say what the format has no type for.
const TAGS: [&str; 3] = ["$bytes", "$json", "$float"];

/// Flattens the top of a file.
pub(super) fn flatten(top: Node, format: Format) -> Result<Document, FormatError> {
    let Content::Table(names) = top.content else {
        let detail = "the top must be a table of names and values";
        return Err(FormatError::syntax(top.line, format, detail));
    };
    let mut entries = Vec::new();
    flatten_table(names, "", format, &mut entries)?;
    Ok(Document {
        entries,
        deletions: Vec::new(),
    })
}

fn flatten_table(
    names: Vec<(String, Node)>,
    above: &str,
    format: Format,
    entries: &mut Vec<Parameter>,
) -> Result<(), FormatError> {
    for (name, node) in names {
        let key = format!("{above}{}", name::encode(unescape_tag(&name)));
        let line = node.line;
        let value = match node.content {
            Content::Table(names) if names.is_empty() => Value::Json("{}".to_owned()),
            Content::Table(names) => match tagged(&names) {
                Some((tag, text)) => untag(tag, text).ok_or_else(|| {
                    let detail = format!("{key}: {tag} holds none; correct or remove it");
                    FormatError::syntax(line, format, detail)
                })?,
                None => {
                    flatten_table(names, &format!("{key}/"), format, entries)?;
                    continue;
                }
            },
            Content::Scalar(value) => value,
            Content::Texts(items) => Value::List(items),
            Content::Json(text) => Value::Json(text),
            Content::Null => {
                return Err(FormatError::maybe_at(line, no_null(key)));
            }
        };
        entries.push(Parameter { key, value, line });
    }
    Ok(())
}

pub(super) fn no_null(name: String) -> Problem {
    Problem::NoType {
        name,
        found: "null".to_owned(),
        advice: "give it a value or remove it",
    }
}

/// The tag and its text, if a table is one.
fn tagged(names: &[(String, Node)]) -> Option<(&str, Option<&str>)> {
    let [(name, node)] = names else { return None };
    let text = match &node.content {
        Content::Scalar(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    TAGS.contains(&name.as_str()).then_some((name, text))
}

fn untag(tag: &str, text: Option<&str>) -> Option<Value> {
    let text = text?;
    match (tag, text) {
        ("$bytes", _) => Some(Value::Bytes(BASE64_STANDARD.decode(text).ok()?.into())),
        ("$json", _) => serde_json::from_str::<serde_json::Value>(text)
            .ok()
            .map(|_| Value::Json(text.to_owned())),
        ("$float", "inf") => Some(Value::Float(f64::INFINITY)),
        ("$float", "-inf") => Some(Value::Float(f64::NEG_INFINITY)),
        _ => None,
    }
}

/// A name that is itself a tag carries one more `$`.
fn escape_tag(name: String) -> String {
    if is_tag_like(&name) {
        format!("${name}")
    } else {
        name
    }
}

fn unescape_tag(name: &str) -> &str {
    match name.strip_prefix('$') {
        Some(rest) if is_tag_like(rest) => rest,
        _ => name,
    }
}

fn is_tag_like(name: &str) -> bool {
    let bare = name.trim_start_matches('$');
    name.starts_with('$') && TAGS.iter().any(|tag| &tag[1..] == bare)
}

/// Nests parameters by the parts of their keys.
pub(super) fn nest(
    entries: &[(String, Value)],
    format: Format,
) -> Result<BTreeMap<String, Tree<'_>>, RenderError> {
    let mut top = BTreeMap::new();
    for (key, value) in entries {
        let mut names = names(key)?;
        let last = names.pop().map(escape_tag).unwrap_or_default();
        let mut table = &mut top;
        for name in names {
            let below = table
                .entry(escape_tag(name))
                .or_insert_with(|| Tree::Table(BTreeMap::new()));
            table = match below {
                Tree::Table(table) => table,
                Tree::Leaf(above, _) => return Err(both(above, key, format)),
            };
        }
        if let Some(Tree::Table(below)) = table.insert(last, Tree::Leaf(key, value)) {
            return Err(both(key, first_leaf(&below).unwrap_or(key), format));
        }
    }
    Ok(top)
}

/// The names that make a key.
pub(super) fn names(key: &str) -> Result<Vec<String>, RenderError> {
    key.split('/')
        .map(name::decode)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| RenderError::ForeignKey {
            key: key.to_owned(),
        })
}

fn both(key: &str, below: &str, format: Format) -> RenderError {
    RenderError::BothValueAndTable {
        key: key.to_owned(),
        below: below.to_owned(),
        format,
    }
}

fn first_leaf<'a>(table: &BTreeMap<String, Tree<'a>>) -> Option<&'a str> {
    table.values().find_map(|tree| match tree {
        Tree::Leaf(key, _) => Some(*key),
        Tree::Table(below) => first_leaf(below),
    })
}

/// How a value is said. `native` tells whether a JSON document may stand as it is.
pub(super) fn written(value: &Value, native: fn(&serde_json::Value, &str) -> bool) -> Written<'_> {
    match value {
        Value::Text(text) => Written::Text(text),
        Value::Integer(number) => Written::Integer(*number),
        Value::Float(number) => Written::Float(*number),
        Value::Boolean(flag) => Written::Boolean(*flag),
        Value::List(items) => Written::Texts(items),
        Value::Sealed(_) => Written::Tagged("$secret", String::new()),
        Value::Bytes(bytes) => Written::Tagged("$bytes", BASE64_STANDARD.encode(bytes)),
        Value::Json(text) => match serde_json::from_str(text) {
            Ok(json) if reads_as_json(&json) && native(&json, text) => Written::Native(json, text),
            _ => Written::Tagged("$json", text.clone()),
        },
    }
}

/// Whether a reader takes this document for one: `{}` or an array that is no list of text.
fn reads_as_json(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Object(names) => names.is_empty(),
        serde_json::Value::Array(items) => !items.iter().all(serde_json::Value::is_string),
        _ => false,
    }
}

/// Whether a document survives a format that keeps types but no spelling: its text is its shortest
/// form, and each number is one that the format has.
pub(super) fn is_compact(json: &serde_json::Value, text: &str) -> bool {
    let compact = json.to_string();
    compact == text && has_plain_numbers(json)
}

fn has_plain_numbers(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Number(number) => number.is_i64() || number.is_f64(),
        serde_json::Value::Array(items) => items.iter().all(has_plain_numbers),
        serde_json::Value::Object(names) => names.values().all(has_plain_numbers),
        _ => true,
    }
}
