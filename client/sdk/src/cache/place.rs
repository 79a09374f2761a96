//! Where a cache is, and with which key it is sealed.

use std::{path::PathBuf, time::Duration};

use holdfast_seal::SymmetricKey;
use tokio::time::Instant;

use super::{Cache, CacheError};
use crate::{Client, Secret};

/// A folder, and a key if it is not one of the client's own.
pub(crate) struct CachePlace {
    pub(crate) folder: PathBuf,
    pub(crate) key: Option<Secret<[u8; 32]>>,
}

impl CachePlace {
    /// Takes the cache of a prefix for this process alone.
    pub(crate) async fn open(&self, client: &Client, prefix: &str) -> Result<Cache, CacheError> {
        let key = || match &self.key {
            Some(key) => SymmetricKey::from_slice(key.expose()),
            None => client
                .cache_key()
                .and_then(|key| SymmetricKey::from_slice(key.expose())),
        };
        if client.cluster_name().is_empty() {
            return Err(CacheError::NoCluster);
        }
        let until = Instant::now() + LET_GO;
        loop {
            let key = key().ok_or(CacheError::NoKey)?;
            match Cache::open(&self.folder, key, client.cluster_name(), prefix) {
                // One that was dropped a moment ago lets go of it in a moment.
                Err(CacheError::InUse { .. }) if Instant::now() < until => {
                    tokio::time::sleep(LOOK).await;
                }
                opened => return opened,
            }
        }
    }
}

const LET_GO: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
