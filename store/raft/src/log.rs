//! The raft log as consensus sees it, over the log on disk.
//!
//! Two promises that the core builds on: an entry is readable when `append` returns, and its
//! callback is completed after the sync, exactly once, even if the disk layer forgets it
//! (a callback that is merely dropped would stall the core for good).

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
};

use bytes::Bytes;
use futures::{Stream, stream};
use holdfast_core::Context;
use holdfast_disk::{Log, LogError, LogRow, ReplayedCommands};
use holdfast_proto::log::v1 as wire;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use prost::Message as _;
use tokio::sync::oneshot;

use crate::{
    record::{entry_of_row, log_id_at, position, row_payload, vote_of_wire, vote_to_wire},
    types::{Entry, IoFlushed, LogId, LogState, Payload, Types, Vote, index_of},
};

/// Entries read at one go while catching up or replicating, bytes. Small enough to be sent as one
/// message, large enough to fill a network.
const READ_BYTES: usize = 1024 * 1024;

/// The log; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Log,
}

impl LogStore {
    pub(crate) fn new(log: Log) -> Self {
        Self { log }
    }

    fn entries(&self, range: Range<u64>, bytes: usize) -> Result<Vec<Entry>, io::Error> {
        let rows = self.log.read(range, bytes).map_err(io::Error::other)?;
        rows.iter()
            .map(|row| entry_of_row(row.position, &row.payload).map_err(io::Error::from))
            .collect()
    }

    /// The commands at indexes of `range`, piece by piece.
    pub(crate) fn commands(&self, range: Range<u64>) -> ReplayedCommands {
        let log = self.clone();
        let mut next = range.start;
        let pieces = std::iter::from_fn(move || {
            let piece = (next < range.end).then(|| log.piece(next..range.end))?;
            next = match &piece {
                Ok((_, end)) => *end,
                Err(_) => range.end,
            };
            Some(match piece {
                Ok((commands, _)) => commands.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error.to_string())],
            })
        });
        Box::new(pieces.flatten())
    }

    /// The commands of the first entries of `range`, and the index behind them.
    fn piece(&self, range: Range<u64>) -> Result<(Vec<(Context, Bytes)>, u64), io::Error> {
        let start = range.start;
        let entries = self.entries(range, READ_BYTES)?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(io::Error::other(format!("the log has no entry {start}")));
        };
        if first.log_id.index != start {
            return Err(io::Error::other(format!(
                "entry {start} is gone from the log"
            )));
        }
        let end = last.log_id.index + 1;
        let mut commands = Vec::with_capacity(entries.len());
        for entry in &entries {
            if let Payload::Normal(record) = &entry.payload {
                commands.push(record.command(&entry.log_id)?);
            }
        }
        Ok((commands, end))
    }

    /// The range, cut to what the log holds.
    fn clip(&self, range: impl RangeBounds<u64>) -> Range<u64> {
        let state = self.log.state();
        let first = state.purged.map_or(0, |id| id.index + 1);
        let end = state.last.map_or(first, |id| id.index + 1);
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        from.max(first)..to.min(end)
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut range = self.clip(range);
        let mut entries = Vec::new();
        while range.start < range.end {
            let read = self.entries(range.clone(), READ_BYTES)?;
            let Some(last) = read.last() else {
                return Err(io::Error::other(format!(
                    "the log has no entry {}, which it should hold",
                    range.start
                )));
            };
            range.start = last.log_id.index + 1;
            entries.extend(read);
        }
        Ok(entries)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        // A restart applies a whole log: read it piece by piece.
        let (log, mut range) = (self.clone(), self.clip(range));
        let mut read = Vec::new().into_iter();
        stream::iter(std::iter::from_fn(move || {
            if let Some(entry) = read.next() {
                return Some(Ok(entry));
            }
            if range.start >= range.end {
                return None;
            }
            let entries = match log.entries(range.clone(), READ_BYTES) {
                Ok(entries) if !entries.is_empty() => entries,
                Ok(_) => {
                    let gap = io::Error::other(format!("the log has no entry {}", range.start));
                    range.start = range.end;
                    return Some(Err(gap));
                }
                Err(error) => {
                    range.start = range.end;
                    return Some(Err(error));
                }
            };
            range.start += entries.len() as u64;
            read = entries.into_iter();
            read.next().map(Ok)
        }))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.entries(start..end, READ_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let Some(vote) = self.log.state().vote else {
            return Ok(None);
        };
        let vote = wire::Vote::decode(vote).map_err(io::Error::other)?;
        Ok(Some(vote_of_wire(Some(vote))?))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState, io::Error> {
        let state = self.log.state();
        let purged = state.purged.as_ref().map(log_id_at);
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: state.last.as_ref().map(log_id_at).max(purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, saved) = oneshot::channel();
        let vote: Bytes = vote_to_wire(vote).encode_to_vec().into();
        self.log
            .save_vote(vote, Box::new(|outcome| drop(done.send(outcome))));
        match saved.await {
            Ok(outcome) => outcome.map_err(io::Error::other),
            Err(_) => Err(forgotten()),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.log
            .save_committed(committed.as_ref().map(position))
            .map_err(io::Error::other)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.log.state().committed.as_ref().map(log_id_at))
    }

    async fn append<I>(&mut self, entries: I, callback: IoFlushed) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let rows: Vec<_> = entries
            .into_iter()
            .map(|entry| LogRow {
                position: position(&entry.log_id),
                payload: row_payload(&entry.payload),
            })
            .collect();
        let is_alone = rows.len() == 1;
        let flushed = Flushed(Some(callback));
        let done = Box::new(move |outcome| flushed.complete(outcome));
        let flush = self.log.append_later(rows, done);
        if is_alone {
            drop(flush);
        } else {
            // A flush wakes the log's thread, which on a busy machine pushes this one aside. First
            // whatever else is ready has its turn: a leader's entries go to its followers. With a lone
            // entry the machine is not that busy.
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                drop(flush);
            });
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        // The disk's log takes a cut behind its end for a mistake.
        let end = self.log.state().last.map(|end| end.index);
        if end <= index_of(&last) {
            return Ok(());
        }
        self.log
            .truncate_after(last.as_ref().map(position))
            .map_err(io::Error::other)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.log.purge(position(&upto)).map_err(io::Error::other)
    }
}

