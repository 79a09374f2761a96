//! Fields as a tree: what serde reads.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::{ConfigError, layers::Chosen};
use crate::{Entry, Secret, mirror::OpenedSecrets};

pub(super) type Fields<'a> = BTreeMap<&'a str, Tree<'a>>;

/// A field: of fields, or a value.
pub(super) enum Tree<'a> {
    Branch(Fields<'a>),
    Leaf(Leaf<'a>),
}

/// A value.
#[derive(Clone, Copy)]
pub(super) enum Leaf<'a> {
    /// Of the store.
    Value(&'a Entry),
    /// A secret of the store, opened.
    Secret(&'a Entry, &'a Secret),
    /// Of the defaults, of an override, or of a JSON value.
    Json(&'a Json),
}

/// What was chosen, over the defaults and under an emergency override.
pub(super) fn build<'a>(
    defaults: Option<&'a Json>,
    chosen: &'a BTreeMap<String, Chosen>,
    secrets: &'a OpenedSecrets,
    over: Option<&'a Map<String, Json>>,
) -> Result<Fields<'a>, ConfigError> {
    let mut root = match defaults {
        Some(Json::Object(fields)) => of_json(fields),
        _ => Fields::new(),
    };
    // By name, so a key comes before those below it.
    for (field, Chosen { entry, .. }) in chosen {
        let leaf = match (entry.is_secret(), secrets.get(entry)) {
            (false, _) => Leaf::Value(entry),
            (true, Some(secret)) => Leaf::Secret(entry, secret),
            (true, None) => {
                return Err(ConfigError::Secret {
                    key: entry.key.clone(),
                    why: "the configuration was told to open none; say why it may with `reveal`"
                        .to_owned(),
                });
            }
        };
        insert(&mut root, field, leaf, entry)?;
    }
    if let Some(over) = over {
        lay_over(&mut root, over);
    }
    Ok(root)
}

/// Values take the place of what is there; groups of fields are gone into. A JSON value of the store is
/// replaced as a whole.
fn lay_over<'a>(fields: &mut Fields<'a>, over: &'a Map<String, Json>) {
    for (name, value) in over {
        let name = name.as_str();
        match (fields.get_mut(name), value) {
            (Some(Tree::Branch(below)), Json::Object(over)) => lay_over(below, over),
            (_, Json::Object(over)) => {
                fields.insert(name, Tree::Branch(of_json(over)));
            }
            (_, value) => {
                fields.insert(name, Tree::Leaf(Leaf::Json(value)));
            }
        }
    }
}

fn insert<'a>(
    fields: &mut Fields<'a>,
    field: &'a str,
    leaf: Leaf<'a>,
    entry: &Entry,
) -> Result<(), ConfigError> {
    let Some((part, rest)) = field.split_once('/') else {
        fields.insert(field, Tree::Leaf(leaf));
        return Ok(());
    };
    let below = fields
        .entry(part)
        .or_insert_with(|| Tree::Branch(Fields::new()));
    match below {
        Tree::Branch(fields) => insert(fields, rest, leaf, entry),
        Tree::Leaf(Leaf::Value(above) | Leaf::Secret(above, _)) => Err(ConfigError::Clash {
            key: above.key.clone(),
            below: entry.key.clone(),
        }),
        // A default gives way.
        Tree::Leaf(Leaf::Json(_)) => {
            let mut fields = Fields::new();
            insert(&mut fields, rest, leaf, entry)?;
            *below = Tree::Branch(fields);
            Ok(())
        }
    }
}

fn of_json(fields: &Map<String, Json>) -> Fields<'_> {
    let fields = fields.iter().map(|(name, value)| {
        let tree = match value {
            Json::Object(fields) => Tree::Branch(of_json(fields)),
            value => Tree::Leaf(Leaf::Json(value)),
        };
        (name.as_str(), tree)
    });
    fields.collect()
}
