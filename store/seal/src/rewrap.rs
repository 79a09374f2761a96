//! Rewrapping: after a rotation, each data key is sealed by the newest epoch again. This is the plan of
//! it; [`envelope::rewrap`](crate::envelope::rewrap) is the work.
//!
//! The plan is made from what is there and kept nowhere: the next leader makes its own from what is
//! there then, and so goes on where this one stopped.

use std::collections::{BTreeMap, VecDeque};

use crate::epoch::Epoch;

/// What is to be rewrapped, in batches, and how many wraps each epoch has now. `Id` names a wrap.
#[derive(Clone, Debug)]
pub struct RewrapPlan<Id> {
    target: Epoch,
    batch: usize,
    stale: VecDeque<(Id, Epoch)>,
    counts: BTreeMap<Epoch, u64>,
}

impl<Id> RewrapPlan<Id> {
    /// Everything that an epoch before `target` seals, in the order in which it comes; `batch` at a
    /// time (0 counts as 1). What is of `target` or a later epoch already is counted and left alone.
    pub fn new(target: Epoch, batch: usize, wraps: impl IntoIterator<Item = (Id, Epoch)>) -> Self {
        let mut counts = BTreeMap::new();
        let mut stale = VecDeque::new();
        for (id, epoch) in wraps {
            *counts.entry(epoch).or_insert(0) += 1;
            if epoch < target {
                stale.push_back((id, epoch));
            }
        }
        Self {
            target,
            batch: batch.max(1),
            stale,
            counts,
        }
    }

    /// The epoch that seals everything in the end.
    pub fn target(&self) -> Epoch {
        self.target
    }

    /// How many wraps each epoch had when the plan was made.
    pub fn counts(&self) -> &BTreeMap<Epoch, u64> {
        &self.counts
    }

    /// How many are in batches that were not taken yet.
    pub fn remaining(&self) -> usize {
        self.stale.len()
    }
}

impl<Id> Iterator for RewrapPlan<Id> {
    /// The wraps of one batch, each with the epoch that seals it now.
    type Item = Vec<(Id, Epoch)>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch: Vec<_> = self
            .stale
            .drain(..self.batch.min(self.stale.len()))
            .collect();
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::new(number).unwrap()
    }

    #[test]
    fn everything_stale_comes_once_in_batches_and_nothing_else() {
        let wraps = (0..10_u32).map(|id| (id, epoch(u64::from(id % 4) + 1)));
        let mut plan = RewrapPlan::new(epoch(3), 3, wraps);
        let counts: Vec<_> = plan.counts().values().copied().collect();
        assert_eq!(counts, [3, 3, 2, 2]);
        assert_eq!(plan.remaining(), 6);
        assert_eq!(
            plan.next().unwrap(),
            [(0, epoch(1)), (1, epoch(2)), (4, epoch(1))]
        );
        assert_eq!(plan.remaining(), 3);
        assert_eq!(
            plan.next().unwrap(),
            [(5, epoch(2)), (8, epoch(1)), (9, epoch(2))]
        );
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn a_batch_of_nothing_would_never_end() {
        let plan = RewrapPlan::new(epoch(2), 0, [('a', epoch(1)), ('b', epoch(1))]);
        assert_eq!(plan.count(), 2);
    }
}
