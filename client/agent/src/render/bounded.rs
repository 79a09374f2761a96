//! Output that is wiped as it grows, and does not grow without end.

use std::io;

use zeroize::Zeroizing;

/// Bytes that were written.
#[derive(Default)]
pub(super) struct Bounded(Zeroizing<Vec<u8>>);

impl Bounded {
    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let length = self.0.len() + more.len();
        if length > LARGEST {
            return Err(io::Error::other("the file would be larger than 16 MiB"));
        }
        if length > self.0.capacity() {
            // Growing in place would leave what was there before, unwiped.
            let mut larger = Vec::with_capacity(length.max(self.0.capacity() * 2).max(4_096));
            larger.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LARGEST: usize = 16 << 20;
