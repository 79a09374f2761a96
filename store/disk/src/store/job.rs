//! Writing an archive beside the running state.

use std::{
    io::{self, Write},
    path::Path,
};

use bytes::Bytes;
use holdfast_core::{OlderValue, Retired, State};

use super::Store;
use crate::{
    archive::{ArchiveError, ArchiveFile, ArchiveWriter},
    past::{PastError, PastRow, PastStatus, keeper::Pin, walk::Walk},
};

/// An archive to be written: a clone of the state, and a promise that its past stays.
pub struct ArchiveJob {
    store: Store,
    state: State,
    index: u64,
    meta: Bytes,
    pin: Pin,
}

impl ArchiveJob {
    pub(super) fn new(store: Store, state: State, index: u64, meta: Bytes, pin: Pin) -> Self {
        Self {
            store,
            state,
            index,
            meta,
            pin,
        }
    }

    /// The state that it holds.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The last log index that it holds.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Writes it to somewhere else, as part of a backup. Blocks. The store's own archives stay as
    /// they are.
    pub fn write_to(self, to: &mut dyn Write) -> Result<(), ArchiveError> {
        if self.store.0.keeper.status() != PastStatus::Ready {
            return Err(ArchiveError::PastNotReady);
        }
        let path = Path::new("backup");
        self.write_into(to).map_err(|error| match error {
            WriteError::Io(error) => ArchiveError::io(path, "written", error),
            WriteError::Past(error) => ArchiveError::damaged(path, error.to_string()),
        })
    }

    /// Writes, syncs and publishes it. Blocks. On an error there is no archive, and the older ones
    /// are untouched.
    pub fn write(self) -> Result<ArchiveFile, ArchiveError> {
        let inner = &self.store.0;
        if inner.keeper.status() != PastStatus::Ready {
            return Err(ArchiveError::PastNotReady);
        }
        let mut temporary = inner.archives.temporary("archive")?;
        let path = temporary.path().to_owned();
        self.write_into(&mut temporary)
            .map_err(|error| match error {
                WriteError::Io(error) => ArchiveError::io(&path, "written", error),
                WriteError::Past(error) => ArchiveError::damaged(&path, error.to_string()),
            })?;
        // The past must outlive this process before the log that could rebuild it goes.
        inner
            .keeper
            .flush()
            .map_err(|_| ArchiveError::PastNotReady)?;
        let file = inner.archives.publish(temporary, self.index)?;
        *inner.newest.write() = Some(file.clone());
        let mut past = inner.past.lock();
        past.covered = past.covered.max(self.index);
        if let Err(error) = past.note(false) {
            tracing::warn!(%error, "the past is not marked; the next start may rebuild it");
        }
        drop(past);
        drop(self.pin);
        Ok(file)
    }

    fn write_into(&self, to: &mut dyn Write) -> Result<(), WriteError> {
        let head = archive_head(self.index, &self.meta);
        let mut writer = ArchiveWriter::begin(to, &head)?;
        // Row by row from within: from outside each would be handed on by all the kinds before its own.
        self.state.rows().enumerate().try_for_each(|(count, row)| {
            give_way(count);
            writer.row(&row)
        })?;
        let mut walk = Walk::default();
        for (count, older) in self.state.older_values().enumerate() {
            give_way(count);
            let OlderValue { id, digest, entry } = older;
            match entry {
                Some(entry) => {
                    // Only in memory now, but only in the past for whoever starts from this
                    // archive: so it goes into both.
                    let value = entry.value.clone();
                    let retired = Retired { id, value, digest };
                    writer.past(&PastRow::from(retired.clone()).encode())?;
                    self.store.0.keeper.keep(vec![retired]);
                }
                None => match self.store.0.keeper.next_row(&mut walk, &id, digest) {
                    Ok(row) => writer.past(&row)?,
                    // Lost already, and lost it stays; whoever asks for it is told.
                    Err(PastError::Missing) => {}
                    Err(error) => return Err(WriteError::Past(error)),
                },
            }
        }
        writer.finish()?;
        Ok(())
    }
}

/// What is written about an archive: the index of its last command, then what consensus says.
pub(crate) fn archive_head(index: u64, meta: &Bytes) -> Bytes {
    let mut head = Vec::with_capacity(8 + meta.len());
    head.extend_from_slice(&index.to_be_bytes());
    head.extend_from_slice(meta);
    head.into()
}

/// Lets those run that wait for a processor, every so many rows: they serve requests, which somebody waits
/// for, and nobody waits for an archive. Without this each of them waits, again and again, until the system
/// takes the processor away from here, which is a few milliseconds.
fn give_way(count: usize) {
    if count.is_multiple_of(ROWS_AT_ONCE) {
        std::thread::yield_now();
    }
}

/// Less than a fifth of a millisecond.
const ROWS_AT_ONCE: usize = 32;

enum WriteError {
    Io(io::Error),
    Past(PastError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
