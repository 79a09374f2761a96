//! The raft log: votes, entries and the purge mark, over the `raft-log` crate.
//!
//! Invariants: (1) what was appended is readable at once, and acknowledged only after an
//! `fdatasync`; (2) one flush is in flight at a time, and all that is appended meanwhile shares the
//! next one; (3) the first error of a write or a sync is the last thing the log does: what is on
//! disk is not known any more, so nothing is acknowledged after it; (4) every [`Done`] is called
//! exactly once.

mod flush;
mod types;

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use parking_lot::Mutex;
use raft_log::{Config, RaftLog, api::raft_log_writer::RaftLogWriter as _, chunked_wal};

pub use self::types::{LogPosition, LogRow};
use self::{
    flush::Flush,
    types::{Payload, Rows, Vote},
};
use crate::{
    error::OpenError,
    marker::{self, Kind},
};

/// Called exactly once, after the sync or with why there was none. Runs on the log's own thread:
/// it must not block.
pub type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Entries kept in memory for replication, bytes. Default 8 MiB; costs that much memory.
    pub cache_bytes: usize,
    /// Size at which a new file is begun, bytes. Default 32 MiB; a purge frees whole files only.
    pub file_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 8 * 1024 * 1024,
            file_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Why the log did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A write or a sync failed, now or before. What is on disk is unknown: the node must stop.
    #[error("the raft log failed ({why}); what is on disk is not known, so this node must stop")]
    Failed {
        /// What the system said.
        why: String,
    },
    /// An entry could not be read back.
    #[error("entries {from}.. of the raft log cannot be read ({why})")]
    Read {
        /// The first that was asked for.
        from: u64,
        /// What the system said.
        why: String,
    },
    /// Consensus asked for what a log cannot do. Nothing was changed.
    #[error("the raft log refused: {why}")]
    Refused {
        /// What was wrong with it.
        why: String,
    },
}

impl LogError {
    fn failed(error: &io::Error) -> Self {
        Self::Failed {
            why: error.to_string(),
        }
    }
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The vote, as it was saved.
    pub vote: Option<Bytes>,
    /// The last entry, or the purge mark where there is none behind it.
    pub last: Option<LogPosition>,
    /// Everything up to and with this is gone.
    pub purged: Option<LogPosition>,
    /// Known to be committed. Not synced of its own: it may be older than the truth.
    pub committed: Option<LogPosition>,
}

/// The log; clones share it.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

/// Locks are taken in the order of the fields.
struct Shared {
    dir: PathBuf,
    log: Mutex<RaftLog<Rows>>,
    queue: Mutex<Queue>,
    failed: OnceLock<String>,
}

/// Who waits for the next flush.
#[derive(Default)]
struct Queue {
    waiting: Vec<Done>,
    in_flight: bool,
}

