//! A secret in the open: in memory for as long as somebody holds it, and not longer.

use std::{fmt, marker::PhantomData, str::FromStr};

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Visitor};
use zeroize::{Zeroize, Zeroizing};

/// The plaintext of a secret, or what was read from one. Wiped when dropped; never printed, copied
/// or serialized by accident: only [`Secret::expose`] shows it.
///
/// ```
/// use holdfast_client::Secret;
///
/// let password = Secret::from("hunter2".to_owned().into_bytes());
/// assert_eq!(format!("{password:?}"), "Secret(..)");
/// assert_eq!(password.text().unwrap(), "hunter2");
/// ```
pub struct Secret<T: Zeroize = Vec<u8>>(Box<T>);

/// Why a secret is not what it was read as. Says nothing of what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Its bytes are no UTF-8.
    #[error("the secret is no UTF-8 text; take its bytes, or put it again as text")]
    NotText,
    /// It is no JSON, or of another shape.
    #[error(
        "the secret is no JSON of the shape that is wanted (line {line}, column {column}); put it \
         again in that shape"
    )]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Its text does not parse.
    #[error("the secret's text is not of the type that is wanted; put it again as one that is")]
    NotParsed,
}

impl<T: Zeroize> Secret<T> {
    /// Takes a value into custody.
    pub fn new(value: T) -> Self {
        Self(Box::new(value))
    }

    /// The value. Do not keep copies: they are not wiped.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret {
    /// Its bytes as text.
    pub fn text(&self) -> Result<&str, SecretError> {
        std::str::from_utf8(&self.0).map_err(|_| SecretError::NotText)
    }

    /// Its text as a value of a type that parses from text, such as a number. White space around
    /// it does not count.
    pub fn parse<T: FromStr + Zeroize>(&self) -> Result<Secret<T>, SecretError> {
        // The parser's own error may quote what it read.
        let parsed = self.text()?.trim().parse();
        parsed.map(Secret::new).map_err(|_| SecretError::NotParsed)
    }

    /// Its JSON as a value. Strings with escapes pass through a buffer of the parser, which is not
    /// wiped.
    pub fn json<T: DeserializeOwned + Zeroize>(&self) -> Result<Secret<T>, SecretError> {
        serde_json::from_slice(&self.0)
            .map(Secret::new)
            // The parser's own error may quote what it read.
            .map_err(|error| SecretError::NotJson {
                line: error.line(),
                column: error.column(),
            })
    }

    /// As bytes for the wire, which are wiped when the last reference to them is gone.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(Owner(self))
    }
}

struct Owner(Secret);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self::new(std::mem::take(&mut *bytes))
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Out of a configuration or any other format; what its own type is read from.
impl<'de, T> Deserialize<'de> for Secret<T>
where
    T: Deserialize<'de> + Zeroize,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taker<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Zeroize> Visitor<'de> for Taker<T> {
            type Value = Secret<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Secret<T>, D::Error> {
                T::deserialize(deserializer).map(Secret::new)
            }
        }

        deserializer.deserialize_newtype_struct(SECRET, Taker(PhantomData))
    }
}

/// The name by which a secret asks for what may be one.
pub(crate) const SECRET: &str = "$holdfast::Secret";

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn a_secret_is_read_as_bytes_text_number_and_json() {
        assert_eq!(secret("ab").expose(), b"ab");
        assert_eq!(secret("ab").text(), Ok("ab"));
        assert_eq!(*secret(" 4711\n").parse::<u64>().unwrap().expose(), 4711);
        let list = secret(r#"["a","b"]"#).json::<Vec<String>>().unwrap();
        assert_eq!(list.expose(), &["a", "b"]);
    }

    #[test]
    fn nothing_that_is_printed_of_a_secret_says_what_it_is() {
        let secret = secret(r#"{"hunter2": "hunter2"}"#);
        let said = [
            format!("{secret:?}"),
            format!("{:?}", secret.parse::<u64>().unwrap_err()),
            format!("{}", secret.json::<Vec<u64>>().unwrap_err()),
            format!("{}", secret.json::<u64>().unwrap_err()),
            format!("{:?}", Secret::from(vec![0xff]).text().unwrap_err()),
        ];
        for said in said {
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_secret_is_wiped_when_it_is_dropped_and_with_the_last_of_its_bytes() {
        struct Noted(Arc<AtomicBool>);
        impl Zeroize for Noted {
            fn zeroize(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let wiped = Arc::new(AtomicBool::new(false));
        let secret = Secret::new(Noted(Arc::clone(&wiped)));
        assert!(!wiped.load(Ordering::Relaxed));
        drop(secret);
        assert!(wiped.load(Ordering::Relaxed));
        // What goes to the wire is the same allocation, not a copy that nobody wipes.
        let bytes = Secret::from(b"hunter2".to_vec());
        let place = bytes.expose().as_ptr();
        let wire = bytes.into_bytes();
        assert_eq!(wire.clone().as_ptr(), place);
    }
}
