//! Writing an archive beside the running state.

use std::{
    io::{self, Write},
    path::Path,
};

use bytes::Bytes;
use holdfast_core::{Digest, Located, Retired, State, VersionId};
use holdfast_proto::{
    Key, Revision,
    log::v1::{StateRow, state_row::Row},
};

use super::Store;
use crate::{
    archive::{ArchiveError, ArchiveFile, ArchiveWriter},
    past::{PastError, PastRow, PastStatus, keeper::Pin},
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
        for row in self.state.rows() {
            writer.row(&row)?;
        }
        for (id, digest) in self.state.rows().filter_map(older_value) {
            match self.state.locate(&id) {
                Some(Located::Here(entry)) => {
                    // Only in memory now, but only in the past for whoever starts from this
                    // archive: so it goes into both.
                    let (value, digest) = (entry.value.clone(), entry.digest);
                    let retired = Retired { id, value, digest };
                    writer.past(&PastRow::from(retired.clone()))?;
                    self.store.0.keeper.keep(vec![retired]);
                }
                Some(Located::Past(id)) => match self.store.0.keeper.row(&id, digest) {
                    Ok(row) => writer.past(&row)?,
                    // Lost already, and lost it stays; whoever asks for it is told.
                    Err(PastError::Missing) => {}
                    Err(error) => return Err(WriteError::Past(error)),
                },
                None => {}
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

/// The version that a row is about, if it has a value.
fn older_value(row: StateRow) -> Option<(VersionId, Digest)> {
    match row.row? {
        Row::Version(version) if !version.kind.is_empty() => {
            let digest = Digest::from_bytes(version.digest[..].try_into().ok()?);
            let key = Key::new(version.key).ok()?;
            let revision = Revision::new(version.revision)?;
            Some((VersionId { key, revision }, digest))
        }
        _ => None,
    }
}

enum WriteError {
    Io(io::Error),
    Past(PastError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
