//! Notices a peer that lost its log and came back under its old number.
//!
//! Such a peer may have voted, and acknowledged entries, that it no longer knows of. It says
//! "conflict" about an entry that it has acknowledged to this very leader, which an honest log
//! never does. Consensus must not see that answer (a debug build panics, a release build probes
//! without end), so it is turned into "unreachable" and told to the operator.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::types::{LogId, Vote};

/// What each peer has acknowledged to the present leader.
#[derive(Clone, Default)]
pub(crate) struct Acknowledged(Arc<Mutex<HashMap<u64, UpTo>>>);

/// To which leader, and up to which entry.
type UpTo = (Vote, Option<LogId>);

impl Acknowledged {
    /// `peer` holds the log up to `matched`.
    pub(crate) fn note(&self, peer: u64, vote: &Vote, matched: Option<LogId>) {
        let mut peers = self.0.lock();
        let known = peers.entry(peer).or_insert((*vote, None));
        if known.0 == *vote {
            known.1 = known.1.max(matched);
        } else {
            *known = (*vote, matched);
        }
    }

    /// Whether `peer` denies what it acknowledged.
    pub(crate) fn denies(&self, peer: u64, vote: &Vote, conflict: Option<LogId>) -> bool {
        let peers = self.0.lock();
        peers.get(&peer).is_some_and(|(known, matched)| {
            known == vote && conflict.is_some() && conflict <= *matched
        })
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId as _;

    use super::*;
    use crate::types::{LeaderId, log_id};

    fn vote(term: u64) -> Vote {
        Vote {
            leader_id: LeaderId::new(term, 1),
            committed: true,
        }
    }

    #[test]
    fn a_peer_that_denies_what_it_acknowledged_has_lost_its_log() {
        let seen = Acknowledged::default();
        seen.note(2, &vote(5), Some(log_id(5, 100)));
        assert!(seen.denies(2, &vote(5), Some(log_id(5, 100))));
        assert!(seen.denies(2, &vote(5), Some(log_id(3, 7))));
    }

    #[test]
    fn an_honest_conflict_is_let_through() {
        let seen = Acknowledged::default();
        seen.note(2, &vote(5), Some(log_id(5, 100)));
        assert!(!seen.denies(2, &vote(5), Some(log_id(5, 101))));
        assert!(!seen.denies(3, &vote(5), Some(log_id(5, 1))));
        assert!(!seen.denies(2, &vote(6), Some(log_id(5, 100))));
    }
}
