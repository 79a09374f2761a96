//! The bytes of an archive: a magic, a version, then blocks up to the end mark.

/// What every archive begins with.
pub(super) const MAGIC: [u8; 8] = *b"HOLDARCH";
/// The newest format.
pub(super) const VERSION: u32 = 1;
/// A block's head: kind (1), length (4, big-endian), CRC-32 of kind, length and body (4).
pub(super) const HEAD_BYTES: usize = 9;
/// Rows are gathered into blocks of about this size.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// Longest body: the largest row with room to spare.
pub(super) const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// First: what consensus says of the archive.
    Meta = 1,
    /// Rows of the state, each behind its length.
    Rows = 2,
    /// Values of the past, each behind its length.
    Past = 3,
    /// Last: how many rows and values there were, and the BLAKE3-256 of all blocks before.
    End = 4,
}

impl Block {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Meta, Self::Rows, Self::Past, Self::End]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The check of a block.
pub(super) fn checksum(kind: u8, length: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&length.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}
