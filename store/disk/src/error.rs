//! Why a folder could not be opened.

use std::path::{Path, PathBuf};

/// Why data on disk could not be opened. Each message names the file and what to do; nothing was
/// changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refused.
    #[error("{path} cannot be {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: "read", "created", …
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not one of our folders.
    #[error("{path} holds something else, not {expected} of Holdfast; name an empty folder")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What was expected there.
        expected: &'static str,
    },
    /// Written by a newer program.
    #[error(
        "{path} has format {found}, and this program reads up to {supported}; \
         run the version that wrote it or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// Its checksums do not hold.
    #[error("{path} is damaged ({why}); {advice}")]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What did not hold.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// Another process has it.
    #[error("{path} is in use by another process; stop that one, or name another folder")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The log begins behind the newest archive that can be read.
    #[error(
        "{path}: the log begins at entry {first}, and {}; {REJOIN}",
        match .archive {
            Some(archive) => format!("the newest readable archive ends at {archive}"),
            None => "no archive can be read".to_owned(),
        }
    )]
    Gap {
        /// The data folder.
        path: PathBuf,
        /// Last entry of the archive; `None`: there is none.
        archive: Option<u64>,
        /// First entry of the log.
        first: u64,
    },
}

/// What to do with a node whose own disk cannot be trusted.
pub(crate) const REJOIN: &str = "keep a copy of the folder, remove this node with `kvctl member \
                                 remove` and join it anew; if it is the only node, restore a backup";

impl OpenError {
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
            advice: REJOIN,
        }
    }
}
