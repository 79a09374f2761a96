//! Putting the past back while the node runs.
//!
//! An engine that failed is set aside, and a new one is filled. What it must hold is in the newest
//! archive and in the log behind it: the archive's state is applied forward once more, apart from
//! the running one, and what leaves memory on the way is what the log adds to the archive's past.
//! What leaves the running state meanwhile reaches the new engine through the queue, as ever. It
//! costs the memory of a second state for as long as it takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, OnceLock, Weak},
};

use bytes::Bytes;
use holdfast_core::{Command, Context, State, apply};
use parking_lot::Mutex;

use super::{Inner, PastFolder, StoreOptions, open};
use crate::past::{
    PastFault, PastRow,
    keeper::{Fresh, Refill},
};

/// Committed commands at the log indexes of a range, in order, as they were applied. An index
/// without a command is left out; one that is gone from the log is an error.
pub type Replay = Box<dyn Fn(Range<u64>) -> ReplayedCommands + Send + Sync>;

/// What a [`Replay`] gives.
pub type ReplayedCommands = Box<dyn Iterator<Item = Result<(Context, Bytes), String>>>;

/// Makes new engines for a store's past.
pub(super) struct Healer {
    pub(super) past: Arc<Mutex<PastFolder>>,
    pub(super) options: StoreOptions,
    /// Set as soon as there is a store.
    pub(super) store: OnceLock<Weak<Inner>>,
}

impl Healer {
    /// An empty engine and all rows for it; `None`: after `replaced` others, one more is on its way
    /// with an archive that is being installed.
    pub(super) fn heal(&self, replaced: u64) -> Result<Option<Fresh>, PastFault> {
        let store = self.store.get().and_then(Weak::upgrade);
        let store = store.ok_or_else(|| fault("the store is not open yet"))?;
        let engine = {
            let mut past = self.past.lock();
            if past.replaced != replaced {
                return Ok(None);
            }
            past.covered = 0;
            let engine = open::renew_engine(&mut past, &self.options)?;
            let noted = past.note(false);
            noted.map_err(|error| fault(format!("its condition cannot be noted: {error}")))?;
            engine
        };
        let (rows, expected) = rows(&store)?;
        Ok(Some(Fresh {
            engine,
            rows,
            expected,
        }))
    }
}

/// All that the past must hold of the commands applied so far, and about how much that is. Called
/// when what comes later is kept already.
fn rows(store: &Inner) -> Result<(Refill, u64), PastFault> {
    let (applied, hash) = {
        let applied = store.state.read();
        (applied.index, applied.state.hash())
    };
    let archive = store.newest.read().clone();
    let (mut state, archived, of_archive) = match &archive {
        Some(file) => {
            let loaded = open::load(&file.path).map_err(fault)?;
            (loaded.state, loaded.index, loaded.past_rows)
        }
        None => (State::new(), 0, 0),
    };
    let mut kept = BTreeMap::new();
    let mut forgotten = BTreeSet::new();
    if archived < applied {
        let replay = store.replay.lock();
        let replay = replay
            .as_ref()
            .ok_or_else(|| fault("the log behind the archive cannot be read yet"))?;
        for command in replay(archived + 1..applied + 1) {
            let (context, command) = command.map_err(PastFault)?;
            // One that does not decode changed nothing.
            if let Ok(command) = Command::decode(command) {
                let outcome = apply(&mut state, context, command);
                let rows = outcome.retired.into_iter().map(PastRow::from);
                kept.extend(rows.map(|row| (row.id.clone(), row)));
                forgotten.extend(outcome.forgotten);
            }
        }
    }
    if state.hash() != hash {
        return Err(fault("archive and log do not give the state that runs"));
    }
    let expected = of_archive + kept.len() as u64;
    kept.retain(|id, _| !forgotten.contains(id));
    let of_archive: Refill = match &archive {
        Some(file) => Box::new(open::refill(&file.path).filter(move |row| match row {
            Ok(row) => !forgotten.contains(&row.id),
            Err(_) => true,
        })),
        None => Box::new(std::iter::empty()),
    };
    let rows = of_archive.chain(kept.into_values().map(Ok));
    Ok((Box::new(rows), expected))
}

fn fault(why: impl std::fmt::Display) -> PastFault {
    PastFault(why.to_string())
}
