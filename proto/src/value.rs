//! Typed plain values.
//!
//! A [`Value`] is what a user stored. Its `Debug` and that of its wire form show the kind and the
//! size, never the content: a value may be what somebody pasted by mistake.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use crate::v1;

/// A typed plain value.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// UTF-8 text.
    Text(String),
    /// A signed integer.
    Integer(i64),
    /// A float; never NaN when it came through [`Value::try_from`].
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// One JSON document, kept as it was written.
    Json(String),
    /// Bytes.
    Bytes(Bytes),
    /// A list of text.
    List(Vec<String>),
    /// A secret: the sealed payload as the store keeps it; to clients it is empty.
    Sealed(Bytes),
}

/// The kinds a [`Value`] can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ValueKind {
    Text,
    Integer,
    Float,
    Boolean,
    Json,
    Bytes,
    List,
    Sealed,
}

/// Why a wire message is not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// No kind is set: the message is empty, or of a newer version than this program.
    #[error("the value has no kind known here; set one, or update this program")]
    NoKind,
    /// NaN has no order and no JSON form.
    #[error("a float must be a number; NaN is not stored")]
    NotANumber,
}

impl Value {
    /// Its kind.
    pub fn kind(&self) -> ValueKind {
        match self {
            Self::Text(_) => ValueKind::Text,
            Self::Integer(_) => ValueKind::Integer,
            Self::Float(_) => ValueKind::Float,
            Self::Boolean(_) => ValueKind::Boolean,
            Self::Json(_) => ValueKind::Json,
            Self::Bytes(_) => ValueKind::Bytes,
            Self::List(_) => ValueKind::List,
            Self::Sealed(_) => ValueKind::Sealed,
        }
    }

    /// Its size as limits count it, bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Integer(_) | Self::Float(_) => 8,
            Self::Boolean(_) => 1,
            Self::Bytes(bytes) | Self::Sealed(bytes) => bytes.len(),
            Self::List(items) => items.iter().map(|item| item.len() + 1).sum(),
        }
    }

    /// Its canonical bytes: what `kvctl -o raw` prints and foreign clients read.
    /// Text, JSON and bytes as they are; numbers and booleans in their shortest decimal or word;
    /// a list one item a line. Of a secret there are none.
    pub fn to_canonical(&self) -> Bytes {
        match self {
            Self::Text(text) | Self::Json(text) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Integer(number) => number.to_string().into(),
            Self::Float(number) => number.to_string().into(),
            Self::Boolean(flag) => flag.to_string().into(),
            Self::Bytes(bytes) => bytes.clone(),
            Self::List(items) => items.join("\n").into(),
            Self::Sealed(_) => Bytes::new(),
        }
    }
}

impl ValueKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Integer,
        Self::Float,
        Self::Boolean,
        Self::Json,
        Self::Bytes,
        Self::List,
        Self::Sealed,
    ];

    /// Its name on the command line and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Json => "json",
            Self::Bytes => "bytes",
            Self::List => "list",
            Self::Sealed => "secret",
        }
    }
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why text is not the name of a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a type; use text, integer, float, boolean, json, bytes or list")]
pub struct ValueKindError(String);

impl FromStr for ValueKind {
    type Err = ValueKindError;

    fn from_str(name: &str) -> Result<Self, ValueKindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| ValueKindError(name.to_owned()))
    }
}

impl TryFrom<v1::Value> for Value {
    type Error = ValueError;

    fn try_from(wire: v1::Value) -> Result<Self, ValueError> {
        use v1::value::Kind;
        Ok(match wire.kind.ok_or(ValueError::NoKind)? {
            Kind::Text(text) => Self::Text(text),
            Kind::Integer(number) => Self::Integer(number),
            Kind::Float(number) if number.is_nan() => return Err(ValueError::NotANumber),
            Kind::Float(number) => Self::Float(number),
            Kind::Boolean(flag) => Self::Boolean(flag),
            Kind::Json(text) => Self::Json(text),
            Kind::Bytes(bytes) => Self::Bytes(bytes),
            Kind::List(list) => Self::List(list.items),
            Kind::Sealed(sealed) => Self::Sealed(sealed.payload),
        })
    }
}

impl From<Value> for v1::Value {
    fn from(value: Value) -> Self {
        use v1::value::Kind;
        Self {
            kind: Some(match value {
                Value::Text(text) => Kind::Text(text),
                Value::Integer(number) => Kind::Integer(number),
                Value::Float(number) => Kind::Float(number),
                Value::Boolean(flag) => Kind::Boolean(flag),
                Value::Json(text) => Kind::Json(text),
                Value::Bytes(bytes) => Kind::Bytes(bytes),
                Value::List(items) => Kind::List(v1::TextList { items }),
                Value::Sealed(payload) => Kind::Sealed(v1::Sealed { payload }),
            }),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Boolean(flag)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({}, {} bytes)", self.kind(), self.size())
    }
}

impl fmt::Debug for v1::Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Value({} bytes encoded)",
            prost::Message::encoded_len(self)
        )
    }
}

impl fmt::Debug for v1::value::Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kind(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> [Value; 8] {
        [
            Value::Text("hunter2".into()),
            Value::Integer(-3),
            Value::Float(0.75),
            Value::Boolean(true),
            Value::Json("{\"hunter2\":1}".into()),
            Value::Bytes(Bytes::from_static(b"hunter2")),
            Value::List(vec!["hunter2".into(), "b".into()]),
            Value::Sealed(Bytes::from_static(b"hunter2")),
        ]
    }

    #[test]
    fn every_kind_comes_back_from_the_wire() {
        for value in one_of_each() {
            assert_eq!(Value::try_from(v1::Value::from(value.clone())), Ok(value));
        }
    }

    #[test]
    fn debug_never_shows_what_a_value_holds() {
        for value in one_of_each() {
            let wire = v1::Value::from(value.clone());
            let shown = format!("{value:?} {wire:?} {:?}", wire.kind);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn nothing_and_nan_are_refused() {
        assert_eq!(
            Value::try_from(v1::Value { kind: None }),
            Err(ValueError::NoKind)
        );
        let nan = v1::Value {
            kind: Some(v1::value::Kind::Float(f64::NAN)),
        };
        assert_eq!(Value::try_from(nan), Err(ValueError::NotANumber));
    }

    #[test]
    fn kinds_are_named_as_on_the_command_line() {
        for kind in ValueKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("int".parse::<ValueKind>().is_err());
    }
}