/// Completes the core's callback however it ends.
struct Flushed(Option<IoFlushed>);

impl Flushed {
    fn complete(mut self, outcome: Result<(), LogError>) {
        if let Some(callback) = self.0.take() {
            callback.io_completed(outcome.map_err(io::Error::other));
        }
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback.io_completed(Err(forgotten()));
        }
    }
}

fn forgotten() -> io::Error {
    io::Error::other("the log never said whether the write reached the disk")
}

#[cfg(test)]
mod tests {
    use holdfast_disk::LogOptions;
    use openraft::type_config::TypeConfigExt as _;

    use super::*;
    use crate::{record::Record, types::log_id};

    #[tokio::test]
    async fn a_forgotten_callback_is_a_failed_write() {
        let (done, outcome) = Types::oneshot();
        drop(Flushed(Some(IoFlushed::signal(done))));
        assert!(outcome.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_callback_is_completed_once() {
        let (done, outcome) = Types::oneshot();
        Flushed(Some(IoFlushed::signal(done))).complete(Ok(()));
        assert!(outcome.await.unwrap().is_ok());
    }

    fn entry(index: u64) -> Entry {
        let command = Bytes::from(format!("command {index}"));
        let payload = match index {
            0 => Payload::Blank,
            _ => Payload::Normal(Record::stamp(1_000 * index, &command)),
        };
        let log_id = log_id(1, index);
        Entry { log_id, payload }
    }

    #[tokio::test]
    async fn commands_are_read_again_as_they_were_applied_or_it_is_said_that_they_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogStore::new(Log::open(dir.path(), LogOptions::default()).unwrap());
        let (done, flushed) = Types::oneshot();
        log.append((0..6).map(entry), IoFlushed::signal(done))
            .await
            .unwrap();
        flushed.await.unwrap().unwrap();
        let read = |range| -> Result<Vec<_>, String> { log.commands(range).collect() };
        let commands = read(0..4).unwrap();
        let found: Vec<_> = commands
            .iter()
            .map(|(context, command)| (context.index, context.at.as_millis(), &command[..]))
            .collect();
        assert_eq!(
            found,
            [
                (1, 1_000, &b"command 1"[..]),
                (2, 2_000, b"command 2"),
                (3, 3_000, b"command 3"),
            ]
        );
        assert!(read(4..9).is_err(), "the log ends at 5");
        log.clone().purge(log_id(1, 2)).await.unwrap();
        assert!(read(2..6).is_err(), "2 is gone");
        assert_eq!(read(3..6).unwrap().len(), 3);
    }
}
