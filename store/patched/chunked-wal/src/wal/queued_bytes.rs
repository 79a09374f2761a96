use std::sync::Condvar;
use std::sync::Mutex;

/// Bounds how many bytes of queued write requests may be resident at once.
///
/// The request channel limits the number of queued requests but not their
/// size, so on its own it lets a fast appender hand a slow flush worker an
/// unbounded amount of encoded data.
#[derive(Debug)]
pub(crate) struct QueuedBytes {
    limit: usize,
    used: Mutex<usize>,
    released: Condvar,
}

impl QueuedBytes {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: Mutex::new(0),
            released: Condvar::new(),
        }
    }

    /// Blocks until `size` more bytes fit under the limit, then reserves them.
    ///
    /// A request bigger than the whole limit is admitted once nothing else is
    /// queued, because it could never fit otherwise.
    pub(crate) fn acquire(&self, size: usize) {
        let mut used = self.used.lock().unwrap();

        while *used > 0 && *used + size > self.limit {
            used = self.released.wait(used).unwrap();
        }

        *used += size;
    }

    /// Returns `size` reserved bytes and wakes every waiting sender.
    pub(crate) fn release(&self, size: usize) {
        let mut used = self.used.lock().unwrap();
        *used -= size;
        self.released.notify_all();
    }

    /// Returns every reserved byte, for when the worker stops processing.
    pub(crate) fn release_all(&self) {
        let mut used = self.used.lock().unwrap();
        *used = 0;
        self.released.notify_all();
    }
}
