//! Opening a stream.

use std::io::{self, Read};

use zeroize::Zeroizing;

use super::header::{self, Unlock};
use super::{Chunks, SEALED_CHUNK_LENGTH, StreamError};
use crate::aead::{self, TAG_LENGTH};
use crate::epoch::Lineage;

/// Opens what it reads from `Source`, chunk by chunk. What it returned is all there was, and in order,
/// once a read returns 0; until then the stream may yet turn out to be cut off or changed.
pub struct StreamOpener<Source> {
    source: Source,
    chunks: Chunks,
    lineage: Option<Lineage>,
    /// The chunk after the open one, sealed; empty once there is none.
    ahead: Vec<u8>,
    /// The open chunk, and how much of it was handed out.
    open: Zeroizing<Vec<u8>>,
    taken: usize,
    number: u32,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// The last chunk is open.
    Last,
    /// Told again at each read, so that nobody takes an error for an end.
    Failed(StreamError),
}

impl<Source: Read> StreamOpener<Source> {
    /// Reads the header. `bound_to` is what the stream was sealed with.
    pub fn new(mut source: Source, bound_to: &[u8], unlock: &Unlock<'_>) -> io::Result<Self> {
        let header = header::open(&mut source, bound_to, unlock)?;
        let mut opener = Self {
            source,
            chunks: Chunks::new(header.key, &header.bytes, header.nonce_prefix),
            lineage: header.lineage,
            ahead: Vec::with_capacity(SEALED_CHUNK_LENGTH),
            open: Zeroizing::new(Vec::with_capacity(SEALED_CHUNK_LENGTH)),
            taken: 0,
            number: 0,
            state: State::Reading,
        };
        read_chunk(&mut opener.source, &mut opener.ahead)?;
        opener.open_next()?;
        Ok(opener)
    }

    /// The lineage of the cluster that sealed it, if the header names one.
    pub fn lineage(&self) -> Option<&Lineage> {
        self.lineage.as_ref()
    }

    /// Opens the chunk that was read ahead, and reads the one after it: only then is it known whether
    /// it is the last one.
    fn open_next(&mut self) -> io::Result<()> {
        let mut next = Vec::with_capacity(SEALED_CHUNK_LENGTH);
        read_chunk(&mut self.source, &mut next)?;
        let last = next.is_empty();
        self.taken = 0;
        // An empty chunk stands for an empty stream only, so that each text has one form.
        let found = match self.open_ahead(last) {
            Ok(()) if self.open.is_empty() && self.number > 0 => Err(self.damaged()),
            Err(_) if last && self.open_ahead(false).is_ok() => Err(StreamError::CutOff {
                number: self.number,
            }),
            other => other,
        };
        if let Err(error) = found {
            self.open.clear();
            self.state = State::Failed(error.clone());
            return Err(error.into());
        }
        self.ahead = next;
        self.state = if last { State::Last } else { State::Reading };
        Ok(())
    }

    fn open_ahead(&mut self, last: bool) -> Result<(), StreamError> {
        let (text, tag) = self
            .ahead
            .split_last_chunk::<TAG_LENGTH>()
            .ok_or(self.damaged())?;
        self.open.clear();
        self.open.extend_from_slice(text);
        let nonce = self.chunks.nonce(self.number, last);
        let binding = self.chunks.binding.as_bytes();
        aead::open_in_place(&self.chunks.key, &nonce, binding, &mut self.open, tag)
            .map_err(|_| self.damaged())
    }

    fn damaged(&self) -> StreamError {
        StreamError::Chunk {
            number: self.number,
        }
    }
}

impl<Source: Read> Read for StreamOpener<Source> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.open.len() && !buffer.is_empty() {
            match std::mem::replace(&mut self.state, State::Failed(StreamError::Unread)) {
                State::Reading => {
                    self.number = self.number.checked_add(1).ok_or(StreamError::TooLong)?;
                    self.open_next()?;
                }
                State::Last => {
                    self.state = State::Last;
                    return Ok(0);
                }
                State::Failed(error) => {
                    self.state = State::Failed(error.clone());
                    return Err(error.into());
                }
            }
        }
        let rest = &self.open[self.taken..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

impl<Source> std::fmt::Debug for StreamOpener<Source> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StreamOpener(chunk {}, ..)", self.number)
    }
}

fn read_chunk(source: &mut impl Read, chunk: &mut Vec<u8>) -> io::Result<()> {
    source
        .by_ref()
        .take(SEALED_CHUNK_LENGTH as u64)
        .read_to_end(chunk)?;
    Ok(())
}
