//! The raft log: votes, entries and the purge mark, over the `raft-log` crate.
//!
//! Invariants: (1) what was appended is readable at once, and acknowledged only after an
//! `fdatasync`; (2) one flush is in flight at a time, and all that is appended meanwhile shares the
//! next one; (3) the first error of a write or a sync is the last thing the log does: what is on
//! disk is not known any more, so nothing is acknowledged after it; (4) every [`Done`] is called
//! exactly once.

mod flush;
mod recover;
mod space;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
mod types;

use std::{fmt, io, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use raft_log::{Config, RaftLog, Segment, api::raft_log_writer::RaftLogWriter as _, chunked_wal};

pub use self::types::{LogPosition, LogRow};
use self::{
    flush::{Closer, Shared, Writer},
    space::Reserve,
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
    /// Size at which a new file is begun, bytes. Default 16 MiB; a purge frees whole files only, and
    /// the newest file's entries stay in memory whatever the cache's size.
    pub file_bytes: usize,
    /// Room that appends leave on the disk, bytes; past it they are refused. Default 2 MiB; 0: none.
    pub reserve_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 8 * 1024 * 1024,
            file_bytes: 16 * 1024 * 1024,
            reserve_bytes: 2 * 1024 * 1024,
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
    /// The disk is full. Nothing was written, and the log goes on as soon as there is room.
    #[error(
        "the disk is full: {free} bytes are free and {reserve} are kept in reserve; make room and try again"
    )]
    Full {
        /// What is free, bytes.
        free: u64,
        /// What is kept in reserve, bytes.
        reserve: u64,
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

/// The log; clones share it, and the last one closes it.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

/// A flush that begins when this is dropped, at the latest.
#[must_use = "dropped, it begins at once"]
pub struct Later(Arc<Shared>);

impl Drop for Later {
    fn drop(&mut self) {
        self.0.flush();
    }
}

impl Log {
    /// Opens or creates the log in `DIR/log`. What a power cut left of the last flush, of which
    /// nobody was told that it was done, is cut off; anything else that does not check is refused.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, OpenError> {
        let dir = dir.join("log");
        marker::ensure(&dir, Kind::Log)?;
        let lock = marker::lock(&dir)?;
        let synced = recover::recover(&dir)?;
        let config = Config {
            wal: chunked_wal::Config {
                chunk_max_size: Some(options.file_bytes),
                read_buffer_size: Some(1024 * 1024),
                truncate_incomplete_record: Some(false),
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
            Ok(Err(error)) => return Err(OpenError::damaged(&dir, error.to_string())),
            Err(_) => return Err(OpenError::damaged(&dir, "reading it panicked")),
        };
        check_beginning(&dir, &log)?;
        let reserve = Reserve::new(dir.clone(), options.reserve_bytes);
        let shared = Arc::new(Shared::new(dir, reserve, Writer::new(log, lock), synced));
        let closer = Arc::new(Closer(Arc::clone(&shared)));
        Ok(Self {
            shared,
            _closer: closer,
        })
    }

    /// What it holds now, whether synced or not.
    pub fn state(&self) -> LogState {
        self.look(|log| {
            let state = log.log_state();
            LogState {
                vote: state.vote().map(|vote| vote.0.0.clone()),
                last: state.last().copied(),
                purged: state.purged().copied(),
                committed: state.committed().copied(),
            }
        })
        .unwrap_or_default()
    }

    /// Saves a vote. It is small, so a full disk does not keep it out.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.write(done, |log| log.save_vote(Vote(Payload(vote))));
    }

    /// Appends entries, readable when this returns.
    pub fn append(&self, rows: Vec<LogRow>, done: Done) {
        drop(self.append_later(rows, done));
    }

    /// As [`Log::append`], but the flush waits until what is returned is dropped, or something else
    /// needs one.
    pub fn append_later(&self, rows: Vec<LogRow>, done: Done) -> Later {
        let bytes: usize = rows.iter().map(|row| row.payload.len() + ROW_BYTES).sum();
        match self.shared.reserve.take(bytes as u64) {
            Ok(()) => self.write_later(done, |log| {
                let rows = rows
                    .into_iter()
                    .map(|row| (row.position, Payload(row.payload)));
                log.append(rows)
            }),
            Err(full) => done(Err(full)),
        }
        Later(Arc::clone(&self.shared))
    }

    /// Drops every entry behind `last`; `None`: all of them. Synced before it returns.
    pub fn truncate_after(&self, last: Option<LogPosition>) -> Result<(), LogError> {
        let purged = self.state().purged;
        if last < purged {
            let why = format!("entries up to {purged:?} are purged, so none can go before them");
            return Err(LogError::Refused { why });
        }
        let from = last.map_or(0, |last| last.index + 1);
        self.write_and_wait(|log| log.truncate(from))
    }

    /// Forgets every entry up to and with `upto`. Synced before it returns; the space is freed by
    /// whole files.
    pub fn purge(&self, upto: LogPosition) -> Result<(), LogError> {
        self.write_and_wait(|log| log.purge(upto))
    }

    /// Notes what is known to be committed, with whatever is synced next.
    pub fn save_committed(&self, committed: Option<LogPosition>) -> Result<(), LogError> {
        if let Some(error) = self.shared.failed() {
            return Err(error);
        }
        let mut writer = self.shared.writer.lock();
        let Some(writer) = writer.as_mut() else {
            return Ok(());
        };
        let state = writer.log.log_state();
        // Never beyond the last entry: after a snapshot the log may hold less than is committed.
        let committed = committed.min(state.last().copied());
        match committed {
            Some(position) if committed > state.committed().copied() => {
                let changed = writer.change(|log| log.commit(position));
                changed.map_err(|error| LogError::Refused {
                    why: error.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Entries of `range`, from its start on, up to about `max_bytes` but at least one.
    pub fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<LogRow>, LogError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let from = range.start;
        let read = self.look(|log| {
            let mut rows = Vec::new();
            let mut bytes = 0;
            for row in log.read(range.start, range.end) {
                let (position, Payload(payload)) = row?;
                bytes += payload.len();
                rows.push(LogRow { position, payload });
                if bytes >= max_bytes {
                    break;
                }
            }
            Ok(rows)
        });
        read.unwrap_or_else(|| Err(io::Error::other("the log is closed")))
            .map_err(|error| LogError::Read {
                from,
                why: error.to_string(),
            })
    }

    /// Size of its files, bytes.
    pub fn bytes(&self) -> u64 {
        self.look(RaftLog::on_disk_size).unwrap_or_default()
    }

    /// Why it stopped working, if it did.
    pub fn failed(&self) -> Option<String> {
        self.shared.why().map(str::to_owned)
    }

    fn look<R>(&self, look: impl FnOnce(&RaftLog<Rows>) -> R) -> Option<R> {
        self.shared
            .writer
            .lock()
            .as_ref()
            .map(|writer| look(&writer.log))
    }

    fn write(&self, done: Done, change: impl FnOnce(&mut RaftLog<Rows>) -> io::Result<Segment>) {
        self.write_later(done, change);
        self.shared.flush();
    }

    /// Changes the log, and puts `done` in line for the next flush.
    fn write_later(
        &self,
        done: Done,
        change: impl FnOnce(&mut RaftLog<Rows>) -> io::Result<Segment>,
    ) {
        if let Some(error) = self.shared.failed() {
            return done(Err(error));
        }
        let mut writer = self.shared.writer.lock();
        let changed = match writer.as_mut() {
            Some(writer) => writer.change(change),
            None => Err(io::Error::other("the log is closed")),
        };
        if let Err(error) = changed {
            drop(writer);
            // Half of it may be in the buffer: nothing after it can be trusted.
            return done(Err(self.shared.fail(&error.to_string())));
        }
        #[cfg(feature = "faults")]
        if crate::faults::acknowledges_before_sync() {
            drop(writer);
            done(Ok(()));
            let shared = Arc::clone(&self.shared);
            return crate::faults::later(move || {
                shared.wait(Box::new(drop));
                shared.flush();
            });
        }
        // In line before the lock goes, so that callbacks come in the order of the writes.
        self.shared.wait(done);
    }

    fn write_and_wait(
        &self,
        change: impl FnOnce(&mut RaftLog<Rows>) -> io::Result<Segment>,
    ) -> Result<(), LogError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.write(Box::new(move |outcome| drop(sender.send(outcome))), change);
        receiver.recv().unwrap_or_else(|_| {
            let why = "the log's writer is gone".to_owned();
            Err(LogError::Failed { why })
        })
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({})", self.shared.dir.display())
    }
}

/// A record's own bytes beside its payload.
const ROW_BYTES: usize = 44;

/// The files chain up from the first that is there; whether that is the first, the purge mark says.
fn check_beginning(dir: &Path, log: &RaftLog<Rows>) -> Result<(), OpenError> {
    let state = log.log_state();
    let whole = match (state.purged(), state.last()) {
        (None, _) => recover::start(dir)? == 0,
        (Some(purged), Some(last)) if purged < last => {
            let next = log.read(purged.index + 1, purged.index + 2).next();
            matches!(next, Some(Ok(_)))
        }
        (Some(_), _) => true,
    };
    if whole {
        return Ok(());
    }
    Err(OpenError::damaged(dir, "its first files are missing"))
}
