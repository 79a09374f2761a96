//! YAML: one document, aliases and merge keys resolved.

use std::collections::BTreeMap;

use holdfast_proto::Value;
use serde_yaml_ng::value::{Mapping, Value as Yaml};

use super::{
    Document, Format, FormatError, RenderError,
    tree::{self, Node, Tree, Written},
};

pub(super) fn read(text: &str) -> Result<Document, FormatError> {
    let node: Node = if text.contains(MERGE) {
        merged(text)
    } else {
        serde_yaml_ng::from_str(text)
    }
    .map_err(|error| {
        let line = error.location().map(|place| place.line());
        let detail = error.to_string();
        let detail = detail.split(" at line ").next().unwrap_or_default();
        FormatError::syntax(line, Format::Yaml, detail)
    })?;
    tree::flatten(node, Format::Yaml)
}

/// Merge keys are only known once the whole file is; errors of single values lose their line.
fn merged(text: &str) -> Result<Node, serde_yaml_ng::Error> {
    let mut yaml: Yaml = serde_yaml_ng::from_str(text)?;
    yaml.apply_merge()?;
    serde_yaml_ng::from_value(yaml)
}

pub(super) fn write(entries: &[(String, Value)]) -> Result<String, RenderError> {
    if let Some((key, _)) = entries
        .iter()
        .find(|(key, _)| key.split('/').any(|part| part == MERGE))
    {
        return Err(RenderError::unsayable(key, Format::Yaml, "the name <<"));
    }
    let top = mapping(&tree::nest(entries, Format::Yaml)?);
    serde_yaml_ng::to_string(&Yaml::Mapping(top)).map_err(|error| {
        let key = entries.first().map_or("", |(key, _)| key);
        RenderError::unsayable(key, Format::Yaml, error.to_string())
    })
}

fn mapping(table: &BTreeMap<String, Tree<'_>>) -> Mapping {
    let named = table.iter().map(|(name, tree)| {
        let value = match tree {
            Tree::Leaf(_, value) => written(value),
            Tree::Table(below) => Yaml::Mapping(mapping(below)),
        };
        (Yaml::String(name.clone()), value)
    });
    named.collect()
}

fn written(value: &Value) -> Yaml {
    let native = |json: &_, text: &str| tree::is_compact(json, text) && !merges(json);
    match tree::written(value, native) {
        Written::Text(text) => text.into(),
        Written::Integer(number) => number.into(),
        Written::Float(number) => number.into(),
        Written::Boolean(flag) => flag.into(),
        Written::Texts(items) => items.to_vec().into(),
        Written::Native(json, _) => from_json(json),
        Written::Tagged(tag, text) => {
            Yaml::Mapping(Mapping::from_iter([(tag.into(), text.into())]))
        }
    }
}

/// Whether a document names what YAML takes for a merge.
fn merges(json: &serde_json::Value) -> bool {
    match json {
        serde_json::Value::Array(items) => items.iter().any(merges),
        serde_json::Value::Object(names) => names
            .iter()
            .any(|(name, item)| name == MERGE || merges(item)),
        _ => false,
    }
}

fn from_json(json: serde_json::Value) -> Yaml {
    match json {
        serde_json::Value::Null => Yaml::Null,
        serde_json::Value::Bool(flag) => flag.into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => {
            Yaml::Sequence(items.into_iter().map(from_json).collect())
        }
        serde_json::Value::Object(names) => {
            let named = names.into_iter();
            Yaml::Mapping(
                named
                    .map(|(name, item)| (name.into(), from_json(item)))
                    .collect(),
            )
        }
    }
}

/// The name that takes another table's names in.
const MERGE: &str = "<<";
