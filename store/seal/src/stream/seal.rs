//! Sealing a stream.

use std::io::{self, Write};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::header::{self, Reader};
use super::{CHUNK_LENGTH, Chunks, NONCE_PREFIX_LENGTH, SEALED_CHUNK_LENGTH, StreamError};
use crate::aead;
use crate::epoch::Lineage;
use crate::secret::SymmetricKey;

/// Seals what is written to it into `Sink`. What was written is whole only after
/// [`finish`](Self::finish): without it, whoever opens the stream is told that it was cut off.
pub struct StreamSealer<Sink> {
    sink: Sink,
    chunks: Chunks,
    /// The plaintext of the chunk that is not full, or is and may be the last. Never grows past one.
    pending: Zeroizing<Vec<u8>>,
    number: u32,
    failed: bool,
}

impl<Sink: Write> StreamSealer<Sink> {
    /// Starts a stream for `readers` (255 at most). `bound_to` says what it is for ("backup", …):
    /// opening takes the same bytes. `lineage` stands in the header, for readers that cannot know it.
    pub fn new(
        random: &mut impl CryptoRng,
        mut sink: Sink,
        lineage: Option<&Lineage>,
        bound_to: &[u8],
        readers: &[Reader<'_>],
    ) -> io::Result<Self> {
        let key = SymmetricKey::generate(random);
        let mut nonce_prefix = [0; NONCE_PREFIX_LENGTH];
        random.fill_bytes(&mut nonce_prefix);
        let header = header::write(random, lineage, bound_to, readers, &key, &nonce_prefix);
        sink.write_all(&header)?;
        Ok(Self {
            sink,
            chunks: Chunks::new(key, &header, nonce_prefix),
            pending: Zeroizing::new(Vec::with_capacity(SEALED_CHUNK_LENGTH)),
            number: 0,
            failed: false,
        })
    }

    /// Seals the last chunk and flushes. Gives the sink back, so that the caller can sync it.
    pub fn finish(mut self) -> io::Result<Sink> {
        self.seal_pending(true)?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn check_whole(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier chunk was not written whole"));
        }
        Ok(())
    }

    fn seal_pending(&mut self, last: bool) -> io::Result<()> {
        self.check_whole()?;
        // Until the chunk is out for certain: a nonce is never used for two texts.
        self.failed = true;
        let nonce = self.chunks.nonce(self.number, last);
        let binding = self.chunks.binding.as_bytes();
        let tag = aead::seal_in_place(&self.chunks.key, &nonce, binding, &mut self.pending);
        self.pending.extend_from_slice(&tag);
        self.sink.write_all(&self.pending)?;
        self.pending.clear();
        if !last {
            self.number = self.number.checked_add(1).ok_or(StreamError::TooLong)?;
        }
        self.failed = false;
        Ok(())
    }
}

impl<Sink: Write> Write for StreamSealer<Sink> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_whole()?;
        // A full chunk waits for more, because the last one is marked.
        if self.pending.len() == CHUNK_LENGTH && !bytes.is_empty() {
            self.seal_pending(false)?;
        }
        let taken = bytes.len().min(CHUNK_LENGTH - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Flushes the chunks that are full; the one that is not stays, for its place is not known yet.
    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl<Sink> std::fmt::Debug for StreamSealer<Sink> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StreamSealer(chunk {}, ..)", self.number)
    }
}
