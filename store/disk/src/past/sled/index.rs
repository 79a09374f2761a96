//! Which block holds which version: in memory, because only the blocks are worth looking up on disk.

use std::collections::{BTreeMap, HashMap};

use super::block::{BuildAsItIs, Fingerprint};

/// Where the versions are. About 30 bytes of memory a version.
#[derive(Default)]
pub(super) struct Index {
    places: HashMap<Fingerprint, u64, BuildAsItIs>,
    blocks: BTreeMap<u64, Filled>,
}

/// How full a block is.
#[derive(Clone, Copy, Default)]
struct Filled {
    rows: u32,
    live: u32,
    /// The list on disk names rows that are not wanted any more.
    stale: bool,
    /// Of its bytes, if they were written since the engine was opened.
    check: Option<u32>,
}

/// Blocks that lost rows.
#[derive(Default)]
pub(super) struct Thinned {
    /// No row of these is wanted.
    pub(super) empty: Vec<u64>,
    /// Few rows of these are.
    pub(super) sparse: Vec<u64>,
}

impl Index {
    /// The number of the next block.
    pub(super) fn next_block(&self) -> u64 {
        self.blocks.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    pub(super) fn place(&self, print: Fingerprint) -> Option<u64> {
        self.places.get(&print).copied()
    }

    /// How many of a block's rows are still found there.
    pub(super) fn live(&self, block: u64) -> usize {
        self.blocks
            .get(&block)
            .map_or(0, |filled| filled.live as usize)
    }

    /// What the bytes of a block check to, if they were written since the engine was opened.
    pub(super) fn check(&self, block: u64) -> Option<u32> {
        self.blocks.get(&block).and_then(|filled| filled.check)
    }

    /// A block is there. A version that is in two blocks is in the newer one.
    pub(super) fn add(&mut self, block: u64, list: &[Fingerprint], check: Option<u32>) {
        let rows = list.len() as u32;
        let filled = Filled {
            rows,
            live: rows,
            stale: false,
            check,
        };
        self.blocks.insert(block, filled);
        for print in list {
            if let Some(before) = self.places.insert(*print, block) {
                self.lose(before);
            }
        }
    }

    /// Versions are not wanted any more.
    pub(super) fn forget(&mut self, prints: impl Iterator<Item = Fingerprint>) -> Thinned {
        let mut touched = Vec::new();
        for print in prints {
            if let Some(block) = self.places.remove(&print) {
                self.lose(block);
                touched.push(block);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        let mut thinned = Thinned::default();
        for block in touched {
            match self.blocks.get(&block) {
                Some(filled) if filled.live == 0 => thinned.empty.push(block),
                Some(filled) if filled.live * SPARSE <= filled.rows => thinned.sparse.push(block),
                _ => {}
            }
        }
        thinned
    }

    /// Blocks without a row that is wanted: after a crash between a move and what follows it.
    pub(super) fn empty(&self) -> Vec<u64> {
        let empty = self.blocks.iter().filter(|(_, filled)| filled.live == 0);
        empty.map(|(block, _)| *block).collect()
    }

    pub(super) fn remove(&mut self, blocks: &[u64]) {
        for block in blocks {
            self.blocks.remove(block);
        }
    }

    /// Blocks whose lists are stale, taken for written by the caller.
    pub(super) fn take_stale(&mut self) -> Vec<u64> {
        let stale = self.blocks.iter_mut().filter(|(_, filled)| filled.stale);
        stale
            .map(|(block, filled)| {
                filled.stale = false;
                *block
            })
            .collect()
    }

    fn lose(&mut self, block: u64) {
        if let Some(filled) = self.blocks.get_mut(&block) {
            filled.live = filled.live.saturating_sub(1);
            filled.stale = true;
        }
    }
}

/// Of so many rows at most one is wanted: the block is worth packing again.
const SPARSE: u32 = 4;
