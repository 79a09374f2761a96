//! Looking a backup through: by its rows, or by restoring it for a moment.

use std::path::Path;

use holdfast_disk::{ArchiveError, Contents, Store, StoreOptions};
use holdfast_raft::PeerNode;

use super::{BackupError, BackupReader, Lock, Trust};

/// What a drill restored.
#[derive(Debug)]
pub struct Drilled {
    /// Keys in the restored store.
    pub keys: u64,
    /// Older values in it.
    pub past_rows: u64,
    /// The hash of its state: the one that the backup promises.
    pub state_hash: [u8; 32],
}

/// Checks the signature, reads every row, and compares the state's hash with the promised one.
pub fn verify(
    mut backup: BackupReader,
    trust: &Trust,
    lock: &Lock<'_>,
) -> Result<Contents, BackupError> {
    backup.check(trust)?;
    let promised = backup.header().state_hash.clone();
    let path = backup.path().to_owned();
    let contents = holdfast_disk::check(&path, backup.archive(lock)?)?;
    expect_hash(&path, &promised, contents.state.hash().as_bytes())?;
    Ok(contents)
}

/// Restores a backup into `scratch` as it is, opens a store there, and compares what it holds.
pub fn drill(
    mut backup: BackupReader,
    trust: &Trust,
    lock: &Lock<'_>,
    scratch: &Path,
) -> Result<Drilled, BackupError> {
    backup.check(trust)?;
    let promised = backup.header().state_hash.clone();
    let path = backup.path().to_owned();
    let archive = backup.archive(lock)?;
    let restored = holdfast_raft::restore(&path, archive, scratch, |state| {
        let nobody = PeerNode {
            id: state.restored_founder(),
            name: "drill".to_owned(),
            address: "localhost:1".to_owned(),
        };
        Ok::<_, ArchiveError>((state, nobody))
    })?;
    let (store, _) = Store::open(scratch, StoreOptions::default()).map_err(|error| {
        tracing::warn!(%error, backup = %path.display(), "a drill failed");
        BackupError::damaged(&path, "no store opens with what it holds")
    })?;
    let (hash, keys) = store.read(|state| (state.hash(), state.usage().keys));
    store.close();
    expect_hash(&path, &promised, hash.as_bytes())?;
    Ok(Drilled {
        keys,
        past_rows: restored.past_rows,
        state_hash: *hash.as_bytes(),
    })
}

fn expect_hash(path: &Path, promised: &[u8], found: &[u8]) -> Result<(), BackupError> {
    if promised == found {
        return Ok(());
    }
    Err(BackupError::damaged(
        path,
        "its rows do not make the state that its head promises",
    ))
}
