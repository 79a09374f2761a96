//! Bytes that nobody may see by accident.

use std::fmt;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Plaintext, or anything else that is secret and not a key. Wiped when dropped.
///
/// There is no `Clone`, `Display`, `PartialEq` or `Serialize`, and `Debug` shows neither bytes nor
/// their number. Who wants the bytes says [`expose`](Self::expose).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

/// A key of 256 bits. On the heap, so that moving it leaves no copy behind.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SymmetricKey(Box<[u8; 32]>);

impl SecretBytes {
    /// Takes over `bytes`; no copy is made.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, if they are UTF-8.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, which the caller wipes from now on.
    pub fn into_exposed(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretBytes(..)")
    }
}

impl SymmetricKey {
    /// A new one.
    pub fn generate(random: &mut impl CryptoRng) -> Self {
        let mut key = Self(Box::new([0; 32]));
        random.fill_bytes(key.0.as_mut_slice());
        key
    }

    /// From its bytes, of which the caller wipes its own copy. `None` unless there are 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 32 {
            return None;
        }
        let mut key = Self(Box::new([0; 32]));
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// A key for one purpose only, made from this one.
    pub(crate) fn derive(&self, purpose: &str) -> Self {
        Self::derived_from(purpose, self.0.as_slice())
    }

    /// A key for one purpose only, made from a secret that cannot be guessed, such as another key. The
    /// purpose says who makes it, since when and for what, and is never used for anything else.
    pub fn of_secret(purpose: &'static str, secret: &[u8]) -> Self {
        Self::derived_from(purpose, secret)
    }

    pub(crate) fn derived_from(purpose: &str, source: &[u8]) -> Self {
        let mut derived = blake3::derive_key(purpose, source);
        let key = Self(Box::new(derived));
        derived.zeroize();
        key
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SymmetricKey(..)")
    }
}
