//! Why a folder cannot be used: each error names the folder or file, and what to do.

use std::{io, path::PathBuf};

use super::Maker;
use crate::{configuration::ConfigurationError, identity::AuthorityError, tls::TlsError};

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// The operating system refused.
    #[error("{what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{path} is in use by another kvd{}; stop that one first", process(*.pid))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other process, if it said so.
        pid: Option<u32>,
    },
    /// Somebody else's files.
    #[error(
        "{path} is not a node's folder: it holds {}; nothing was touched; name an empty or new folder",
        names.join(", ")
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// A few of the files in it.
        names: Vec<String>,
    },
    /// No node here.
    #[error("there is no node in {path}; make one with `kvd init --dir` or `kvd join --dir`")]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// A node is here already.
    #[error(
        "{path} already is node {name} of cluster {cluster}; start it with `kvd run --dir`, \
         or name another folder"
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// The node's name.
        name: String,
        /// The cluster's name.
        cluster: String,
    },
    /// `kvd init` or `kvd join` was interrupted here.
    #[error(
        "`kvd {maker}` was interrupted in {path}; run that command again to finish, \
         or delete the folder and start over"
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
        /// Which command.
        maker: Maker,
    },
    /// `node.toml` is damaged or from another version.
    #[error("{path} cannot be used")]
    Configuration {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ConfigurationError,
    },
    /// The data is another node's.
    #[error(
        "the data in {path} belongs to node {found}, not to node {expected}; \
         put back the folder that belongs here"
    )]
    ForeignData {
        /// The data folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The node fenced itself, and must not start again.
    #[error("the node in {path} fenced itself and does not start again: {why}")]
    Fenced {
        /// The data folder.
        path: PathBuf,
        /// What it found, and what to do.
        why: String,
    },
    /// The data is gone.
    #[error(
        "the data of node {name} is gone from {path}; it must not start again under id {id}, for it \
         may have promised a vote. Restore the folder, or `kvctl member remove {name}` and \
         `kvd join` with a new folder"
    )]
    LostData {
        /// The data folder.
        path: PathBuf,
        /// The node's name.
        name: String,
        /// The node's id.
        id: u64,
    },
    /// A key or certificate cannot be used.
    #[error("the keys and certificates in {path} cannot be used")]
    Authority {
        /// The folder of keys.
        path: PathBuf,
        /// Why.
        #[source]
        source: AuthorityError,
    },
    /// A certificate cannot be used for TLS.
    #[error("the keys and certificates in {path} cannot be used")]
    Tls {
        /// The folder of keys.
        path: PathBuf,
        /// Why.
        #[source]
        source: TlsError,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})"))
        .unwrap_or_default()
}