impl Log {
    /// Opens or creates the log in `DIR/log`. An entry that was cut off while being written, and
    /// so was never acknowledged, is dropped; anything else that does not check is refused.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, OpenError> {
        let dir = dir.join("log");
        marker::ensure(&dir, Kind::Log)?;
        let config = Config {
            wal: chunked_wal::Config {
                chunk_max_size: Some(options.file_bytes),
                read_buffer_size: Some(1024 * 1024),
                truncate_incomplete_record: Some(true),
                flush_batch_wait: Some(std::time::Duration::ZERO),
                // The flush thread starts flushes itself, so it must never wait for room.
                flush_queue_max_bytes: Some(usize::MAX / 2),
                ..chunked_wal::Config::new(marker::text(&dir)?)
            },
            log_cache_capacity: Some(options.cache_bytes),
            ..Config::default()
        };
        let opened = std::panic::catch_unwind(|| RaftLog::open(Arc::new(config)));
        let log = match opened {
            Ok(Ok(log)) => log,
            Ok(Err(error)) => return Err(OpenError::damaged_log(&dir, &error.to_string())),
            Err(_) => return Err(OpenError::damaged_log(&dir, "reading it panicked")),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                dir,
                log: Mutex::new(log),
                queue: Mutex::default(),
                failed: OnceLock::new(),
            }),
        })
    }

    /// What it holds now, whether synced or not.
    pub fn state(&self) -> LogState {
        let log = self.shared.log.lock();
        let state = log.log_state();
        LogState {
            vote: state.vote().map(|vote| vote.0.0.clone()),
            last: state.last().copied(),
            purged: state.purged().copied(),
            committed: state.committed().copied(),
        }
    }

    /// Saves a vote.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.write(done, |log| log.save_vote(Vote(Payload(vote))).map(drop));
    }

    /// Appends entries, readable when this returns.
    pub fn append(&self, rows: Vec<LogRow>, done: Done) {
        self.write(done, |log| {
            let rows = rows
                .into_iter()
                .map(|row| (row.position, Payload(row.payload)));
            log.append(rows).map(drop)
        });
    }

    /// Drops every entry behind `last`; `None`: all of them. Synced before it returns.
    pub fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), LogError> {
        let purged = self.state().purged;
        if last < purged {
            let why = format!("entries up to {purged:?} are purged, so none can go before them");
            return Err(LogError::Refused { why });
        }
        let from = last.map_or(0, |last| last.index + 1);
        self.write_and_wait(|log| log.truncate(from).map(drop))
    }

    /// Forgets every entry up to and with `upto`. Synced before it returns; the space is freed by
    /// whole files.
    pub fn purge(&self, upto: LogPosition) -> Result<(), LogError> {
        self.write_and_wait(|log| log.purge(upto).map(drop))
    }

    /// Notes what is known to be committed, with whatever is synced next.
    pub fn save_committed(&self, committed: Option<LogPosition>) -> Result<(), LogError> {
        self.check()?;
        let mut log = self.shared.log.lock();
        let state = log.log_state();
        // Never beyond the last entry: after a snapshot the log may hold less than is committed.
        let committed = committed.min(state.last().copied());
        match committed {
            Some(position) if committed > state.committed().copied() => log
                .commit(position)
                .map(drop)
                .map_err(|error| refused(&error)),
            _ => Ok(()),
        }
    }

    /// Entries of `range`, from its start on, up to about `max_bytes` but at least one.
    pub fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<LogRow>, LogError> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let log = self.shared.log.lock();
        for row in log.read(range.start, range.end) {
            let (position, Payload(payload)) = row.map_err(|error| LogError::Read {
                from: range.start,
                why: error.to_string(),
            })?;
            bytes += payload.len();
            rows.push(LogRow { position, payload });
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(rows)
    }

    /// Size of its files, bytes.
    pub fn bytes(&self) -> u64 {
        self.shared.log.lock().on_disk_size()
    }

    /// Why it stopped working, if it did.
    pub fn failed(&self) -> Option<String> {
        self.shared.failed.get().cloned()
    }

    fn check(&self) -> Result<(), LogError> {
        match self.failed() {
            Some(why) => Err(LogError::Failed { why }),
            None => Ok(()),
        }
    }

    fn write(&self, done: Done, change: impl FnOnce(&mut RaftLog<Rows>) -> io::Result<()>) {
        if let Err(error) = self.check() {
            return done(Err(error));
        }
        let mut log = self.shared.log.lock();
        if let Err(error) = change(&mut log) {
            // Half of it may be in the buffer: nothing after it can be trusted.
            self.shared.fail(error.to_string());
            drop(log);
            return done(Err(LogError::failed(&error)));
        }
        // Queued before the lock goes, so that callbacks come in the order of the writes.
        self.shared.queue.lock().waiting.push(done);
        drop(log);
        self.shared.flush();
    }

    fn write_and_wait(
        &self,
        change: impl FnOnce(&mut RaftLog<Rows>) -> io::Result<()>,
    ) -> Result<(), LogError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.write(Box::new(move |outcome| drop(sender.send(outcome))), change);
        receiver.recv().unwrap_or_else(|_| {
            Err(LogError::Failed {
                why: "the log's writer is gone".to_owned(),
            })
        })
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({})", self.shared.dir.display())
    }
}

impl Shared {
    fn fail(&self, why: String) {
        if self.failed.set(why).is_ok() {
            tracing::error!(
                dir = %self.dir.display(),
                why = self.failed.get().map(String::as_str),
                "the raft log failed; nothing more is acknowledged"
            );
        }
    }

    /// Starts a flush unless one is in flight or nobody waits.
    fn flush(self: &Arc<Self>) {
        let waiting = {
            let mut queue = self.queue.lock();
            if queue.in_flight || queue.waiting.is_empty() {
                return;
            }
            queue.in_flight = true;
            std::mem::take(&mut queue.waiting)
        };
        let flush = Flush::new(Arc::clone(self), waiting);
        let outcome = self.log.lock().flush(true, Some(flush));
        if let Err(error) = outcome {
            self.fail(error.to_string());
        }
    }

    /// A flush ended: the next one begins, or after a failure everybody is told.
    fn flushed(self: &Arc<Self>) {
        self.queue.lock().in_flight = false;
        let Some(why) = self.failed.get() else {
            return self.flush();
        };
        let waiting = std::mem::take(&mut self.queue.lock().waiting);
        for done in waiting {
            done(Err(LogError::Failed { why: why.clone() }));
        }
    }
}

fn refused(error: &io::Error) -> LogError {
    LogError::Refused {
        why: error.to_string(),
    }
}
