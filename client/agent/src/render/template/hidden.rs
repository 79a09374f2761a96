//! A secret in a template: it is told where it is printed, and nowhere else.

use std::{fmt, sync::Arc};

use minijinja::{
    Error, ErrorKind, Value,
    value::{Object, ObjectRepr},
};
use zeroize::Zeroizing;

/// A secret, or what was made of one; or the veil that stands for it.
pub(super) struct Hidden {
    bytes: Zeroizing<Vec<u8>>,
    is_veil: bool,
}

impl Hidden {
    pub(super) fn secret(bytes: Vec<u8>) -> Value {
        Value::from_object(Self {
            bytes: Zeroizing::new(bytes),
            is_veil: false,
        })
    }

    pub(super) fn veil(text: String) -> Value {
        Value::from_object(Self {
            bytes: Zeroizing::new(text.into_bytes()),
            is_veil: true,
        })
    }

    pub(super) fn is_veil(value: &Value) -> bool {
        let hidden = value.downcast_object_ref::<Self>();
        hidden.is_some_and(|hidden| hidden.is_veil)
    }
}

/// Makes text of text: of a secret, a secret; of a veil, the same veil.
pub(super) fn map(
    value: &Value,
    make: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error>,
) -> Result<Value, Error> {
    if let Some(hidden) = value.downcast_object_ref::<Hidden>() {
        return match hidden.is_veil {
            true => Ok(value.clone()),
            false => make(&hidden.bytes).map(Hidden::secret),
        };
    }
    let made = match value.as_bytes() {
        Some(bytes) => make(bytes)?,
        None => make(value.to_string().as_bytes())?,
    };
    String::from_utf8(made)
        .map(Value::from)
        .or_else(|error| Ok(Value::from_bytes(error.into_bytes())))
}

/// The text of a value, to read something else from it.
pub(super) fn read<T>(
    value: &Value,
    read: impl FnOnce(&str) -> Result<T, Error>,
) -> Result<T, Error> {
    match value.downcast_object_ref::<Hidden>() {
        Some(hidden) => read(text(&hidden.bytes)?),
        None => read(&value.to_string()),
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| wrong("it is no text; base64_encode makes some of it"))
}

pub(super) fn wrong(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

impl Object for Hidden {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    /// What is within a veil is veiled, too.
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        self.is_veil
            .then(|| Value::from_dyn_object(Arc::clone(self)))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.bytes).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}
