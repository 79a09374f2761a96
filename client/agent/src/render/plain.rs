//! A value as text, for programs that know nothing of its type.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_client::Value;

/// Numbers and booleans as everyone writes them; a list one item a line; JSON as it is; bytes in base64.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Json(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::List(items) => items.join("\n"),
        Value::Bytes(bytes) => BASE64_STANDARD.encode(bytes),
        // Nobody tells a sealed one.
        Value::Sealed(_) => String::new(),
    }
}
