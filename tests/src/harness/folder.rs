//! A temporary folder that stays when its test fails.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// Removed when dropped; but if that happens in a panic it stays, and says where it is and how
/// its logs end.
#[derive(Debug)]
pub struct Folder {
    folder: Option<TempDir>,
}

impl Folder {
    /// A new one. Short, for it holds sockets' and users' paths.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: Some(tempfile::Builder::new().prefix("holdfast-").tempdir()?),
        })
    }

    /// A new one on another file system.
    pub fn new_in(parent: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            folder: Some(
                tempfile::Builder::new()
                    .prefix("holdfast-")
                    .tempdir_in(parent)?,
            ),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder
            .as_ref()
            .expect("it is taken only by drop")
            .path()
    }

    /// A file or folder in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take().filter(|_| std::thread::panicking()) else {
            return;
        };
        let kept = folder.keep();
        eprintln!("everything of this test is kept in {}", kept.display());
        let Ok(entries) = std::fs::read_dir(&kept) else {
            return;
        };
        let mut logs: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        for log in logs {
            eprintln!(
                "---- {} ends with\n{}",
                log.display(),
                tail(&log).unwrap_or_default()
            );
        }
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const TAIL_BYTES: u64 = 3_000;
