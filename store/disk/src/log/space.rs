//! Room on the disk, kept in reserve: a log that runs into a full disk is lost for this run, one
//! that refuses in time goes on as soon as there is room.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::LogError;

/// Looks at the disk now and then, and refuses what would eat up the reserve.
pub(super) struct Reserve {
    dir: PathBuf,
    bytes: u64,
    seen: Mutex<Option<Seen>>,
}

/// What there was room for when somebody last looked, less what was written since.
struct Seen {
    at: Instant,
    left: u64,
}

/// Between two looks, if little is written: others fill disks too.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Reserve {
    pub(super) fn new(dir: PathBuf, bytes: u64) -> Self {
        Self {
            dir,
            bytes,
            seen: Mutex::new(None),
        }
    }

    /// Takes room for a write.
    pub(super) fn take(&self, bytes: u64) -> Result<(), LogError> {
        if self.bytes == 0 {
            return Ok(());
        }
        let mut seen = self.seen.lock();
        if let Some(seen) = seen.as_mut()
            && seen.at.elapsed() < LOOK_EVERY
            && seen.left > bytes
        {
            seen.left -= bytes;
            return Ok(());
        }
        *seen = None;
        // Whoever cannot be asked is not kept from writing: the write says so itself.
        let Ok(disk) = rustix::fs::statvfs(&self.dir) else {
            return Ok(());
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let room = free.saturating_sub(self.bytes);
        if room <= bytes {
            return Err(LogError::Full {
                free,
                reserve: self.bytes,
            });
        }
        // Half of it: what was written meanwhile may not be on disk yet.
        *seen = Some(Seen {
            at: Instant::now(),
            left: room / 2,
        });
        Ok(())
    }
}
