//! The file in each folder that says what the folder is, in which format.
//!
//! `FORMAT`: one line, `holdfast KIND VERSION`. A folder without it is ours only if it is empty.

use std::{fs, io::Write as _, path::Path};

use crate::error::OpenError;

/// What a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    Archives,
    Past,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Archives => "archive",
            Self::Past => "past",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Log => "a raft log",
            Self::Archives => "archives",
            Self::Past => "the past",
        }
    }
}

/// The newest format of every kind.
pub(crate) const VERSION: u32 = 1;
const FILE: &str = "FORMAT";

/// Creates `dir` with its marker, or checks the marker of one that exists.
pub(crate) fn ensure(dir: &Path, kind: Kind) -> Result<(), OpenError> {
    fs::create_dir_all(dir).map_err(|error| OpenError::io(dir, "created", error))?;
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(line) => check(dir, &path, kind, &line),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let foreign = fs::read_dir(dir)
                .map_err(|error| OpenError::io(dir, "read", error))?
                .flatten()
                .any(|entry| entry.file_name() != TEMPORARY);
            if foreign {
                return Err(OpenError::Foreign {
                    path: dir.to_owned(),
                    expected: kind.title(),
                });
            }
            write(dir, &path, kind)
        }
        Err(error) => Err(OpenError::io(&path, "read", error)),
    }
}

const TEMPORARY: &str = "FORMAT.new";

fn write(dir: &Path, path: &Path, kind: Kind) -> Result<(), OpenError> {
    let made = || {
        let temporary = dir.join(TEMPORARY);
        let mut file = fs::File::create(&temporary)?;
        writeln!(file, "holdfast {} {VERSION}", kind.name())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(dir)
    };
    made().map_err(|error| OpenError::io(path, "written", error))
}

fn check(dir: &Path, path: &Path, kind: Kind, line: &str) -> Result<(), OpenError> {
    let mut words = line.split_whitespace();
    let ours = words.next() == Some("holdfast") && words.next() == Some(kind.name());
    let version = words.next().and_then(|word| word.parse::<u32>().ok());
    match version {
        Some(found) if ours && found > VERSION => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            supported: VERSION,
        }),
        Some(_) if ours => Ok(()),
        _ => Err(OpenError::Foreign {
            path: dir.to_owned(),
            expected: kind.title(),
        }),
    }
}

/// Keeps other processes out of `dir` until it is dropped.
pub(crate) fn lock(dir: &Path) -> Result<Lock, OpenError> {
    let path = dir.join(FILE);
    let file = fs::File::open(&path).map_err(|error| OpenError::io(&path, "opened", error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: dir.to_owned(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(OpenError::io(&path, "locked", error)),
    }
}

/// A locked folder.
pub(crate) struct Lock(fs::File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being started may share the file for a moment.
        drop(self.0.unlock());
    }
}

/// Makes renames and removals in `dir` last.
pub(crate) fn sync_folder(dir: &Path) -> std::io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// The path as text, which `raft-log` wants.
pub(crate) fn text(dir: &Path) -> Result<&str, OpenError> {
    dir.to_str().ok_or_else(|| OpenError::Damaged {
        path: dir.to_owned(),
        why: "its name is not UTF-8".to_owned(),
        advice: "name a folder with a UTF-8 name",
    })
}
