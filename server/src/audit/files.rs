//! One file of the log, on disk. The only place here that knows of Unix.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

/// An open segment.
pub(super) struct SegmentFile(File);

impl SegmentFile {
    /// Makes a file that only its owner may read, with this content, and syncs it and its folder.
    /// What could not be made whole is not left behind.
    pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let written = file
            .write_all_at(content, 0)
            .and_then(|()| file.sync_all())
            .and_then(|()| File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all());
        if let Err(error) = written {
            drop(fs::remove_file(path));
            return Err(error);
        }
        Ok(Self(file))
    }

    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self(file))
    }

    /// Writes and syncs.
    pub(super) fn append(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)?;
        self.0.sync_data()
    }

    /// Cuts it off and syncs. Returns how many bytes went.
    pub(super) fn cut(&self, length: u64) -> io::Result<u64> {
        let before = self.0.metadata()?.len();
        self.0.set_len(length)?;
        self.0.sync_all()?;
        Ok(before.saturating_sub(length))
    }

    /// Whether somebody took it away, or a part of it.
    pub(super) fn is_short_of(&self, length: u64) -> bool {
        let metadata = self.0.metadata();
        metadata.is_ok_and(|metadata| metadata.nlink() == 0 || metadata.len() < length)
    }
}

/// Makes a folder that only its owner may enter.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}
