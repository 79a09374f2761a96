//! How far this node has applied its log, and how much of it an archive would save.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::types::LogId;

/// Written by the state machine, read by everybody.
pub(crate) struct Progress {
    applied: watch::Sender<Option<LogId>>,
    /// Log bytes applied since the newest archive.
    grown: AtomicU64,
    /// An archive is due when `grown` passes this.
    due_at: AtomicU64,
    due: Notify,
    tail: Mutex<Tail>,
}

/// The end of the log that is kept for members that lag, in chunks.
struct Tail {
    keep_bytes: u64,
    kept_bytes: u64,
    open_bytes: u64,
    chunks: VecDeque<(u64, u64)>,
    behind: Option<u64>,
}

/// A tail is counted in chunks of this many bytes.
const CHUNK_BYTES: u64 = 256 * 1024;

impl Progress {
    pub(crate) fn new(archive_after_bytes: u64, keep_log_bytes: u64) -> Self {
        Self {
            applied: watch::Sender::new(None),
            grown: AtomicU64::new(0),
            due_at: AtomicU64::new(archive_after_bytes),
            due: Notify::new(),
            tail: Mutex::new(Tail {
                keep_bytes: keep_log_bytes,
                kept_bytes: 0,
                open_bytes: 0,
                chunks: VecDeque::new(),
                behind: None,
            }),
        }
    }

    /// The newest entry applied, to wait on.
    pub(crate) fn applied(&self) -> watch::Receiver<Option<LogId>> {
        self.applied.subscribe()
    }

    /// Entries of `bytes` were applied, the last of them `last`.
    pub(crate) fn advance(&self, last: LogId, bytes: u64) {
        self.applied.send_replace(Some(last));
        let grown = self.grown.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if grown > self.due_at.load(Ordering::Relaxed) {
            self.due.notify_one();
        }
        self.tail.lock().push(last.index, bytes);
    }

    /// The state is now that of an archive that ends with `last`.
    pub(crate) fn jump(&self, last: Option<LogId>) {
        self.applied.send_replace(last);
        self.grown.store(0, Ordering::Relaxed);
    }

    /// An archive of `bytes` was begun when the log had grown by `grown`.
    pub(crate) fn archived(&self, grown: u64, next_after: u64) {
        self.grown.fetch_sub(grown, Ordering::Relaxed);
        self.due_at.store(next_after, Ordering::Relaxed);
    }

    /// Log bytes applied since the newest archive.
    pub(crate) fn grown(&self) -> u64 {
        self.grown.load(Ordering::Relaxed)
    }

    /// Returns when an archive is due.
    pub(crate) async fn due(&self) {
        self.due.notified().await;
    }

    /// The log may be cut up to this index, if it is in an archive.
    pub(crate) fn behind(&self) -> Option<u64> {
        self.tail.lock().behind
    }
}

impl Tail {
    fn push(&mut self, index: u64, bytes: u64) {
        self.open_bytes += bytes;
        if self.open_bytes < CHUNK_BYTES.min(self.keep_bytes) {
            return;
        }
        self.chunks.push_back((index, self.open_bytes));
        self.kept_bytes += self.open_bytes;
        self.open_bytes = 0;
        while self.kept_bytes > self.keep_bytes {
            let Some((index, bytes)) = self.chunks.pop_front() else {
                return;
            };
            self.kept_bytes -= bytes;
            self.behind = Some(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    #[test]
    fn the_kept_tail_is_at_least_as_long_as_asked_for_less_one_chunk() {
        let progress = Progress::new(u64::MAX, 4 * CHUNK_BYTES);
        for index in 0..100 {
            progress.advance(log_id(1, index), CHUNK_BYTES / 2);
        }
        let behind = progress.behind().unwrap();
        let kept = (99 - behind) * CHUNK_BYTES / 2;
        assert!(
            (4 * CHUNK_BYTES..=5 * CHUNK_BYTES).contains(&kept),
            "{kept}"
        );
    }

    #[tokio::test]
    async fn an_archive_is_due_when_the_log_has_grown_enough() {
        let progress = Progress::new(1_000, 0);
        progress.advance(log_id(1, 1), 1_000);
        progress.advance(log_id(1, 2), 1);
        progress.due().await;
        progress.archived(1_001, 2_000);
        assert_eq!(progress.grown(), 0);
    }
}
