//! Streams: files that are too big to seal in one piece, such as backups, and files that are read by
//! whoever holds one of several keys.
//!
//! STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over XChaCha20-Poly1305 in chunks of 64 KiB, as in
//! age: the nonce counts the chunks and marks the last one. The file's key is random and is wrapped in the
//! header for each [`Reader`], and every chunk is bound to the whole header.
//!
//! Invariants: (1) chunks that are missing, repeated, in another order, added or from another file do not
//! open. (2) A stream that was cut off is an error at its end, never an end: so a reader does nothing
//! that it cannot undo before it has read to the end.

mod header;
mod open;
mod seal;

use std::io;

pub use header::{Reader, Unlock};
pub use open::StreamOpener;
pub use seal::StreamSealer;

use crate::aead::{NONCE_LENGTH, TAG_LENGTH};
use crate::bind::{Binding, purpose};
use crate::epoch::Epoch;
use crate::secret::SymmetricKey;

/// The plaintext of each chunk but the last, in bytes.
pub const CHUNK_LENGTH: usize = 64 * 1024;

const SEALED_CHUNK_LENGTH: usize = CHUNK_LENGTH + TAG_LENGTH;

/// A stream does not open. As an [`io::Error`], its kind is `InvalidData`.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// It is something else.
    #[error("this is no sealed file: it does not start with the letters of one")]
    NotAStream,
    /// A later version of Holdfast wrote it.
    #[error(
        "the sealed file has format {found}, which is newer than this program knows (1); update it"
    )]
    NewerFormat {
        /// Its format.
        found: u8,
    },
    /// It ends before its header does, or its header makes no sense.
    #[error("the header of the sealed file is damaged")]
    Header,
    /// It was not sealed for this key.
    #[error("the file was not sealed for this key; it was for: {readers}")]
    NotForThisKey {
        /// Whom it was sealed for, in words.
        readers: String,
    },
    /// It was sealed by an epoch that the keyring does not have.
    #[error("the file was sealed in {epoch}, whose key is not in this keyring (newest: {newest})")]
    EpochUnknown {
        /// The epoch that it names.
        epoch: Epoch,
        /// The newest that there is.
        newest: Epoch,
    },
    /// Its key does not open: made for another key, cluster or purpose, or changed.
    #[error(
        "the key of the sealed file does not open: it was made for another key, cluster or purpose, or the file was changed"
    )]
    FileKey,
    /// A chunk does not open: changed, or moved.
    #[error("chunk {number} of the sealed file was changed, moved, or belongs to another file")]
    Chunk {
        /// Which, from 0.
        number: u32,
    },
    /// The end is missing.
    #[error("the sealed file was cut off after chunk {number}; what was read is not all there was")]
    CutOff {
        /// The last chunk that is there, from 0.
        number: u32,
    },
    /// Reading failed before, so where the rest begins is not known.
    #[error("an earlier read of the sealed file failed; open it anew")]
    Unread,
    /// Longer than 2^32 chunks.
    #[error("a sealed file has at most 256 TiB")]
    TooLong,
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// What seals and opens the chunks of one stream.
struct Chunks {
    key: SymmetricKey,
    binding: Binding,
    nonce_prefix: [u8; NONCE_PREFIX_LENGTH],
}

const NONCE_PREFIX_LENGTH: usize = NONCE_LENGTH - 5;

impl Chunks {
    fn new(key: SymmetricKey, header: &[u8], nonce_prefix: [u8; NONCE_PREFIX_LENGTH]) -> Self {
        let digest = blake3::hash(header);
        Self {
            key,
            binding: Binding::of(purpose::CHUNK).bytes(digest.as_bytes()),
            nonce_prefix,
        }
    }

    /// The prefix, the number of the chunk, and whether it is the last one.
    fn nonce(&self, number: u32, last: bool) -> [u8; NONCE_LENGTH] {
        let mut nonce = [0; NONCE_LENGTH];
        nonce[..NONCE_PREFIX_LENGTH].copy_from_slice(&self.nonce_prefix);
        nonce[NONCE_PREFIX_LENGTH..NONCE_LENGTH - 1].copy_from_slice(&number.to_be_bytes());
        nonce[NONCE_LENGTH - 1] = u8::from(last);
        nonce
    }
}
