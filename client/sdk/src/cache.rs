//! The last state that was taken, of a configuration or a mirror, kept on this node's disk: a service
//! starts with it while every server is down.
//!
//! One file for each cluster and prefix, and a mark beside it; `client/sdk/FORMAT.md` has the bytes.
//!
//! Invariants:
//! 1. Both are sealed: by default for whoever holds this client's private key, who may read the same
//!    from the cluster. Plaintext of secrets is in memory only.
//! 2. A file under its name is whole: it was synced before it was renamed.
//! 3. What is damaged, of another cluster, prefix or key, or older than the mark says is refused, and
//!    replaced with the next state that is taken.
//! 4. Its age is honest: it is counted from when the cluster was known to have nothing newer.

mod file;
mod place;
mod saver;
mod start;

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use holdfast_seal::SymmetricKey;

pub use self::saver::CacheStatus;
pub(crate) use self::{
    place::CachePlace,
    saver::{Job, Saver},
    start::{Asked, StartError, Starter},
};
use crate::{MirrorView, mirror::Secrets};

/// What a service starts with. Never with the cache where the cluster answers that the client may not
/// read or reveal what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartPolicy {
    /// What a server says, and nothing else.
    ServerOnly,
    /// What a server says within so long; then what is in the cache, whatever its age.
    ServerThenCache {
        /// How long.
        wait: Duration,
    },
    /// What is in the cache, at once, if the cluster had nothing newer so long ago; else as with
    /// [`StartPolicy::ServerOnly`].
    CacheThenServer {
        /// How long ago.
        max_age: Duration,
    },
}

impl Default for StartPolicy {
    fn default() -> Self {
        Self::ServerThenCache {
            wait: Duration::from_secs(5),
        }
    }
}

/// Why a cache is not used, or not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There is none yet.
    #[error("there is no cache yet: nothing was ever had from a server")]
    Missing,
    /// It does not open.
    #[error(
        "the cache {path} does not open ({why}); it was not used, and the next state that is taken \
         replaces it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// It is older than the newest one.
    #[error(
        "the cache {path} is number {found}, and number {newest} was written: an older one was put \
         back. It was not used, and the next state that is taken replaces it"
    )]
    RolledBack {
        /// The file.
        path: PathBuf,
        /// Its number.
        found: u64,
        /// The number of the newest.
        newest: u64,
    },
    /// The cluster had nothing newer longer ago than is allowed.
    #[error(
        "the cache {path} was current {age:?} ago, longer than the {max_age:?} that are allowed"
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// How long ago.
        age: Duration,
        /// The most that is allowed.
        max_age: Duration,
    },
    /// Another process keeps it.
    #[error("the cache {path} is kept by another process; give each service a folder of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// There is no key to seal it with.
    #[error("this client has no private key to seal a cache with; give one with `cache_with_key`")]
    NoKey,
    /// It would not be bound to any cluster.
    #[error(
        "this client does not know its cluster's name yet, and a cache belongs to one cluster; make the \
         client of a context that names the cluster beside its `agent`"
    )]
    NoCluster,
    /// The system refused.
    #[error("the cache {path} could not be {action}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The cache of one prefix of one cluster. Nobody else writes it while this lives.
pub(crate) struct Cache {
    path: PathBuf,
    key: SymmetricKey,
    /// What the files are sealed for.
    bound_to: Vec<u8>,
    newest: AtomicU64,
    _lock: File,
}

/// What was kept.
pub(crate) struct Saved {
    pub(crate) serial: u64,
    pub(crate) view: MirrorView,
    pub(crate) secrets: Secrets,
    /// When the cluster had nothing newer, by this node's clock.
    pub(crate) confirmed_at: SystemTime,
    pub(crate) endpoints: Vec<String>,
    /// Whose emergency overrides count; empty: not known.
    pub(crate) administrators: Vec<String>,
}

impl Cache {
    /// In a folder, which is made if there is none.
    pub(crate) fn open(
        folder: &Path,
        key: SymmetricKey,
        cluster: &str,
        prefix: &str,
    ) -> Result<Self, CacheError> {
        let path = folder.join(file::name(cluster, prefix));
        let failed = |action| {
            let path = path.clone();
            move |source| CacheError::Io {
                path,
                action,
                source,
            }
        };
        file::create_folder(folder).map_err(failed("put in its folder"))?;
        let lock = path.with_extension("lock");
        let lock = file::create_private(&lock).map_err(failed("locked"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CacheError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(failed("locked")(source)),
        }
        Ok(Self {
            bound_to: file::binding(cluster, prefix),
            path,
            key,
            newest: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Saved {
    /// How long ago the cluster had nothing newer, at most.
    pub(crate) fn age(&self) -> Duration {
        // A clock that went back says nothing.
        let age = SystemTime::now().duration_since(self.confirmed_at);
        age.unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests;
