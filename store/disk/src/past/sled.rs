//! The past in sled 0.34.
//!
//! Rows are written in blocks, because sled takes a block at the price of a row, and found by an
//! index in memory. A block of which little is wanted any more is packed into a new one. What is
//! forgotten is struck from a block's list at the next flush: after a crash the log says it again.
//! A block that was written since the engine was opened is compared with what was written when it is
//! read, and then its rows need no check of their own.
//!
//! What sled needs to be told, all of it learnt the hard way: values in rows of at most 32 KiB
//! (larger ones leak space); half-made snapshots deleted before it opens; one tree; calls on
//! blocking threads; never its asynchronous flush; and since it may panic on damage, every call
//! under `catch_unwind`. Its flush is no fsync, so a booted machine's past is not trusted.

mod block;
mod index;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashSet, VecDeque},
    fs,
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_core::VersionId;
use parking_lot::{Mutex, RwLock};

use self::{
    block::{Block, BuildAsItIs, Fingerprint, Row, decode_list, encode_list},
    index::Index,
};
use super::{Neighbours, Past, PastFault, PastReader, PastRow};

/// Longest row that sled is given, bytes.
const PART_BYTES: usize = 32 * 1024;
/// sled's cache, bytes. The past is read rarely.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// So many of the blocks that were read last are at hand: whoever reads much reads neighbours, in turns
/// with those that were packed anew.
const BLOCKS_AT_HAND: usize = 4;

/// How long sled may take to let go of a folder.
const LET_GO: Duration = Duration::from_secs(5);
/// What it says of one that is held.
const HELD: &str = "could not acquire lock";

/// A sled database and the index of its blocks. One writes; readers share both.
pub(crate) struct SledPast {
    shared: Shared,
}

