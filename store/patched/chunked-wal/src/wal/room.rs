//! Room behind the records of an open chunk: zeros that are on disk already.
//!
//! A record that is written into them changes neither the file's length nor
//! its blocks, so syncing it takes one write of data and none of the file
//! system's own. The zeros are cut off when the chunk is closed. A process
//! that is killed leaves them; whoever opens the WAL must cut them off first,
//! or have `truncate_incomplete_record` do it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the records of an open chunk file end, and how far its zeros reach.
#[derive(Debug)]
pub(crate) struct Room {
    end: u64,
    reach: u64,
}

impl Room {
    /// Of a file whose records end at `end`, with nothing behind them.
    pub(crate) fn new(end: u64) -> Self {
        Self { end, reach: end }
    }

    /// Writes records behind the last ones.
    pub(crate) fn write(
        &mut self,
        file: &File,
        data: &[u8],
    ) -> Result<(), io::Error> {
        file.write_all_at(data, self.end)?;
        self.end += data.len() as u64;
        self.reach = self.reach.max(self.end);
        Ok(())
    }

    /// Makes more room when there is little. On a full disk there is none:
    /// records then go to the end of the file, as far as they find place.
    pub(crate) fn extend(&mut self, file: &File) -> Result<(), io::Error> {
        if self.reach - self.end >= LEAST_BYTES {
            return Ok(());
        }

        let reach = (self.end + ROOM_BYTES).next_multiple_of(PAGE_BYTES);
        while self.reach < reach {
            let more = (reach - self.reach).min(ZEROS.len() as u64) as usize;
            match file.write_all_at(&ZEROS[..more], self.reach) {
                Ok(()) => self.reach += more as u64,
                Err(e) if e.kind() == io::ErrorKind::StorageFull => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Cuts the zeros off. The length is not synced.
    pub(crate) fn cut(&mut self, file: &File) -> Result<(), io::Error> {
        // What did not fit a full disk is not counted in `reach`.
        file.set_len(self.end)?;
        self.reach = self.end;
        Ok(())
    }
}

/// With less room than this there is made more,
const LEAST_BYTES: u64 = 32 * 1024;
/// so much at a time.
const ROOM_BYTES: u64 = 256 * 1024;
const PAGE_BYTES: u64 = 4096;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
