//! The past: values of older versions, by key and revision.
//!
//! Never the only copy: log and newest archive are the truth, and what is here can always be put
//! back from them. Every row carries the digest of its value and is checked against it when read,
//! so the past may lose a value, but it never gives out a wrong one.

pub(crate) mod condition;
pub(crate) mod keeper;
pub(crate) mod memory;
pub(crate) mod sled;
#[cfg(test)]
mod suite;
pub(crate) mod walk;

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use holdfast_core::{Digest, Retired, VersionId};
use holdfast_proto::{Key, Revision, Value, v1};
use prost::Message as _;

/// Why a value of the past cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PastError {
    /// It is being put back from archive and log. Ask again.
    #[error(
        "older values are being put back on this node ({percent} % done); ask again, or ask another node"
    )]
    Rebuilding {
        /// How much is done.
        percent: u8,
    },
    /// It is not kept here: it was forgotten, or it was lost.
    #[error("this version's value is not kept on this node; ask another node")]
    Missing,
    /// It was there and does not check. It is being put back.
    #[error(
        "this version's value is damaged on this node, which puts it back from archive and log; ask again, or ask another node"
    )]
    Damaged,
}

/// How the past is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PastStatus {
    /// Everything can be read.
    Ready,
    /// Being put back from archive and log.
    Rebuilding {
        /// How much is done.
        percent: u8,
    },
    /// It stopped working, and is put back as soon as that can be done.
    Failed {
        /// What happened.
        why: String,
    },
}

impl std::fmt::Display for PastStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Rebuilding { percent } => write!(f, "rebuilding {percent} %"),
            Self::Failed { why } => write!(f, "failed ({why})"),
        }
    }
}

/// Why an engine could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PastFault(pub(crate) String);

/// An engine that keeps rows. Calls block.
pub(crate) trait Past: Send {
    /// Keeps rows. Keeping one again changes nothing.
    fn keep(&mut self, rows: &[Arc<PastRow>]) -> Result<(), PastFault>;
    /// Drops rows. Dropping one that is not there changes nothing.
    fn forget(&mut self, ids: &[VersionId]) -> Result<(), PastFault>;
    /// Hands everything to the system, so that it outlives the process.
    fn flush(&mut self) -> Result<(), PastFault>;
    /// Something to read with beside the writer.
    fn reader(&self) -> Box<dyn PastReader>;
}

/// Reads rows, from any thread.
pub(crate) trait PastReader: Send + Sync {
    /// The row of a version, if it is kept. Damage is a fault.
    fn row(&self, id: &VersionId) -> Result<Option<PastRow>, PastFault>;
    /// Rows that were kept right after that of a version, which was just read: as many as cost no look at
    /// the disk. Each is what [`row`](Self::row) would find now.
    fn after(&self, _: &VersionId) -> Neighbours {
        Neighbours::default()
    }
}

/// Rows that lie side by side, encoded.
#[derive(Default)]
pub(crate) struct Neighbours {
    pub(crate) rows: Vec<Bytes>,
    /// Whether they are known to be as they were written. Otherwise each is to be decoded, which checks it.
    pub(crate) are_checked: bool,
}

/// A value of an older version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PastRow {
    pub(crate) id: VersionId,
    pub(crate) value: Value,
    pub(crate) digest: Digest,
}

impl PastRow {
    /// `revision (8) key length (2) key digest (32) value`, numbers big-endian, the value as
    /// `holdfast.v1.Value`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.id.key.as_bytes().len() + self.value.size());
        self.encode_to(&mut bytes);
        bytes
    }

    /// As [`PastRow::encode`], behind what is there already.
    pub(crate) fn encode_to(&self, bytes: &mut Vec<u8>) {
        let key = self.id.key.as_bytes();
        let value = v1::Value::from(self.value.clone());
        bytes.put_u64(self.id.revision.get());
        // A key is at most 1 KiB long.
        bytes.put_u16(key.len() as u16);
        bytes.put_slice(key);
        bytes.put_slice(self.digest.as_bytes());
        value.encode(bytes).expect("a vector takes any length");
    }

    /// Whether an encoded row is that of a version: by its beginning, nothing is decoded.
    pub(crate) fn is_of(encoded: &[u8], id: &VersionId) -> bool {
        let key = id.key.as_bytes();
        encoded.len() >= 10 + key.len()
            && encoded[..8] == id.revision.get().to_be_bytes()
            && encoded[8..10] == (key.len() as u16).to_be_bytes()
            && encoded[10..10 + key.len()] == *key
    }

    /// The digest that is written in an encoded row, whether its value has it or not.
    pub(crate) fn digest_of(encoded: &[u8]) -> Option<Digest> {
        let (length, rest) = encoded.get(8..)?.split_first_chunk()?;
        let key = usize::from(u16::from_be_bytes(*length));
        let digest = rest.get(key..)?.first_chunk()?;
        Some(Digest::from_bytes(*digest))
    }

    /// Whose row these bytes say they are.
    pub(crate) fn id_of(encoded: &Bytes) -> Option<VersionId> {
        take_id(&mut encoded.clone())
    }

    /// `None` if the bytes are no row, or its value is not what its digest says.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let id = take_id(&mut bytes)?;
        if bytes.len() < 32 {
            return None;
        }
        let digest = Digest::from_bytes(bytes.split_to(32)[..].try_into().ok()?);
        let value = Value::try_from(v1::Value::decode(bytes).ok()?).ok()?;
        (Digest::of(&value) == digest).then_some(Self { id, value, digest })
    }
}

fn take_id(bytes: &mut Bytes) -> Option<VersionId> {
    if bytes.len() < 10 {
        return None;
    }
    let revision = Revision::new(bytes.get_u64())?;
    let length = usize::from(bytes.get_u16());
    if bytes.len() < length {
        return None;
    }
    let key = Key::new(bytes.split_to(length)).ok()?;
    Some(VersionId { key, revision })
}

impl From<Retired> for PastRow {
    fn from(retired: Retired) -> Self {
        Self {
            id: retired.id,
            value: retired.value,
            digest: retired.digest,
        }
    }
}
