//! How our rows stand in the files of the `raft-log` crate.

use std::{
    cmp::Ordering,
    io::{self, Read, Write},
};

use bytes::Bytes;
use raft_log::{
    Types,
    codeq::{Decode, Encode},
};

use super::flush::Flush;

/// A place in the log: which leader put which entry there. Ordered as consensus orders log ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The leader's term.
    pub term: u64,
    /// The leader.
    pub node: u64,
    /// 0, 1, 2 … without a gap.
    pub index: u64,
}

/// One entry. What the payload means is not the log's business.
#[derive(Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its place.
    pub position: LogPosition,
    /// Its bytes.
    pub payload: Bytes,
}

impl std::fmt::Debug for LogRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "LogRow({:?}, {} bytes)",
            self.position,
            self.payload.len()
        )
    }
}

/// The type parameters of `raft-log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows;

impl Types for Rows {
    type LogId = LogPosition;
    type LogPayload = Payload;
    type Vote = Vote;
    type Callback = Flush;
    type UserData = Mark;

    fn log_index(position: &LogPosition) -> u64 {
        position.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        payload.0.len() as u64
    }
}

impl Encode for LogPosition {
    fn encode<W: Write>(&self, mut to: W) -> io::Result<usize> {
        Ok(self.term.encode(&mut to)? + self.node.encode(&mut to)? + self.index.encode(&mut to)?)
    }
}

impl Decode for LogPosition {
    fn decode<R: Read>(mut from: R) -> io::Result<Self> {
        let term = u64::decode(&mut from)?;
        let node = u64::decode(&mut from)?;
        let index = u64::decode(&mut from)?;
        Ok(Self { term, node, index })
    }
}

/// Opaque bytes, behind their length. `Debug` shows the length only.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Payload(pub(super) Bytes);

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Encode for Payload {
    fn encode<W: Write>(&self, mut to: W) -> io::Result<usize> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        let prefix = length.encode(&mut to)?;
        to.write_all(&self.0)?;
        Ok(prefix + self.0.len())
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut from: R) -> io::Result<Self> {
        let length = u32::decode(&mut from)?;
        // Grows as bytes arrive: a damaged length must not allocate what it claims.
        let mut bytes = Vec::new();
        let read = from
            .by_ref()
            .take(u64::from(length))
            .read_to_end(&mut bytes)?;
        if read != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self(bytes.into()))
    }
}

/// A vote, as consensus encoded it. Which vote follows which is for consensus to judge, so here
/// whatever is saved next is the greater one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vote(pub(super) Payload);

impl PartialOrd for Vote {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(if self == other {
            Ordering::Equal
        } else {
            Ordering::Greater
        })
    }
}

impl Encode for Vote {
    fn encode<W: Write>(&self, to: W) -> io::Result<usize> {
        self.0.encode(to)
    }
}

impl Decode for Vote {
    fn decode<R: Read>(from: R) -> io::Result<Self> {
        Payload::decode(from).map(Self)
    }
}

/// Stands at the end of every flush: what was on disk before the flush began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Where in the log this mark stands.
    pub(super) at: u64,
    /// Everything before this byte of the log was synced when the mark was written.
    pub(super) synced: u64,
}

impl Encode for Mark {
    fn encode<W: Write>(&self, mut to: W) -> io::Result<usize> {
        Ok(self.at.encode(&mut to)? + self.synced.encode(&mut to)?)
    }
}

impl Decode for Mark {
    fn decode<R: Read>(mut from: R) -> io::Result<Self> {
        let at = u64::decode(&mut from)?;
        let synced = u64::decode(&mut from)?;
        Ok(Self { at, synced })
    }
}
