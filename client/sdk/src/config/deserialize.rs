//! Serde over the tree of fields. Errors name the field and what was found there, never its value.

mod parts;

use std::{borrow::Cow, fmt, str::FromStr};

use holdfast_proto::{Value, ValueKind};
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer,
    Unexpected, VariantAccess, Visitor,
    value::{SeqDeserializer, StrDeserializer},
};
use serde_json::Value as Json;

use self::parts::{Items, JsonMap, Map, Variant};
use super::{
    error::FieldError,
    tree::{Fields, Leaf, Tree},
};
use crate::secret::SECRET;

/// Reads a whole configuration.
pub(super) fn read<T: DeserializeOwned>(fields: &Fields<'_>) -> Result<T, FieldError> {
    T::deserialize(Reader {
        node: Node::Branch(fields),
        in_secret: false,
    })
}

#[derive(Clone, Copy)]
enum Node<'t> {
    Branch(&'t Fields<'t>),
    Leaf(Leaf<'t>),
}

#[derive(Clone, Copy)]
struct Reader<'t> {
    node: Node<'t>,
    /// What is read goes into a [`Secret`].
    in_secret: bool,
}

/// A leaf, as far as it is plain.
enum Plain<'t> {
    Text(Cow<'t, str>),
    Bytes(&'t [u8]),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(&'t [String]),
    Json(Cow<'t, Json>),
}

impl<'t> Reader<'t> {
    fn of(tree: &'t Tree<'t>) -> Self {
        let node = match tree {
            Tree::Branch(fields) => Node::Branch(fields),
            Tree::Leaf(leaf) => Node::Leaf(*leaf),
        };
        Self {
            node,
            in_secret: false,
        }
    }

    fn of_json(json: &'t Json, in_secret: bool) -> Self {
        Self {
            node: Node::Leaf(Leaf::Json(json)),
            in_secret,
        }
    }

    /// What is here, in words.
    fn found(&self) -> String {
        match self.node {
            Node::Branch(_) => "fields".to_owned(),
            Node::Leaf(Leaf::Secret(..)) => "a secret".to_owned(),
            Node::Leaf(Leaf::Value(entry)) => match &entry.value {
                Some(value) => value.kind().to_string(),
                None => "nothing".to_owned(),
            },
            Node::Leaf(Leaf::Json(json)) => kind_of(json).to_owned(),
        }
    }

    fn mismatch(&self, expected: &dyn Expected) -> FieldError {
        FieldError::new(format!("expected {expected}, found {}", self.found()))
    }

    fn plain(&self) -> Result<Option<Plain<'t>>, FieldError> {
        let text_or_bytes = |bytes: &'t [u8]| match std::str::from_utf8(bytes) {
            Ok(text) => Plain::Text(Cow::Borrowed(text)),
            Err(_) => Plain::Bytes(bytes),
        };
        let plain = match self.node {
            Node::Branch(_) => return Ok(None),
            Node::Leaf(Leaf::Secret(_, secret)) if self.in_secret => text_or_bytes(secret.expose()),
            Node::Leaf(Leaf::Secret(..)) => {
                return Err(FieldError::new(
                    "it is a secret, and the field is none; make its type a `Secret`",
                ));
            }
            Node::Leaf(Leaf::Json(json)) => Plain::Json(Cow::Borrowed(json)),
            Node::Leaf(Leaf::Value(entry)) => match entry.value.as_ref() {
                None | Some(Value::Sealed(_)) => return Ok(None),
                Some(Value::Text(text)) => Plain::Text(Cow::Borrowed(text)),
                Some(Value::Bytes(bytes)) => text_or_bytes(bytes),
                Some(Value::Integer(number)) => Plain::Integer(*number),
                Some(Value::Float(number)) => Plain::Float(*number),
                Some(Value::Boolean(flag)) => Plain::Boolean(*flag),
                Some(Value::List(items)) => Plain::List(items),
                Some(Value::Json(document)) => {
                    let parsed = serde_json::from_str(document).map_err(|error| {
                        let (line, column) = (error.line(), error.column());
                        FieldError::new(format!("it is no JSON (line {line}, column {column})"))
                    })?;
                    Plain::Json(Cow::Owned(parsed))
                }
            },
        };
        Ok(Some(plain))
    }

    /// A number or a flag: as one, or as text that says one.
    fn parsed<'de, T, V>(self, visitor: V) -> Result<V::Value, FieldError>
    where
        T: FromStr + IntoDeserializer<'de, FieldError>,
        V: Visitor<'de>,
    {
        match self.plain()? {
            Some(Plain::Text(text)) => match text.trim().parse::<T>() {
                // What its type is told, it decides.
                Ok(value) => value.into_deserializer().deserialize_any(visitor),
                Err(_) => Err(self.mismatch(&visitor)),
            },
            _ => self.deserialize_any(visitor),
        }
    }
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => ValueKind::Boolean.as_str(),
        Json::Number(number) if number.is_f64() => ValueKind::Float.as_str(),
        Json::Number(_) => ValueKind::Integer.as_str(),
        Json::String(_) => ValueKind::Text.as_str(),
        Json::Array(_) => ValueKind::List.as_str(),
        Json::Object(_) => "fields",
    }
}