#[derive(Clone)]
struct Shared {
    tree: sled::Db,
    /// Held while a block is read, so that it is not packed anew meanwhile.
    index: Arc<RwLock<Index>>,
    /// Blocks of several rows, by number. A number is given anew once its block was dropped.
    at_hand: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl SledPast {
    pub(crate) fn open(dir: &Path) -> Result<Self, PastFault> {
        drop_half_made(dir).map_err(|error| PastFault(error.to_string()))?;
        let tree = open_tree(dir)?;
        let index = read_index(&tree)?;
        let empty = index.empty();
        let past = Self {
            shared: Shared {
                tree,
                index: Arc::new(RwLock::new(index)),
                at_hand: Arc::default(),
            },
        };
        past.drop_blocks(&empty)?;
        Ok(past)
    }

    /// Writes rows as new blocks. They are found there once all of them are written.
    fn append<'a>(
        &self,
        rows: impl Iterator<Item = (Fingerprint, Row<'a>)>,
    ) -> Result<(), PastFault> {
        let mut batch = sled::Batch::default();
        let mut number = self.shared.index.read().next_block();
        let mut added = Vec::new();
        let mut block = Block::default();
        let mut close = |block: Block| {
            for (part, bytes) in block.bytes.chunks(PART_BYTES).enumerate() {
                // 1 MiB of value and 1 KiB of key are 33 parts.
                batch.insert(&part_key(number, part as u16), bytes);
            }
            batch.insert(&list_key(number), encode_list(&block.list));
            added.push((number, block.list, crc32fast::hash(&block.bytes)));
            number += 1;
        };
        for (print, row) in rows {
            block.push(print, &row);
            if block.is_full() {
                close(std::mem::take(&mut block));
            }
        }
        if !block.list.is_empty() {
            close(block);
        }
        guarded(|| self.shared.tree.apply_batch(batch))?;
        let mut index = self.shared.index.write();
        for (number, list, check) in added {
            index.add(number, &list, Some(check));
        }
        Ok(())
    }

    /// Packs what is wanted of these blocks into new ones.
    fn pack(&self, sparse: &[u64]) -> Result<(), PastFault> {
        let mut wanted = Vec::new();
        for number in sparse {
            let check = self.shared.index.read().check(*number);
            for row in block::rows(self.shared.block(*number, check)?) {
                let row = row?;
                let id = PastRow::id_of(&row)
                    .ok_or_else(|| PastFault("a row does not check".to_owned()))?;
                let print = Fingerprint::of(&id);
                if self.shared.index.read().place(print) == Some(*number) {
                    wanted.push((print, Row::Packed(row)));
                }
            }
        }
        self.append(wanted.into_iter())
    }

    fn drop_blocks(&self, blocks: &[u64]) -> Result<(), PastFault> {
        if blocks.is_empty() {
            return Ok(());
        }
        {
            let mut index = self.shared.index.write();
            index.remove(blocks);
            let mut at_hand = self.shared.at_hand.lock();
            at_hand.retain(|(number, _)| !blocks.contains(number));
        }
        guarded(|| {
            let mut batch = sled::Batch::default();
            for number in blocks {
                batch.remove(&list_key(*number));
                for key in self.shared.tree.range(parts(*number)).keys() {
                    batch.remove(key?);
                }
            }
            self.shared.tree.apply_batch(batch)
        })
    }

    /// Brings the lists on disk in line, so that what was forgotten stays forgotten.
    fn write_lists(&self) -> Result<(), PastFault> {
        let stale = self.shared.index.write().take_stale();
        let index = self.shared.index.read();
        guarded(|| {
            let mut batch = sled::Batch::default();
            for number in stale {
                let Some(bytes) = self.shared.tree.get(list_key(number))? else {
                    continue;
                };
                let mut list = decode_list(&bytes).unwrap_or_default();
                list.retain(|print| index.place(*print) == Some(number));
                batch.insert(&list_key(number), encode_list(&list));
            }
            self.shared.tree.apply_batch(batch)
        })
    }
}

/// Opens sled, once it has let go of the folder: the thread that wrote last still holds its file for a moment
/// after the database was dropped. Nobody else can have it, since the node's folder is locked.
fn open_tree(dir: &Path) -> Result<sled::Db, PastFault> {
    let deadline = Instant::now() + LET_GO;
    loop {
        let opened = guarded(|| {
            sled::Config::default()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(Some(1_000))
                .mode(sled::Mode::HighThroughput)
                .open()
        });
        match opened {
            Err(fault) if fault.0.contains(HELD) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

/// Reads the lists of all blocks.
fn read_index(tree: &sled::Db) -> Result<Index, PastFault> {
    let mut index = Index::default();
    guarded(|| {
        for row in tree.scan_prefix([LIST]) {
            let (key, list) = row?;
            let number = key.get(1..).and_then(|number| number.try_into().ok());
            match number.zip(decode_list(&list)) {
                Some((number, list)) => index.add(u64::from_be_bytes(number), &list, None),
                // The first versions kept each row by itself: those are put back from the archive.
                None => return Ok(false),
            }
        }
        Ok(true)
    })
    .and_then(|is_whole| match is_whole {
        true => Ok(index),
        false => Err(PastFault("its rows are not kept in blocks".to_owned())),
    })
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

/// First byte of the keys of lists …
const LIST: u8 = 0;
/// … and of the parts of blocks.
const PART: u8 = 1;

fn list_key(block: u64) -> [u8; 9] {
    let mut key = [LIST; 9];
    key[1..].copy_from_slice(&block.to_be_bytes());
    key
}

fn part_key(block: u64, part: u16) -> [u8; 11] {
    let mut key = [PART; 11];
    key[1..9].copy_from_slice(&block.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

fn parts(block: u64) -> std::ops::RangeInclusive<[u8; 11]> {
    part_key(block, 0)..=part_key(block, u16::MAX)
}

impl Past for SledPast {
    fn keep(&mut self, rows: &[Arc<PastRow>]) -> Result<(), PastFault> {
        let mut new = Vec::with_capacity(rows.len());
        let mut seen = HashSet::with_capacity_and_hasher(rows.len(), BuildAsItIs::default());
        // Nobody has looked at them for long, either: side by side, the processor waits for many at a time.
        for row in rows {
            black_box((row.id.revision, row.value.kind(), row.digest));
        }
        let prints: Vec<_> = rows.iter().map(|row| Fingerprint::of(&row.id)).collect();
        // All at once: each place of the index is one that nobody has looked at for long.
        let listed: Vec<_> = {
            let index = self.shared.index.read();
            let listed = prints.iter().map(|print| index.place(*print).is_some());
            listed.collect()
        };
        for ((row, print), is_listed) in rows.iter().zip(prints).zip(listed) {
            let is_kept = is_listed && self.shared.row(&row.id)?.as_ref() == Some(&**row);
            if !is_kept && seen.insert(print) {
                new.push((print, Row::New(row)));
            }
        }
        self.append(new.into_iter())
    }

    fn forget(&mut self, ids: &[VersionId]) -> Result<(), PastFault> {
        let prints = ids.iter().map(Fingerprint::of);
        let thinned = self.shared.index.write().forget(prints);
        self.pack(&thinned.sparse)?;
        self.drop_blocks(&thinned.empty)?;
        self.drop_blocks(&thinned.sparse)
    }

    fn flush(&mut self) -> Result<(), PastFault> {
        self.write_lists()?;
        guarded(|| self.shared.tree.flush()).map(drop)
    }

    fn reader(&self) -> Box<dyn PastReader> {
        Box::new(self.shared.clone())
    }
}

impl Shared {
    /// The bytes of a block that was read lately.
    fn at_hand(&self, number: u64) -> Option<Bytes> {
        let at_hand = self.at_hand.lock();
        let found = at_hand.iter().find(|(at, _)| *at == number);
        found.map(|(_, bytes)| bytes.clone())
    }

    /// The bytes of a block, which must be those that check so, if that is known.
    fn block(&self, number: u64, check: Option<u32>) -> Result<Bytes, PastFault> {
        if let Some(bytes) = self.at_hand(number) {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        guarded(|| {
            for part in self.tree.range(parts(number)).values() {
                bytes.extend_from_slice(&part?);
            }
            Ok(())
        })?;
        if !bytes.is_empty() && check.is_some_and(|check| check != crc32fast::hash(&bytes)) {
            return Err(PastFault("a block is not as it was written".to_owned()));
        }
        let bytes = Bytes::from(bytes);
        // A larger one has one row that is worth its size, which hardly anybody reads twice.
        if (1..=PART_BYTES).contains(&bytes.len()) {
            let mut at_hand = self.at_hand.lock();
            at_hand.truncate(BLOCKS_AT_HAND - 1);
            at_hand.push_front((number, bytes.clone()));
        }
        Ok(bytes)
    }
}

impl PastReader for Shared {
    fn row(&self, id: &VersionId) -> Result<Option<PastRow>, PastFault> {
        let index = self.index.read();
        let Some(number) = index.place(Fingerprint::of(id)) else {
            return Ok(None);
        };
        let block = self.block(number, index.check(number))?;
        if block.is_empty() {
            return Err(PastFault("a block that is listed is not there".to_owned()));
        }
        block::find(block, id)
    }

    fn after(&self, id: &VersionId) -> Neighbours {
        let index = self.index.read();
        let number = index.place(Fingerprint::of(id));
        let Some((number, block)) = number.and_then(|number| Some((number, self.at_hand(number)?)))
        else {
            return Neighbours::default();
        };
        let mut rows: Vec<_> = block::rows(block).map_while(Result::ok).collect();
        // Of a block that lost rows some may be in another one by now, with another value.
        if index.live(number) != rows.len() {
            return Neighbours::default();
        }
        let place = rows.iter().position(|row| PastRow::is_of(row, id));
        Neighbours {
            rows: rows.split_off(place.map_or(rows.len(), |place| place + 1)),
            // It was checked when it was read.
            are_checked: index.check(number).is_some(),
        }
    }
}
