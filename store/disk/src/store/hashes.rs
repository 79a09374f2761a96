//! State hashes at some indexes, so that nodes can compare at equal ones: where a batch of commands
//! ended, for nodes at rest, and at milestones, for busy ones, whose batches end at different places.

use std::collections::VecDeque;

use holdfast_core::StateHash;

/// How many of the newest are kept.
const NEWEST: usize = 64;
/// Every so many-th is kept, and for longer.
const MILESTONE: u64 = 256;
/// How many of those.
const MILESTONES: usize = 64;

/// The hashes that are kept.
#[derive(Default)]
pub(super) struct Hashes {
    newest: VecDeque<(u64, StateHash)>,
    milestones: VecDeque<(u64, StateHash)>,
}

impl Hashes {
    pub(super) fn is_milestone(index: u64) -> bool {
        index.is_multiple_of(MILESTONE)
    }

    pub(super) fn note(&mut self, index: u64, hash: StateHash) {
        push(&mut self.newest, NEWEST, (index, hash));
        if Self::is_milestone(index) {
            push(&mut self.milestones, MILESTONES, (index, hash));
        }
    }

    pub(super) fn at(&self, index: u64) -> Option<StateHash> {
        let kept = self.newest.iter().rev().chain(self.milestones.iter().rev());
        kept.into_iter()
            .find(|(at, _)| *at == index)
            .map(|(_, hash)| *hash)
    }
}

fn push(to: &mut VecDeque<(u64, StateHash)>, most: usize, hash: (u64, StateHash)) {
    if to.len() == most {
        to.pop_front();
    }
    to.push_back(hash);
}
