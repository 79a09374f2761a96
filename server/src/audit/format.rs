//! The bytes of a segment: a header, then records, each hashed together with all before it.
//! `FORMAT.md` beside this file says it byte by byte. Pure: no disk here.

use holdfast_proto::{NodeId, v1::AuditRecord};
use prost::Message as _;

/// The hash of a chain up to one of its records.
pub(crate) type Hash = [u8; 32];

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whose log it is.
    pub(super) node: NodeId,
    /// The sequence of its first record.
    pub(super) first: u64,
    /// Where the log began when this segment was made: what is older may be gone.
    pub(super) oldest: u64,
    /// The chain's hash before it; zeros: it is the first.
    pub(super) previous: Hash,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Fewer bytes than a header has.
    Short,
    /// Of a version that this program does not know.
    Newer(u32),
    /// Not what was written.
    Damaged,
}

impl Header {
    /// Its bytes, and the hash that the first record is chained to.
    pub(super) fn encode(&self) -> ([u8; HEADER_BYTES], Hash) {
        let mut bytes = [0; HEADER_BYTES];
        let fields: [&[u8]; 6] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &self.node.0.to_le_bytes(),
            &self.first.to_le_bytes(),
            &self.oldest.to_le_bytes(),
            &self.previous,
        ];
        let mut end = 0;
        for field in fields {
            bytes[end..end + field.len()].copy_from_slice(field);
            end += field.len();
        }
        let check = blake3::derive_key(SEGMENT_CONTEXT, &bytes[..end]);
        bytes[end..].copy_from_slice(&check);
        (bytes, check)
    }

    /// The header that bytes begin with, and the hash that the first record is chained to.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, Hash), HeaderError> {
        if bytes.len() >= MAGIC.len() && bytes[..MAGIC.len()] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        if let Some(version) = number_at::<4>(bytes, 8).map(u32::from_le_bytes) {
            match version {
                VERSION => {}
                newer if newer > VERSION => return Err(HeaderError::Newer(newer)),
                _ => return Err(HeaderError::Damaged),
            }
        }
        let header = bytes.get(..HEADER_BYTES).ok_or(HeaderError::Short)?;
        let number = |at| number_at::<8>(header, at).map_or(0, u64::from_le_bytes);
        let check = number_at::<32>(header, HEADER_BYTES - 32).unwrap_or_default();
        if blake3::derive_key(SEGMENT_CONTEXT, &header[..HEADER_BYTES - 32]) != check {
            return Err(HeaderError::Damaged);
        }
        let header = Self {
            node: NodeId(number(12)),
            first: number(20),
            oldest: number(28),
            previous: number_at::<32>(header, 36).unwrap_or_default(),
        };
        Ok((header, check))
    }
}

/// Appends a record to `out` and returns the chain's hash after it.
pub(super) fn encode_record(record: &AuditRecord, previous: &Hash, out: &mut Vec<u8>) -> Hash {
    let body = record.encode_to_vec();
    let length = (body.len() as u32).to_le_bytes();
    let hash = record_hash(previous, &body);
    out.extend_from_slice(&length);
    out.extend(length.map(|byte| !byte));
    out.extend_from_slice(&body);
    out.extend_from_slice(&hash);
    hash
}

/// The hash of a record's body in its chain.
pub(super) fn record_hash(previous: &Hash, body: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(RECORD_CONTEXT);
    hasher
        .update(previous)
        .update(&(body.len() as u32).to_le_bytes())
        .update(body);
    *hasher.finalize().as_bytes()
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// Nothing.
    End,
    /// Whole, whatever its content is worth.
    Record {
        body: &'a [u8],
        hash: Hash,
        /// Bytes of all of it.
        bytes: usize,
    },
    /// The beginning of a record: a write that was not completed.
    Torn,
    /// No record and no beginning of one: where the next begins cannot be known.
    Nonsense,
}

/// Looks at what bytes begin with.
pub(super) fn frame(bytes: &[u8]) -> Frame<'_> {
    if bytes.is_empty() {
        return Frame::End;
    }
    let Some(length) = number_at::<4>(bytes, 0) else {
        return Frame::Torn;
    };
    let Some(inverse) = number_at::<4>(bytes, 4) else {
        return Frame::Torn;
    };
    let body_bytes = u32::from_le_bytes(length) as usize;
    if length.map(|byte| !byte) != inverse || body_bytes > RECORD_BYTES {
        // A file may have grown before its content was written.
        return match bytes.iter().all(|byte| *byte == 0) {
            true => Frame::Torn,
            false => Frame::Nonsense,
        };
    }
    let end = FRAME_BYTES + body_bytes;
    match (bytes.get(FRAME_BYTES..end), number_at::<32>(bytes, end)) {
        (Some(body), Some(hash)) => Frame::Record {
            body,
            hash,
            bytes: end + 32,
        },
        _ => Frame::Torn,
    }
}

fn number_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 100;
/// The longest body of a record.
pub(super) const RECORD_BYTES: usize = 64 * 1024;
/// A body's length, and its complement.
const FRAME_BYTES: usize = 8;
const MAGIC: [u8; 8] = *b"HFAUDIT\n";
/// Of what this program writes.
pub(super) const VERSION: u32 = 1;
const SEGMENT_CONTEXT: &str = "holdfast 1 audit segment";
const RECORD_CONTEXT: &str = "holdfast 1 audit record";
