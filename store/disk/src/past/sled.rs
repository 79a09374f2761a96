//! The past in sled 0.34.
//!
//! What sled needs to be told, all of it learnt the hard way: values in rows of at most 32 KiB
//! (larger ones leak space); half-made snapshots deleted before it opens; one tree; calls on
//! blocking threads; never its asynchronous flush; and since it may panic on damage, every call
//! under `catch_unwind`. Its flush is no fsync, so a booted machine's past is not trusted.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use bytes::Bytes;
use holdfast_core::VersionId;

use super::{Past, PastFault, PastReader, PastRow};

/// Longest row that sled is given, bytes.
const CHUNK_BYTES: usize = 32 * 1024;
/// sled's cache, bytes. The past is read rarely.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// A sled database; clones share it.
#[derive(Clone)]
pub(crate) struct SledPast {
    tree: sled::Db,
}

impl SledPast {
    pub(crate) fn open(dir: &Path) -> Result<Self, PastFault> {
        drop_half_made(dir).map_err(|error| PastFault(error.to_string()))?;
        let tree = guarded(|| {
            sled::Config::default()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(Some(1_000))
                .mode(sled::Mode::HighThroughput)
                .open()
        })?;
        Ok(Self { tree })
    }
}

fn drop_half_made(dir: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A call into sled, its panics taken for errors.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, PastFault> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| PastFault(error.to_string())),
        Err(_) => Err(PastFault("sled panicked".to_owned())),
    }
}

/// `revision (8) start of the key's BLAKE3 (16) chunk (2)`: rows come in order of revision, which
/// is the order in which they are written.
fn row_key(id: &VersionId, chunk: u16) -> [u8; 26] {
    let mut key = [0; 26];
    key[..8].copy_from_slice(&id.revision.get().to_be_bytes());
    key[8..24].copy_from_slice(&blake3::hash(id.key.as_bytes()).as_bytes()[..16]);
    key[24..].copy_from_slice(&chunk.to_be_bytes());
    key
}

fn first_and_last(id: &VersionId) -> std::ops::RangeInclusive<[u8; 26]> {
    row_key(id, 0)..=row_key(id, u16::MAX)
}

impl Past for SledPast {
    fn keep(&mut self, rows: &[PastRow]) -> Result<(), PastFault> {
        let mut batch = sled::Batch::default();
        for row in rows {
            for (number, chunk) in row.encode().chunks(CHUNK_BYTES).enumerate() {
                // 1 MiB of value and 1 KiB of key are 33 chunks.
                batch.insert(&row_key(&row.id, number as u16), chunk);
            }
        }
        guarded(|| self.tree.apply_batch(batch))
    }

    fn forget(&mut self, ids: &[VersionId]) -> Result<(), PastFault> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            for id in ids {
                for key in self.tree.range(first_and_last(id)).keys() {
                    batch.remove(key?);
                }
            }
            self.tree.apply_batch(batch)
        })
    }

    fn flush(&mut self) -> Result<(), PastFault> {
        guarded(|| self.tree.flush()).map(drop)
    }

    fn reader(&self) -> Box<dyn PastReader> {
        Box::new(self.clone())
    }
}

impl PastReader for SledPast {
    fn row(&self, id: &VersionId) -> Result<Option<PastRow>, PastFault> {
        let mut bytes = Vec::new();
        guarded(|| {
            for chunk in self.tree.range(first_and_last(id)).values() {
                bytes.extend_from_slice(&chunk?);
            }
            Ok(())
        })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        match PastRow::decode(Bytes::from(bytes)) {
            Some(row) if row.id == *id => Ok(Some(row)),
            _ => Err(PastFault("a row does not check".to_owned())),
        }
    }
}
