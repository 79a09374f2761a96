//! Sets of files on the disk.
//!
//! A set is **wanted** (its contents, made of values), **staged** (written and synced beside what is
//! there), then **installed** (one rename). What is installed is **recorded**, before it happens and
//! after, so that whoever comes after a crash knows which hook is owed; and **inspected**, so that what
//! somebody changed is found.
//!
//! In a folder:
//!
//! ```text
//! FOLDER/000012-r345/…      a version: serial number and revision
//! FOLDER/current            a link to one of them
//! FOLDER/.new-000013/…      being written; never linked
//! ```

mod directory;
mod inspect;
mod owner;
mod record;
mod single;
mod versions;
mod wanted;

use std::path::{Path, PathBuf};

pub(crate) use self::{
    inspect::inspect,
    owner::Owner,
    record::{Installed, InstalledFile, Ran, Record, RecordFile, now_ms},
    wanted::{Wanted, WantedFile},
};
use crate::{
    diff::Present,
    settings::{Place, SetSettings},
};

/// Why a set cannot be installed, or looked at. What is there stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("{} could not be {action}: {source}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        source: std::io::Error,
    },
    /// Something is in the way.
    #[error("{} {why}", path.display())]
    InTheWay { path: PathBuf, why: &'static str },
}

/// A set that is written and not installed.
pub(crate) enum Staged {
    Version(versions::Staged),
    Single(single::Staged),
}

impl Staged {
    /// The folder it is in, for who wants to look at it.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Version(staged) => Some(staged.path()),
            Self::Single(_) => None,
        }
    }

    /// What will be recorded of it.
    pub(crate) fn version(&self) -> Option<&str> {
        match self {
            Self::Version(staged) => Some(staged.version()),
            Self::Single(_) => None,
        }
    }

    /// Puts it in place.
    pub(crate) fn install(self, keep: usize) -> Result<(), InstallError> {
        match self {
            Self::Version(staged) => staged.install(keep),
            Self::Single(staged) => staged.install(),
        }
    }

    /// Removes it.
    pub(crate) fn discard(self) -> Result<(), InstallError> {
        match self {
            Self::Version(staged) => staged.discard(),
            Self::Single(staged) => staged.discard(),
        }
    }
}

/// The next serial number: above the last one that is known, and above every version that is there, of
/// which a record that was lost knows nothing.
pub(crate) fn next_serial(settings: &SetSettings, last: u64) -> Result<u64, InstallError> {
    let newest = match settings.place() {
        Place::Folder(folder) => versions::newest(folder)?,
        Place::Single => 0,
    };
    Ok(last.max(newest) + 1)
}

/// Writes a set beside what is there, complete and synced.
pub(crate) fn stage(
    settings: &SetSettings,
    serial: u64,
    wanted: &Wanted,
) -> Result<Staged, InstallError> {
    match settings.place() {
        Place::Folder(folder) => {
            let owner = Owner::of(settings.owner.as_deref(), settings.group.as_deref());
            let owner = owner.map_err(|why| InstallError::InTheWay {
                path: folder.to_owned(),
                why,
            })?;
            versions::stage(folder, settings.folder_mode, owner, serial, wanted)
                .map(Staged::Version)
        }
        Place::Single => single::stage(wanted).map(Staged::Single),
    }
}

/// Whether it is what the link leads to. Single files have none: what of them is not in place yet is
/// found by looking at each.
pub(crate) fn is_in_use(
    settings: &SetSettings,
    installed: &Installed,
) -> Result<bool, InstallError> {
    match (settings.place(), &installed.version) {
        (Place::Folder(folder), Some(version)) => match versions::current(folder) {
            Ok(current) => Ok(current.as_deref() == Some(Path::new(version))),
            Err(error) if error.is_gone() => Ok(false),
            Err(error) => Err(error),
        },
        (Place::Single, None) => Ok(true),
        _ => Ok(false),
    }
}

/// Where a set's files are found by who uses them.
pub(crate) fn place_of(settings: &SetSettings) -> Option<PathBuf> {
    match settings.place() {
        Place::Folder(folder) => Some(folder.join(CURRENT)),
        Place::Single => None,
    }
}

/// What is on the disk in the place of a file of the set.
pub(crate) fn read_present(
    settings: &SetSettings,
    path: &Path,
) -> Result<Option<Present>, InstallError> {
    let found = match settings.place() {
        Place::Folder(folder) => versions::read(folder, path)?,
        Place::Single => match single::open(path) {
            Ok((folder, name)) => folder.read(name)?,
            Err(error) if error.is_gone() => None,
            Err(error) => return Err(error),
        },
    };
    Ok(found.map(|(stat, content)| Present {
        digest: wanted::digest(&content),
        content,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }))
}

impl InstallError {
    /// Whether something is not there.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(rustix::io::Errno) -> InstallError {
    move |errno| InstallError::Io {
        path: path.to_owned(),
        action,
        source: errno.into(),
    }
}

/// The link to the version in use.
const CURRENT: &str = "current";

#[cfg(test)]
mod tests;
