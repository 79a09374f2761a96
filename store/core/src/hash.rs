//! Hashes: of one value, of one row, and of the whole state.
//!
//! The state's hash is the sum of its rows' hashes (four 64-bit lanes, wrapping), so it is kept up
//! by adding what comes and subtracting what goes, and does not depend on the order in which the
//! same rows came to be. It guards against defects, not against an adversary: members of a cluster
//! trust each other. Changing what goes into a row's hash makes nodes of two versions differ.

use std::fmt;

use holdfast_proto::Value;

/// BLAKE3-256 of a typed value: its kind, then its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// The hash of a whole [`State`](crate::State). Equal on nodes that applied the same commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StateHash([u8; 32]);

/// The hash of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowHash([u64; 4]);

/// The sum of the hashes of all rows of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RollingHash([u64; 4]);

/// Gathers the fields of one row. Every field is of fixed size or carries its length.
pub(crate) struct RowBuffer(Vec<u8>);

impl Digest {
    /// Of a deletion, which has no value.
    pub const NONE: Self = Self([0; 32]);

    /// Of a value.
    pub fn of(value: &Value) -> Self {
        let mut hasher = blake3::Hasher::new();
        match value {
            Value::Text(text) => {
                hasher.update(&[1]).update(text.as_bytes());
            }
            Value::Integer(number) => {
                hasher.update(&[2]).update(&number.to_le_bytes());
            }
            Value::Float(number) => {
                hasher.update(&[3]).update(&number.to_bits().to_le_bytes());
            }
            Value::Boolean(flag) => {
                hasher.update(&[4, u8::from(*flag)]);
            }
            Value::Json(text) => {
                hasher.update(&[5]).update(text.as_bytes());
            }
            Value::Bytes(bytes) => {
                hasher.update(&[6]).update(bytes);
            }
            Value::Sealed(payload) => {
                hasher.update(&[8]).update(payload);
            }
            Value::List(items) => {
                hasher.update(&[7]);
                for item in items {
                    hasher
                        .update(&(item.len() as u64).to_le_bytes())
                        .update(item.as_bytes());
                }
            }
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl StateHash {
    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl RollingHash {
    /// A row came.
    pub(crate) fn add(&mut self, row: RowHash) {
        for (lane, value) in self.0.iter_mut().zip(row.0) {
            *lane = lane.wrapping_add(value);
        }
    }

    /// A row went. It must have come before.
    pub(crate) fn remove(&mut self, row: RowHash) {
        for (lane, value) in self.0.iter_mut().zip(row.0) {
            *lane = lane.wrapping_sub(value);
        }
    }

    /// All rows of this and of `other`.
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.add(RowHash(other.0));
        self
    }

    pub(crate) fn finish(self) -> StateHash {
        let mut bytes = [0; 32];
        for (chunk, lane) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        StateHash(bytes)
    }
}

impl RowBuffer {
    /// `table` keeps rows of different kinds apart.
    pub(crate) fn new(table: u8) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(table);
        Self(bytes)
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0
            .extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn finish(self) -> RowHash {
        let hash = blake3::hash(&self.0);
        let mut lanes = [0; 4];
        for (lane, chunk) in lanes.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            *lane = chunk
                .iter()
                .rev()
                .fold(0, |sum, &byte| (sum << 8) | u64::from(byte));
        }
        RowHash(lanes)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0[..4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_two_kinds_or_two_splits_never_share_a_digest() {
        let list = |items: &[&str]| Value::List(items.iter().map(|&item| item.into()).collect());
        let values = [
            Value::Text("1".into()),
            Value::Json("1".into()),
            Value::Integer(1),
            Value::Float(1.0),
            Value::Boolean(true),
            Value::Bytes("1".into()),
            list(&["1"]),
            list(&["1", ""]),
            list(&[]),
        ];
        for (index, one) in values.iter().enumerate() {
            for other in &values[index + 1..] {
                assert_ne!(Digest::of(one), Digest::of(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_came_and_went_leaves_no_trace_in_the_sum() {
        let row = |number| RowBuffer::new(1).number(number).finish();
        let (mut one, mut other) = (RollingHash::default(), RollingHash::default());
        for number in [1, 2, 3] {
            one.add(row(number));
        }
        one.remove(row(2));
        other.add(row(3));
        other.add(row(1));
        assert_eq!(one, other);
        assert_ne!(one.finish(), RollingHash::default().finish());
    }
}
