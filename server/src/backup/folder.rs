//! The folder of one node's backups.
//!
//! It may be shared with other nodes, and hold backups of a cluster that was before: nothing here
//! deletes, or counts, what another node or another cluster made.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use holdfast_proto::NodeName;

use super::{BackupError, BackupReader};
use crate::dir::files;

const SUFFIX: &str = ".backup";

/// One folder of backups, as one node sees it.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    node: NodeName,
    cluster: Arc<str>,
}

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
    pub(crate) fn new(path: PathBuf, node: NodeName, cluster: Arc<str>) -> Self {
        Self {
            path,
            node,
            cluster,
        }
    }

    /// Makes the folder if there is none, and deletes what this node left half-made.
    pub(crate) fn prepare(&self) -> Result<(), BackupError> {
        files::create_private_folder(&self.path)?;
        for path in self.paths()? {
            if !self.is_half_made(&path) {
                continue;
            }
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(|error| BackupError::io(&path, "removed", error))?;
        }
        Ok(())
    }

    /// A file to write into, for its owner alone.
    pub(crate) fn begin(&self, at_ms: u64, index: u64) -> Result<(Unpublished, File), BackupError> {
        let name = format!("{at_ms:014}-{}-{index}{SUFFIX}", self.node);
        let name = self.path.join(name);
        let path = name.with_extension(HALF_MADE);
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

    /// An empty folder to restore into for a moment, deleted with what is returned.
    pub(crate) fn scratch(&self, at_ms: u64) -> Result<tempfile::TempDir, BackupError> {
        let failed = |error| BackupError::io(&self.path, "restored for a trial", error);
        tempfile::Builder::new()
            .prefix(&format!("{at_ms:014}-{}-drill", self.node))
            .suffix(&format!(".{HALF_MADE}"))
            .tempdir_in(&self.path)
            .map_err(failed)
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

    /// The one of this name. A name is a file of the folder and never a way out of it.
    pub(crate) fn find(&self, name: &str) -> Result<PathBuf, BackupError> {
        let listed = self.paths()?.into_iter().find(|path| {
            path.file_name()
                .is_some_and(|file| file == name && name.ends_with(SUFFIX))
        });
        listed.ok_or_else(|| BackupError::Missing {
            name: name.to_owned(),
        })
    }

    /// Those that this node made in this cluster, the newest first.
    pub(crate) fn own(&self) -> Result<Vec<BackupReader>, BackupError> {
        let mut own: Vec<_> = self
            .list()?
            .into_iter()
            .filter_map(|listed| listed.read.ok())
            .collect();
        own.retain(|backup| {
            let header = backup.header();
            header.cluster_id == *self.cluster && header.member_name == self.node.as_str()
        });
        Ok(own)
    }

    /// Deletes the oldest of those that were made by themselves; `keep` stay.
    pub(crate) fn prune(&self, keep: usize) -> Result<usize, BackupError> {
        let own = self.own()?.into_iter();
        let scheduled = own.filter(|backup| backup.header().scheduled);
        let mut pruned = 0;
        for old in scheduled.skip(keep.max(1)) {
            fs::remove_file(old.path())
                .map_err(|error| BackupError::io(old.path(), "removed", error))?;
            pruned += 1;
        }
        Ok(pruned)
    }

    fn is_half_made(&self, path: &Path) -> bool {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.strip_suffix(HALF_MADE)
            .and_then(|name| Some(name.split_once('-')?.1.rsplit_once('-')?.0))
            .is_some_and(|node| node == self.node.as_str())
    }

    fn paths(&self) -> Result<Vec<PathBuf>, BackupError> {
        let failed = |error| BackupError::io(&self.path, "listed", error);
        match fs::read_dir(&self.path) {
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

/// How names end of what is no backup yet.
const HALF_MADE: &str = "new";