macro_rules! parsed {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
            self.parsed::<$type, V>(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let Some(plain) = self.plain()? else {
            return match self.node {
                Node::Branch(fields) => visitor.visit_map(Map::new(fields)),
                Node::Leaf(_) => Err(self.mismatch(&visitor)),
            };
        };
        match plain {
            Plain::Text(text) => visitor.visit_str(&text),
            Plain::Bytes(bytes) => visitor.visit_bytes(bytes),
            Plain::Integer(number) => visitor.visit_i64(number),
            Plain::Float(number) => visitor.visit_f64(number),
            Plain::Boolean(flag) => visitor.visit_bool(flag),
            Plain::List(items) => {
                let items = items.iter().map(String::as_str);
                visitor.visit_seq(SeqDeserializer::new(items))
            }
            Plain::Json(json) => match &*json {
                Json::Null => visitor.visit_unit(),
                Json::Bool(flag) => visitor.visit_bool(*flag),
                Json::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                    (Some(number), ..) => visitor.visit_u64(number),
                    (_, Some(number), _) => visitor.visit_i64(number),
                    (.., Some(number)) => visitor.visit_f64(number),
                    _ => Err(self.mismatch(&visitor)),
                },
                Json::String(text) => visitor.visit_str(text),
                Json::Array(items) => visitor.visit_seq(Items::new(items, self.in_secret)),
                Json::Object(fields) => visitor.visit_map(JsonMap::new(fields, self.in_secret)),
            },
        }
        .map_err(|error: FieldError| self.say_what_was_found(error))
    }

    parsed! {
        deserialize_bool: bool,
        deserialize_i8: i8,
        deserialize_i16: i16,
        deserialize_i32: i32,
        deserialize_i64: i64,
        deserialize_i128: i128,
        deserialize_u8: u8,
        deserialize_u16: u16,
        deserialize_u32: u32,
        deserialize_u64: u64,
        deserialize_u128: u128,
        deserialize_f32: f32,
        deserialize_f64: f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.node {
            Node::Leaf(Leaf::Json(Json::Null)) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.plain()? {
            Some(Plain::Text(text)) => visitor.visit_bytes(text.as_bytes()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        // The bytes of a secret, and those of a plain value in its place.
        let bytes = |bytes: &[u8], visitor: V| {
            visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied()))
        };
        match self.plain()? {
            Some(Plain::Text(text)) if self.in_secret => bytes(text.as_bytes(), visitor),
            Some(Plain::Bytes(all)) => bytes(all, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        self.in_secret |= name == SECRET;
        let read = visitor.visit_newtype_struct(self);
        read.map_err(|error| match self.in_secret {
            true => error.of_secret(),
            false => error,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let unknown = |found: &str| {
            (!variants.is_empty() && !variants.contains(&found)).then(|| {
                let known = variants.join(", ");
                FieldError::new(format!("it is none of the known words ({known})"))
            })
        };
        if let Node::Branch(fields) = self.node {
            let (1, Some((name, tree))) = (fields.len(), fields.iter().next()) else {
                return Err(self.mismatch(&visitor));
            };
            let content = Reader::of(tree);
            return match unknown(name) {
                Some(error) => Err(error),
                None => visitor.visit_enum(Variant { name, content }),
            };
        }
        match self.plain()? {
            Some(Plain::Text(text)) => match unknown(&text) {
                Some(error) => Err(error),
                None => visitor.visit_enum(StrDeserializer::new(&text)),
            },
            Some(Plain::Json(json)) => match &*json {
                Json::String(text) => match unknown(text) {
                    Some(error) => Err(error),
                    None => visitor.visit_enum(StrDeserializer::new(text)),
                },
                Json::Object(fields) if fields.len() == 1 => {
                    let Some((name, content)) = fields.iter().next() else {
                        return Err(self.mismatch(&visitor));
                    };
                    match unknown(name) {
                        Some(error) => Err(error),
                        None => visitor.visit_enum(Variant {
                            name,
                            content: Reader::of_json(content, self.in_secret),
                        }),
                    }
                }
                _ => Err(self.mismatch(&visitor)),
            },
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        char str string unit unit_struct tuple tuple_struct map struct identifier
    }
}

impl Reader<'_> {
    /// Serde says what it expected; what was there is for the reader to add.
    fn say_what_was_found(&self, error: FieldError) -> FieldError {
        error.with_found(|| self.found())
    }
}

impl<'de> VariantAccess<'de> for Reader<'_> {
    type Error = FieldError;

    fn unit_variant(self) -> Result<(), FieldError> {
        de::IgnoredAny::deserialize(self).map(drop)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, FieldError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        self.deserialize_any(visitor)
    }
}

/// Serde's own errors quote what they found: these do not.
impl de::Error for FieldError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::foreign(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expecting(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expecting(expected)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "it is none of the known words ({})",
            expected.join(", ")
        ))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "there is no field {field}; known are {}",
            expected.join(", ")
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("it is missing, and has no default").below(field)
    }
}
