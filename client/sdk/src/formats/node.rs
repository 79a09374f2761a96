//! A file's nodes by way of serde, for YAML and TOML. What has no type here is refused while the
//! parser still knows the line.

use std::{collections::BTreeSet, fmt};

use holdfast_proto::Value;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor,
};

use super::tree::{Content, Node};

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        NodeSeed { in_list: false }.deserialize(deserializer)
    }
}

struct NodeSeed {
    /// Inside an array anything that JSON can say is taken.
    in_list: bool,
}

impl<'de> DeserializeSeed<'de> for NodeSeed {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let content = deserializer.deserialize_any(self)?;
        let line = None;
        Ok(Node { line, content })
    }
}

impl<'de> Visitor<'de> for NodeSeed {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Boolean(flag)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Integer(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Content, E> {
        i64::try_from(number)
            .map(|number| Content::Scalar(Value::Integer(number)))
            .map_err(|_| E::custom(too_large(number)))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Content, E> {
        Err(E::custom(too_large(number)))
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Content, E> {
        Err(E::custom(too_large(number)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Content, E> {
        if number.is_nan() {
            return Err(E::custom(
                "NaN has no type here; give a number or remove it",
            ));
        }
        if self.in_list && number.is_infinite() {
            return Err(E::custom(
                "an infinite number cannot stand in a list; remove it",
            ));
        }
        Ok(Content::Scalar(Value::Float(number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Text(text.to_owned())))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Text(text)))
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        if self.in_list {
            return Ok(Content::Null);
        }
        Err(E::custom(
            "null has no type here; give it a value or remove it",
        ))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element_seed(NodeSeed { in_list: true })? {
            nodes.push(node.content);
        }
        let texts = nodes.iter().map(|node| match node {
            Content::Scalar(Value::Text(text)) => Some(text.clone()),
            _ => None,
        });
        if let Some(texts) = texts.collect() {
            return Ok(Content::Texts(texts));
        }
        let items = nodes.into_iter().map(to_json).collect();
        Ok(Content::Json(serde_json::Value::Array(items).to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut seen = BTreeSet::new();
        let mut table = Vec::new();
        while let Some(name) = map.next_key_seed(NameSeed { seen: &mut seen })? {
            let in_list = self.in_list;
            let node = map.next_value_seed(NodeSeed { in_list })?;
            table.push((name, node));
        }
        Ok(Content::Table(table))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Content, A::Error> {
        Err(A::Error::custom(
            "a tag (!name) has no meaning here; remove it",
        ))
    }
}

fn too_large(number: impl fmt::Display) -> String {
    format!("{number} does not fit 64 bits; put it in quotes to keep it as text")
}

fn to_json(content: Content) -> serde_json::Value {
    match content {
        Content::Null => serde_json::Value::Null,
        Content::Scalar(Value::Boolean(flag)) => flag.into(),
        Content::Scalar(Value::Integer(number)) => number.into(),
        Content::Scalar(Value::Float(number)) => number.into(),
        Content::Scalar(Value::Text(text)) => text.into(),
        Content::Texts(items) => items.into(),
        Content::Table(names) => names
            .into_iter()
            .map(|(name, node)| (name, to_json(node.content)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        // Made right here, so it parses; scalars of other kinds have no reader.
        Content::Json(text) => serde_json::from_str(&text).unwrap_or_default(),
        Content::Scalar(_) => serde_json::Value::Null,
    }
}

/// A name: text, or a scalar that YAML takes for another type.
struct NameSeed<'a> {
    seen: &'a mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NameSeed<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        if name == TOML_DATE {
            return Err(E::custom(
                "a date has no type here; put it in quotes to keep it as text",
            ));
        }
        if !self.seen.insert(name.to_owned()) {
            return Err(E::custom(format!(
                "{name:?} is given twice; keep one of them"
            )));
        }
        Ok(name.to_owned())
    }

    fn visit_bool<E: Error>(self, name: bool) -> Result<String, E> {
        self.visit_str(&name.to_string())
    }

    fn visit_i64<E: Error>(self, name: i64) -> Result<String, E> {
        self.visit_str(&name.to_string())
    }

    fn visit_u64<E: Error>(self, name: u64) -> Result<String, E> {
        self.visit_str(&name.to_string())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<String, E> {
        Err(E::custom("a name cannot be a float; put it in quotes"))
    }

    fn visit_unit<E: Error>(self) -> Result<String, E> {
        Err(E::custom("a name cannot be null; put it in quotes"))
    }
}

/// How the toml crate hands a date to serde.
const TOML_DATE: &str = "$__toml_private_datetime";
