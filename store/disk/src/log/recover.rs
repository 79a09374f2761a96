//! What a power cut may leave at the end of the log, told apart from damage.
//!
//! One flush is in flight at a time, and each ends with a [`Mark`] that says how far the flushes
//! before it got. So a record that does not check is either part of the last flush, which nobody
//! was told of: it is cut off. Or a mark behind it says that it was on disk once: then something
//! damaged it, and the log is refused.
//!
//! `raft-log` could cut off incomplete records by itself. It takes a damaged length for the end of
//! the file, though, and would drop acknowledged entries, so it is not asked to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use raft_log::{RaftLogAction, RaftWalTypes, WALRecord, codeq::Decode as _};

use super::types::Rows;
use crate::{error::OpenError, marker};

/// What every checkpoint begins with: its record type and the version of its body.
const CHECKPOINT: [u8; 5] = [0, 0, 0, 5, 1];

/// A file of the log and where in the log it begins.
struct LogFile {
    path: PathBuf,
    start: u64,
}

/// Cuts off what the last flush left behind, and makes the rest last. Gives where the log ends.
pub(super) fn recover(dir: &Path) -> Result<u64, OpenError> {
    let mut files = files(dir).map_err(|error| OpenError::io(dir, "read", error))?;
    while let Some(last) = files.last() {
        let whole = whole_bytes(last)?;
        if whole > 0 {
            let end = last.start + whole;
            finish_purge(dir, &files)?;
            return Ok(end);
        }
        // The next file of the log was made, but nothing of it was written yet.
        remove(dir, last)?;
        files.pop();
    }
    Ok(0)
}

/// A purge removes files; a power cut may leave some of them, with a gap behind. What is before a
/// gap goes too if the log says that it was purged. Otherwise it stays, and the log is refused.
fn finish_purge(dir: &Path, files: &[LogFile]) -> Result<(), OpenError> {
    let gap = files.windows(2).rposition(|pair| {
        let length = fs::metadata(&pair[0].path).map_or(0, |metadata| metadata.len());
        pair[0].start + length != pair[1].start
    });
    let Some(gap) = gap else { return Ok(()) };
    let (before, behind) = files.split_at(gap + 1);
    // Where the last entry before the gap was, and up to where everything is purged.
    let mut last = None;
    let mut purged = None;
    for file in behind {
        let read = |error| OpenError::io(&file.path, "read", error);
        let opened = File::open(&file.path).map_err(read)?;
        let mut from = BufReader::with_capacity(256 * 1024, opened);
        while let Ok(record) = WALRecord::<RaftWalTypes<Rows>>::decode(&mut from) {
            match record {
                WALRecord::Checkpoint(state) => {
                    last.get_or_insert(state.last().copied());
                    purged = purged.max(state.purged().copied());
                }
                WALRecord::Action(RaftLogAction::PurgeUpto(upto)) => {
                    purged = purged.max(Some(upto))
                }
                WALRecord::Action(_) => {}
            }
        }
    }
    if last.is_some_and(|last| last <= purged) {
        for file in before {
            remove(dir, file)?;
        }
    }
    Ok(())
}

fn remove(dir: &Path, file: &LogFile) -> Result<(), OpenError> {
    let removed = fs::remove_file(&file.path).and_then(|()| marker::sync_folder(dir));
    removed.map_err(|error| OpenError::io(&file.path, "removed", error))
}

/// Where the oldest file of the log begins; 0 if there is none.
pub(super) fn start(dir: &Path) -> Result<u64, OpenError> {
    let files = files(dir).map_err(|error| OpenError::io(dir, "read", error))?;
    Ok(files.first().map_or(0, |file| file.start))
}

fn files(dir: &Path) -> io::Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let parsed = name.to_str().and_then(raft_log_file);
        if let Some(start) = parsed {
            let path = entry.path();
            files.push(LogFile { path, start });
        }
    }
    files.sort_by_key(|file| file.start);
    Ok(files)
}

/// `r-00_000_000_000_000_000_042.wal` begins at byte 42 of the log.
fn raft_log_file(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("r-")?.strip_suffix(".wal")?;
    digits.replace('_', "").parse().ok()
}

/// How much of the last file is whole, after cutting off the rest.
fn whole_bytes(last: &LogFile) -> Result<u64, OpenError> {
    let read = |error| OpenError::io(&last.path, "read", error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&last.path)
        .map_err(read)?;
    let length = file.metadata().map_err(read)?.len();
    let whole = checked_bytes(&mut file, length).map_err(read)?;
    if whole < length {
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(whole)).map_err(read)?;
        file.read_to_end(&mut rest).map_err(read)?;
        if was_synced(&rest, last.start + whole) {
            let why = format!("the record at byte {whole} does not check");
            return Err(OpenError::damaged(&last.path, why));
        }
        // Zeros are room for records, which a process that was killed could not cut off.
        if rest.iter().any(|byte| *byte != 0) {
            tracing::info!(
                file = %last.path.display(), bytes = length - whole,
                "an unfinished write at the end of the log is cut off; nobody was told that it was done"
            );
        }
        file.set_len(whole)
            .map_err(|error| OpenError::io(&last.path, "cut", error))?;
    }
    // What a killed process left in the kernel's cache is read now, so it must last from now on.
    file.sync_all()
        .map_err(|error| OpenError::io(&last.path, "synced", error))?;
    Ok(whole)
}

/// Length of the run of records that check.
fn checked_bytes(file: &mut File, length: u64) -> io::Result<u64> {
    let mut from = Counted {
        from: BufReader::with_capacity(256 * 1024, file),
        bytes: 0,
        fault: None,
    };
    let mut whole = 0;
    while whole < length {
        match WALRecord::<RaftWalTypes<Rows>>::decode(&mut from) {
            Ok(_) => whole = from.bytes,
            Err(_) => match from.fault.take() {
                Some(fault) => return Err(fault),
                None => break,
            },
        }
    }
    Ok(whole)
}

/// Whether a mark in `rest` says that byte `at` of the log, where `rest` begins, was synced.
fn was_synced(rest: &[u8], at: u64) -> bool {
    (0..rest.len())
        .filter(|&offset| rest[offset..].starts_with(&CHECKPOINT))
        .any(|offset| {
            let record = WALRecord::<RaftWalTypes<Rows>>::decode(&rest[offset..]);
            let Ok(WALRecord::Checkpoint(state)) = record else {
                return false;
            };
            // A mark knows its own place: a copy of one inside somebody's value is none.
            state
                .user_data
                .is_some_and(|mark| mark.at == at + offset as u64 && mark.synced > at)
        })
}

/// Counts what is read, and keeps errors of the disk apart from records that do not check.
struct Counted<R> {
    from: R,
    bytes: u64,
    fault: Option<io::Error>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = match self.from.read(to) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let same = io::Error::new(error.kind(), error.to_string());
                self.fault = Some(error);
                return Err(same);
            }
        };
        self.bytes += read as u64;
        Ok(read)
    }
}
