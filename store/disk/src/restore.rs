//! An archive that comes from elsewhere, out of a backup: looked through, or made the first archive
//! of a folder.
//!
//! Both read it to its verified end. What is restored has no name before that: on an error nothing is
//! left that a store would load.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use bytes::{Buf as _, Bytes};
use holdfast_core::{State, StateHash};

use crate::{
    archive::{ArchiveError, ArchiveReader, ArchiveWriter, Archives, Item},
    past::PastRow,
    store::archive_head,
};

/// What an archive holds.
#[derive(Debug)]
pub struct Contents {
    /// Its whole state.
    pub state: State,
    /// The last log index in it.
    pub index: u64,
    /// Rows of the past.
    pub past_rows: u64,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The archive.
    pub path: PathBuf,
    /// The hash of the state that was read.
    pub read: StateHash,
    /// The hash of the state that was written.
    pub written: StateHash,
    /// Rows of the past.
    pub past_rows: u64,
}

/// Reads an archive to its end, and every row of it. `name` is what errors call it. Blocks.
pub fn check(name: &Path, from: impl Read + Send + 'static) -> Result<Contents, ArchiveError> {
    let mut archive = Opened::read(name, from)?;
    let mut past_rows = 0;
    while archive.next_past()?.is_some() {
        past_rows += 1;
    }
    Ok(Contents {
        state: archive.state,
        index: archive.index,
        past_rows,
    })
}

/// Makes an archive the first one of the folder `dir`, with another state and with what consensus is to
/// know of it. `change` gives both; on its error nothing is written. Blocks.
pub fn restore<E: From<ArchiveError>>(
    name: &Path,
    from: impl Read + Send + 'static,
    dir: &Path,
    change: impl FnOnce(State, u64) -> Result<(State, Bytes), E>,
) -> Result<Restored, E> {
    let mut archive = Opened::read(name, from)?;
    let read = archive.state.hash();
    let (state, meta) = change(archive.state.clone(), archive.index)?;
    let archives = Archives::open(dir).map_err(|error| ArchiveError::Damaged {
        path: dir.to_owned(),
        why: error.to_string(),
    })?;
    let mut temporary = archives.temporary("restored")?;
    let path = temporary.path().to_owned();
    let failed = |error| ArchiveError::io(&path, "written", error);
    let head = archive_head(archive.index, &meta);
    let mut writer = ArchiveWriter::begin(&mut temporary, &head).map_err(failed)?;
    for row in state.rows() {
        writer.row(&row).map_err(failed)?;
    }
    let mut past_rows = 0;
    while let Some(row) = archive.next_past()? {
        writer.past(&row.encode()).map_err(failed)?;
        past_rows += 1;
    }
    writer.finish().map_err(failed)?;
    let file = archives.publish(temporary, archive.index)?;
    Ok(Restored {
        path: file.path,
        read,
        written: state.hash(),
        past_rows,
    })
}

/// An archive whose state was read and whose past was not yet.
struct Opened {
    name: PathBuf,
    reader: ArchiveReader,
    state: State,
    index: u64,
    /// The first of the past, which told that the state was whole.
    first: Option<PastRow>,
}

impl Opened {
    fn read(name: &Path, from: impl Read + Send + 'static) -> Result<Self, ArchiveError> {
        let mut reader = ArchiveReader::read(name, from)?;
        let mut meta = reader.meta();
        if meta.len() < 8 {
            return Err(ArchiveError::damaged(name, "its description is cut off"));
        }
        let index = meta.get_u64();
        let (mut first, mut fault) = (None, None);
        let state = State::from_rows(std::iter::from_fn(|| match reader.next() {
            Ok(Some(Item::Row(row))) => Some(row),
            Ok(Some(Item::Past(row))) => {
                first = Some(row);
                None
            }
            Ok(None) => None,
            Err(error) => {
                fault = Some(error);
                None
            }
        }));
        if let Some(error) = fault {
            return Err(error);
        }
        let state = state.map_err(|error| ArchiveError::damaged(name, error.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            reader,
            state,
            index,
            first,
        })
    }

    fn next_past(&mut self) -> Result<Option<PastRow>, ArchiveError> {
        if let Some(row) = self.first.take() {
            return Ok(Some(row));
        }
        match self.reader.next()? {
            Some(Item::Past(row)) => Ok(Some(row)),
            Some(Item::Row(_)) => Err(ArchiveError::damaged(
                &self.name,
                "a row of the state comes after the past",
            )),
            None => Ok(None),
        }
    }
}
