//! Archives: a whole state with its past, at one applied index, in one file.
//!
//! The same file is the raft snapshot, the backup and the restore. It is written beside the
//! running state, synced, then renamed into place: a file under an archive's name is whole. The
//! reader checks every block and the end mark before anything of it is used.

mod format;
mod read;
mod write;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

pub(crate) use self::{
    read::{ArchiveReader, Item},
    write::ArchiveWriter,
};
use crate::{
    error::OpenError,
    marker::{self, Kind},
};

/// An archive that is whole and on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size, bytes.
    pub bytes: u64,
    /// The last log index that it holds.
    pub index: u64,
}

/// Why an archive could not be written, received or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The system refused. No archive was made or replaced.
    #[error("the archive {path} could not be {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its checksums do not hold, or it ends early. It was not used.
    #[error("the archive {path} is damaged ({why}); it was not used")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What did not hold.
        why: String,
    },
    /// Written by a newer program.
    #[error(
        "the archive {path} has format {found}, and this program reads up to {supported}; run the version that wrote it or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known here.
        supported: u32,
    },
    /// Older values are still being put back, so not all that belongs in it can be read.
    #[error("no archive can be written while the past is being rebuilt; try again later")]
    PastNotReady,
}

impl ArchiveError {
    pub(crate) fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            source,
        }
    }

    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

/// The folder of archives.
#[derive(Clone, Debug)]
pub(crate) struct Archives {
    dir: PathBuf,
}

/// How many whole archives are kept: one to use, one should that be damaged.
const KEPT: usize = 2;
const SUFFIX: &str = ".archive";

impl Archives {
    /// Opens or creates `DIR/archive`, and drops what was half written.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let dir = dir.join("archive");
        marker::ensure(&dir, Kind::Archives)?;
        let archives = Self { dir };
        let entries = fs::read_dir(&archives.dir);
        for entry in entries
            .map_err(|error| OpenError::io(&archives.dir, "read", error))?
            .flatten()
        {
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "new")
            {
                fs::remove_file(entry.path())
                    .map_err(|error| OpenError::io(&entry.path(), "removed", error))?;
            }
        }
        Ok(archives)
    }

    /// All of them, the newest first.
    pub(crate) fn list(&self) -> Result<Vec<ArchiveFile>, OpenError> {
        let entries = fs::read_dir(&self.dir);
        let entries = entries.map_err(|error| OpenError::io(&self.dir, "read", error))?;
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let index = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            let Some(index) = index.and_then(|index| index.parse().ok()) else {
                continue;
            };
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            files.push(ArchiveFile {
                path: entry.path(),
                bytes,
                index,
            });
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.index));
        Ok(files)
    }

    /// A file to write into that nobody takes for an archive.
    pub(crate) fn temporary(&self, purpose: &str) -> Result<Temporary, ArchiveError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{purpose}-{number}.new"));
        let file =
            fs::File::create(&path).map_err(|error| ArchiveError::io(&path, "created", error))?;
        Ok(Temporary {
            path,
            file: Some(file),
            unsynced: 0,
        })
    }

    /// Gives a synced file its name. Then it is an archive.
    pub(crate) fn publish(
        &self,
        temporary: Temporary,
        index: u64,
    ) -> Result<ArchiveFile, ArchiveError> {
        let path = self.dir.join(format!("{index:020}{SUFFIX}"));
        let from = temporary.into_synced()?;
        let published = || {
            fs::rename(&from, &path)?;
            marker::sync_folder(&self.dir)?;
            Ok(fs::metadata(&path)?.len())
        };
        let bytes = published().map_err(|error| ArchiveError::io(&path, "put in place", error))?;
        self.forget_old(index);
        Ok(ArchiveFile { path, bytes, index })
    }

    /// Sets a damaged archive aside, so that it is not tried again.
    pub(crate) fn set_aside(&self, file: &ArchiveFile) {
        let mut aside = file.path.clone().into_os_string();
        aside.push(".damaged");
        if let Err(error) = fs::rename(&file.path, &aside) {
            tracing::warn!(path = %file.path.display(), %error, "a damaged archive cannot be renamed");
        }
    }

    fn forget_old(&self, newest: u64) {
        let Ok(files) = self.list() else { return };
        let old = files
            .iter()
            .filter(|file| file.index < newest)
            .skip(KEPT - 1);
        for file in old {
            if let Err(error) = fs::remove_file(&file.path) {
                tracing::warn!(path = %file.path.display(), %error, "an old archive stays");
            }
        }
    }
}

/// A file being written; removed again unless it is published.
pub(crate) struct Temporary {
    path: PathBuf,
    file: Option<fs::File>,
    unsynced: usize,
}

/// So much of an archive is synced at a time. In one piece at its end, the log's next sync would wait for
/// all of it.
const SYNCED_BYTES: usize = 4 * 1024 * 1024;

impl Temporary {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn into_synced(mut self) -> Result<PathBuf, ArchiveError> {
        if let Some(file) = self.file.take() {
            file.sync_all()
                .map_err(|error| ArchiveError::io(&self.path, "synced", error))?;
        }
        Ok(std::mem::take(&mut self.path))
    }
}

impl std::io::Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Some(file) = &mut self.file else {
            return Err(std::io::Error::other("the file is closed"));
        };
        let written = file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= SYNCED_BYTES {
            file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), fs::File::flush)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// An archive on its way from another node.
pub struct IncomingArchive {
    pub(crate) temporary: Temporary,
}

impl IncomingArchive {
    /// The next bytes of it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let written = self.temporary.write_all(bytes);
        written.map_err(|error| ArchiveError::io(self.temporary.path(), "written", error))
    }
}
