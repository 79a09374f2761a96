//! One flush at a time: whoever appends meanwhile shares the next one.
//!
//! Every [`Done`] is called exactly once, whatever happens to the flush: a callback that is merely
//! dropped would leave a write neither acknowledged nor refused. None is called under a lock.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use parking_lot::{Condvar, Mutex};
use raft_log::{
    Callback, RaftLog, Segment, api::raft_log_writer::RaftLogWriter as _, codeq::Span as _,
};

use super::{
    Done, LogError,
    space::Reserve,
    types::{Mark, Rows},
};
use crate::marker::Lock;

/// What the clones of a log and its flushes share. Locks are taken in the order of the fields.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) reserve: Reserve,
    /// `None` once the log is closed.
    pub(super) writer: Mutex<Option<Writer>>,
    queue: Mutex<Queue>,
    idle: Condvar,
    failed: OnceLock<String>,
}

/// The files, and how far they reach.
pub(super) struct Writer {
    pub(super) log: RaftLog<Rows>,
    /// Where the log ends, buffered records counted.
    end: u64,
    /// Let go after the files.
    _lock: Lock,
}

/// Who waits for the next flush.
#[derive(Default)]
struct Queue {
    waiting: Vec<Done>,
    in_flight: bool,
    /// Everything before this byte of the log is on disk.
    synced: u64,
}

impl Writer {
    pub(super) fn new(log: RaftLog<Rows>, lock: Lock) -> Self {
        let end = log.stat().open_chunk.global_end;
        Self {
            log,
            end,
            _lock: lock,
        }
    }

    /// Does one change and notes where the log ends after it.
    pub(super) fn change(
        &mut self,
        change: impl FnOnce(&mut RaftLog<Rows>) -> io::Result<Segment>,
    ) -> io::Result<()> {
        self.end = change(&mut self.log)?.end().0;
        Ok(())
    }

    fn mark(&mut self, synced: u64) -> io::Result<()> {
        let mark = Mark {
            at: self.end,
            synced,
        };
        self.change(|log| log.save_user_data(Some(mark)))
    }
}

impl Shared {
    pub(super) fn new(dir: PathBuf, reserve: Reserve, writer: Writer, synced: u64) -> Self {
        Self {
            dir,
            reserve,
            writer: Mutex::new(Some(writer)),
            queue: Mutex::new(Queue {
                synced,
                ..Queue::default()
            }),
            idle: Condvar::new(),
            failed: OnceLock::new(),
        }
    }

    /// Why nothing more is acknowledged, if nothing is.
    pub(super) fn why(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    pub(super) fn failed(&self) -> Option<LogError> {
        self.why().map(|why| LogError::Failed {
            why: why.to_owned(),
        })
    }

    /// Ends the log for good. The first reason is kept.
    pub(super) fn fail(&self, why: &str) -> LogError {
        if self.failed.set(why.to_owned()).is_ok() {
            let dir = self.dir.display();
            tracing::error!(%dir, why, "the raft log failed; nothing more is acknowledged");
        }
        LogError::Failed {
            why: why.to_owned(),
        }
    }

    /// Puts somebody in line for the next flush.
    pub(super) fn wait(&self, done: Done) {
        self.queue.lock().waiting.push(done);
    }

    /// Starts a flush unless one is in flight or nobody waits.
    pub(super) fn flush(self: &Arc<Self>) {
        let (waiting, synced) = {
            let mut queue = self.queue.lock();
            if queue.in_flight || queue.waiting.is_empty() {
                return;
            }
            queue.in_flight = true;
            (std::mem::take(&mut queue.waiting), queue.synced)
        };
        let mut flush = Flush {
            shared: Arc::clone(self),
            waiting,
            end: 0,
        };
        if let Some(error) = self.failed() {
            return flush.finish(Err(error));
        }
        let mut writer = self.writer.lock();
        let started = match writer.as_mut() {
            Some(writer) => writer.mark(synced).and_then(|()| {
                flush.end = writer.end;
                writer.log.flush(true, Some(flush))
            }),
            None => Err(io::Error::other("the log is closed")),
        };
        if let Err(error) = started {
            // The flush was dropped: it tells everybody by itself.
            self.fail(&error.to_string());
        }
    }

    /// A flush ended: the next one begins, or after a failure everybody is told.
    fn flushed(self: &Arc<Self>, synced: Option<u64>) {
        let mut queue = self.queue.lock();
        queue.in_flight = false;
        if let Some(synced) = synced {
            queue.synced = synced;
        }
        if queue.waiting.is_empty() {
            self.idle.notify_all();
            return;
        }
        drop(queue);
        self.flush();
    }

    /// Flushes what waits and waits for it, says how far the disk is, and lets the files go. Nobody
    /// appends any more.
    fn close(self: &Arc<Self>) {
        self.flush();
        let mut queue = self.queue.lock();
        while queue.in_flight {
            self.idle.wait(&mut queue);
        }
        let synced = queue.synced;
        drop(queue);
        let Some(mut writer) = self.writer.lock().take() else {
            return;
        };
        if self.failed().is_none()
            && let Err(error) = writer.mark(synced)
        {
            self.fail(&error.to_string());
        }
        // Dropping the log writes and syncs what is buffered, and ends its thread.
    }
}

/// A flush on its way, with everybody who waits for it.
pub(super) struct Flush {
    shared: Arc<Shared>,
    waiting: Vec<Done>,
    /// Where the log ends when it is through.
    end: u64,
}

impl Flush {
    fn finish(&mut self, outcome: Result<(), LogError>) {
        for done in std::mem::take(&mut self.waiting) {
            // Whoever panics when told must not keep the others from being told.
            drop(catch_unwind(AssertUnwindSafe(|| done(outcome.clone()))));
        }
        self.shared.flushed(outcome.is_ok().then_some(self.end));
    }
}

impl Callback for Flush {
    fn send(mut self, outcome: io::Result<()>) {
        let outcome = outcome.map_err(|error| self.shared.fail(&error.to_string()));
        self.finish(outcome);
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let error = self
            .shared
            .fail("the log's writer ended before the write was on disk");
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = Self {
            shared: Arc::clone(&self.shared),
            waiting,
            end: 0,
        };
        // Elsewhere: whoever drops a flush may hold the writer.
        let told = std::thread::Builder::new().spawn(move || rest.finish(Err(error)));
        if let Err(error) = told {
            tracing::error!(%error, "nobody can be told that the raft log failed");
        }
    }
}

/// Closes the log when its last clone goes. Flushes do not count: the log's own thread, which ends
/// them, cannot end itself.
pub(super) struct Closer(pub(super) Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        let current = std::thread::current();
        if current.name() != Some(RAFT_LOG_THREAD) {
            return self.0.close();
        }
        // Dropped by somebody who was just told that a flush ended.
        let shared = Arc::clone(&self.0);
        let closing = std::thread::Builder::new().spawn(move || shared.close());
        if let Err(error) = closing {
            tracing::error!(%error, "the raft log cannot be closed");
        }
    }
}

/// What `raft-log` calls the thread that writes and syncs.
const RAFT_LOG_THREAD: &str = "chunked_wal_flush_worker";
