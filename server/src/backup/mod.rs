//! Backups: a whole state with its past in one signed file.
//!
//! A backup is an archive (`holdfast-disk`) behind a head that anybody can read and before a signature
//! of the node that made it; `server/FORMAT.md` has the bytes. Where there is a keyring the archive is in
//! a sealed stream, which the members' node keys and the recovery shares open. Where there is none,
//! there are no secrets either, and the file's mode (0600) is all that keeps it.
//!
//! Invariants: (1) making one never blocks `apply`: it is written from a clone of the state. (2) A file
//! under a backup's name is whole: it was synced before it was renamed. (3) Nothing of a backup is used
//! before its signature was checked over every byte of it. (4) No key and no value is in an error.

mod drill;
mod folder;
mod format;
mod making;
mod schedule;
pub(crate) mod service;
mod settings;
mod signature;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use holdfast_disk::ArchiveError;

pub use self::{
    drill::{Drilled, drill, verify},
    format::{BackupReader, Lock},
    settings::BackupSettings,
    signature::Trust,
};
pub(crate) use self::{making::Backups, schedule::run, signature::Signer};

/// Why a backup was not made, or is not to be trusted. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The system refused.
    #[error("the backup {path} could not be {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} is no backup of Holdfast: it does not begin like one")]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error(
        "the backup {path} has format {found}, and this program reads up to {supported}; use the version that wrote it or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known here.
        supported: u32,
    },
    /// The end is missing.
    #[error("the backup {path} was cut off; use another one")]
    CutOff {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold together.
    #[error("the backup {path} is damaged ({why}); it was not used, use another one")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        why: String,
    },
    /// The signature is not by whom it should be, or something was changed after it was made.
    #[error("the signature of the backup {path} does not hold: {why}; it was not used")]
    Signature {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        why: String,
    },
    /// It is sealed, and no key was given.
    #[error(
        "the backup {path} is sealed; give the recovery shares, or the key of a node that was a member"
    )]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// It is sealed, and not for the key that was given.
    #[error(
        "the backup {path} was not sealed for this key: it takes shares of the recovery key, or the key of a member, that the cluster had when it was made"
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
    },
    /// There is none of that name.
    #[error("there is no backup {name}; `kvctl backup list` shows those that there are")]
    Missing {
        /// As it was asked for.
        name: String,
    },
    /// The archive in it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What belongs to the node.
    #[error(transparent)]
    Dir(#[from] crate::dir::DirError),
    /// The replica stopped.
    #[error("no backup can be made: {0}")]
    Replica(#[from] holdfast_raft::ArchiveError),
    /// A thread of the node ended early.
    #[error("no backup was made or read: {0}")]
    Thread(String),
    /// The state of no cluster.
    #[error("the backup {path} holds the state of no cluster; use another one")]
    NoCluster {
        /// The file.
        path: PathBuf,
    },
}

impl BackupError {
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

    /// In words for somebody elsewhere: the file by its name alone, for where it is says nothing to him.
    pub(crate) fn told(&self) -> String {
        let path = match self {
            Self::Io { path, .. }
            | Self::NotABackup { path }
            | Self::Newer { path, .. }
            | Self::CutOff { path }
            | Self::Damaged { path, .. }
            | Self::Signature { path, .. }
            | Self::Sealed { path }
            | Self::OtherKey { path }
            | Self::NoCluster { path }
            | Self::Archive(
                ArchiveError::Io { path, .. }
                | ArchiveError::Damaged { path, .. }
                | ArchiveError::Newer { path, .. },
            ) => path,
            Self::Dir(_) => {
                return "the folder of backups cannot be used; the log of that node says why"
                    .to_owned();
            }
            Self::Missing { .. } | Self::Archive(_) | Self::Replica(_) | Self::Thread(_) => {
                return self.to_string();
            }
        };
        let name = path.file_name().unwrap_or(path.as_os_str());
        let (path, name) = (path.display().to_string(), name.display().to_string());
        self.to_string().replace(&path, &name)
    }
}
