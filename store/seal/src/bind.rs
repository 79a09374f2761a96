//! What a sealed thing is bound to, as bytes: the associated data of each AEAD, the `info` of HPKE and
//! the message of each keyed hash.
//!
//! Invariants: (1) two different bindings have different bytes, because the purpose comes first, a
//! purpose always has the same fields, and each field carries its length. (2) Purposes are never
//! reused for other fields.

/// Fields in order, each as its length (four bytes, big-endian) and its bytes.
pub(crate) struct Binding(Vec<u8>);

impl Binding {
    /// Of one purpose, which is the first field.
    pub(crate) fn of(purpose: &str) -> Self {
        Self(Vec::with_capacity(256)).bytes(purpose.as_bytes())
    }

    /// One more field.
    pub(crate) fn bytes(mut self, field: &[u8]) -> Self {
        let length = u32::try_from(field.len()).expect("fields are far smaller than 4 GiB");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }

    /// One more field: a number, eight bytes, big-endian.
    pub(crate) fn number(self, field: u64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Purposes of bindings.
pub(crate) mod purpose {
    pub(crate) const PAYLOAD: &str = "holdfast-seal/1 payload";
    pub(crate) const WRAP: &str = "holdfast-seal/1 wrap";
    pub(crate) const EPOCH_WRAP: &str = "holdfast-seal/1 epoch wrap";
    pub(crate) const PREVIOUS: &str = "holdfast-seal/1 previous epoch";
    pub(crate) const CHECK: &str = "holdfast-seal/1 check";
    pub(crate) const ESCROW: &str = "holdfast-seal/1 escrow";
    pub(crate) const NODE_KEY: &str = "holdfast-seal/1 node key";
    pub(crate) const FILE_KEY: &str = "holdfast-seal/1 file key";
    pub(crate) const CHUNK: &str = "holdfast-seal/1 chunk";
}

/// Contexts of BLAKE3's `derive_key`: what a key is made from another for.
pub(crate) mod derived {
    pub(crate) const WRAP: &str = "holdfast-seal 2026-11 epoch key: wraps of data keys";
    pub(crate) const PREVIOUS: &str = "holdfast-seal 2026-11 epoch key: key of the previous epoch";
    pub(crate) const CHECK: &str = "holdfast-seal 2026-11 epoch key: check value";
    pub(crate) const ESCROW: &str = "holdfast-seal 2026-11 epoch key: escrow proof";
    pub(crate) const EPOCH_FILES: &str = "holdfast-seal 2026-11 epoch key: keys of files";
    pub(crate) const KEY_FILES: &str = "holdfast-seal 2026-11 key of its own: keys of files";
    pub(crate) const SHARE: &str = "holdfast-seal 2026-11 recovery share: checksum";
    pub(crate) const CREDENTIAL: &str = "holdfast-seal 2026-11 node key: credential";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_from_one_field_to_the_next_changes_the_bytes() {
        let one = Binding::of("p").bytes(b"ab").bytes(b"c");
        let other = Binding::of("p").bytes(b"a").bytes(b"bc");
        assert_ne!(one.as_bytes(), other.as_bytes());
        assert_eq!(
            one.as_bytes(),
            b"\0\0\0\x01p\0\0\0\x02ab\0\0\0\x01c".as_slice()
        );
    }
}
