//! The folder of one node's backups.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::{BackupError, BackupReader};
use crate::dir::files;

const SUFFIX: &str = ".backup";

/// One folder of backups.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// A file in it.
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    /// What it says of itself, not checked.
    pub(crate) read: Result<BackupReader, BackupError>,
}

/// A backup on its way, under a name that nobody takes for one; deleted again unless it is published.
pub(crate) struct Unpublished {
    pub(crate) path: PathBuf,
    name: PathBuf,
    published: bool,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes the folder if there is none, and deletes what was left half-made.
    pub(crate) fn prepare(&self) -> Result<(), BackupError> {
        files::create_private_folder(&self.0)?;
        for path in self.paths()? {
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(|error| BackupError::io(&path, "removed", error))?;
            }
        }
        Ok(())
    }

    /// A file to write into, for its owner alone.
    pub(crate) fn begin(&self, at_ms: u64, index: u64) -> Result<(Unpublished, File), BackupError> {
        let name = self.0.join(format!("{at_ms:014}-{index}{SUFFIX}"));
        let path = name.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .map_err(|error| BackupError::io(&path, "created", error))?;
        let unpublished = Unpublished {
            path,
            name,
            published: false,
        };
        Ok((unpublished, file))
    }

    /// All of them, the newest first. A folder that is not there has none.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let mut paths = self.paths()?;
        paths.retain(|path| path.to_str().is_some_and(|path| path.ends_with(SUFFIX)));
        paths.sort_unstable_by(|a, b| b.cmp(a));
        Ok(paths
            .into_iter()
            .map(|path| Listed {
                read: BackupReader::open(&path),
                path,
            })
            .collect())
    }

    /// Deletes the oldest of those that were made by themselves; `keep` stay.
    pub(crate) fn prune(&self, keep: usize) -> Result<usize, BackupError> {
        let scheduled = self.list()?.into_iter().filter(|listed| {
            listed
                .read
                .as_ref()
                .is_ok_and(|backup| backup.header().scheduled)
        });
        let mut pruned = 0;
        for old in scheduled.skip(keep.max(1)) {
            fs::remove_file(&old.path)
                .map_err(|error| BackupError::io(&old.path, "removed", error))?;
            pruned += 1;
        }
        Ok(pruned)
    }

    fn paths(&self) -> Result<Vec<PathBuf>, BackupError> {
        let failed = |error| BackupError::io(&self.0, "listed", error);
        match fs::read_dir(&self.0) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Unpublished {
    /// Gives a synced file its name. Then it is a backup.
    pub(crate) fn publish(mut self) -> Result<PathBuf, BackupError> {
        let published = || {
            fs::rename(&self.path, &self.name)?;
            files::sync_folder(self.name.parent().unwrap_or(Path::new(".")))
        };
        published().map_err(|error| BackupError::io(&self.name, "put in place", error))?;
        self.published = true;
        Ok(self.name.clone())
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        if !self.published {
            drop(fs::remove_file(&self.path));
        }
    }
}
