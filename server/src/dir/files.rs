//! Small files, written whole or not at all.
//!
//! The only place that knows of Unix modes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::DirError;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The owner only: 0600.
    Private,
    /// Everybody whom the folder lets in: 0644.
    Public,
}

/// Writes a file so that a crash leaves the old one or the new one, and syncs it.
pub fn write_atomically(path: &Path, content: &[u8], mode: Mode) -> Result<(), DirError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = options(mode).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_folder(path.parent().unwrap_or(Path::new(".")))
    };
    write().map_err(failed("could not write", path))
}

/// Reads a text file.
pub fn read(path: &Path) -> Result<String, DirError> {
    fs::read_to_string(path).map_err(failed("could not read", path))
}

/// Makes a folder that only its owner may enter, and those above it.
pub fn create_private_folder(path: &Path) -> Result<(), DirError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed("could not make", path))
}

/// Deletes a file that may not be there.
pub fn remove(path: &Path) -> Result<(), DirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("could not delete", path)(error))
        }
        _ => Ok(()),
    }
}

/// Turns an I/O error into one that names the file.
pub fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirError + use<> {
    let path: PathBuf = path.to_owned();
    move |source| DirError::Io { what, path, source }
}

fn options(mode: Mode) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match mode {
            Mode::Private => 0o600,
            Mode::Public => 0o644,
        },
    );
    #[cfg(not(unix))]
    let _ = mode;
    options
}

/// Makes a rename in a folder outlast a power cut.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}
