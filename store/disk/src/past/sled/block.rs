//! Rows of the past, packed: an engine takes two dozen rows in one piece at the price of one.
//!
//! A block is its rows, one after the other, each behind its length. A row is found by what it
//! begins with, so that only the one that is wanted is decoded.

use std::hash::{BuildHasherDefault, Hasher};

use bytes::{Buf as _, BufMut as _, Bytes};
use holdfast_core::VersionId;
use smallvec::SmallVec;

use crate::past::{PastFault, PastRow};

/// A block is closed when it has so many bytes. Large enough that many rows share one, small enough
/// that reading one row does not read much more.
const BLOCK_BYTES: usize = 8 * 1024;

/// Bytes of the length before each row.
const LENGTH: usize = 4;

/// What stands for a version in the index: the start of the BLAKE3 of revision and key. Two versions
/// with the same one would cost one of them its value on this node, once in 10^7 nodes of a million
/// values each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Fingerprint(u64);

/// A fingerprint is a hash already: maps take it as it is.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, print: u64) {
        self.0 = print;
    }
}

/// For maps and sets of fingerprints.
pub(super) type BuildAsItIs = BuildHasherDefault<AsItIs>;

impl Fingerprint {
    pub(super) fn of(id: &VersionId) -> Self {
        let revision = id.revision.get().to_be_bytes();
        let mut bytes: SmallVec<[u8; 128]> = SmallVec::from_slice(&revision);
        bytes.extend_from_slice(id.key.as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&bytes).as_bytes();
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// Fingerprints as they are stored: 8 bytes each, big-endian.
pub(super) fn encode_list(list: &[Fingerprint]) -> Vec<u8> {
    list.iter()
        .flat_map(|print| print.0.to_be_bytes())
        .collect()
}

/// The other way round; `None`: not such a list.
pub(super) fn decode_list(bytes: &[u8]) -> Option<Vec<Fingerprint>> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let prints = numbers
        .iter()
        .map(|bytes| Fingerprint(u64::from_be_bytes(*bytes)));
    rest.is_empty().then(|| prints.collect())
}

/// A row on its way into a block.
pub(super) enum Row<'a> {
    /// One that comes to be kept.
    New(&'a PastRow),
    /// One out of another block, encoded.
    Packed(Bytes),
}

/// Rows on their way into one piece.
#[derive(Default)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) list: Vec<Fingerprint>,
}

impl Block {
    /// Adds a row as [`PastRow::encode`] gives it.
    pub(super) fn push(&mut self, print: Fingerprint, row: &Row<'_>) {
        let start = self.bytes.len() + LENGTH;
        self.bytes.put_bytes(0, LENGTH);
        match row {
            Row::New(row) => row.encode_to(&mut self.bytes),
            Row::Packed(bytes) => self.bytes.put_slice(bytes),
        }
        // A value is at most 1 MiB long, so a row fits four bytes of length.
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start - LENGTH..start].copy_from_slice(&length.to_be_bytes());
        self.list.push(print);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BLOCK_BYTES
    }
}

/// The encoded rows of a block.
pub(super) fn rows(mut bytes: Bytes) -> impl Iterator<Item = Result<Bytes, PastFault>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let length = (bytes.len() >= LENGTH).then(|| bytes.get_u32() as usize);
        match length.filter(|length| *length <= bytes.len()) {
            Some(length) => Some(Ok(bytes.split_to(length))),
            None => {
                bytes.clear();
                Some(Err(PastFault("a block does not check".to_owned())))
            }
        }
    })
}

/// The row of a version among those of a block.
pub(super) fn find(block: Bytes, id: &VersionId) -> Result<Option<PastRow>, PastFault> {
    for row in rows(block) {
        let row = row?;
        if !PastRow::is_of(&row, id) {
            continue;
        }
        return match PastRow::decode(row) {
            Some(row) if row.id == *id => Ok(Some(row)),
            _ => Err(PastFault("a row does not check".to_owned())),
        };
    }
    Ok(None)
}
