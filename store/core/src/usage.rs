//! How much of its limits the state uses.

use crate::{State, limits::Limits};

/// What the state holds. Sizes are as limits count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Current keys.
    pub keys: u64,
    /// Keys, current values and what is known of older versions, bytes.
    pub state_bytes: u64,
    /// Of these, what is known of older versions, bytes.
    pub history_bytes: u64,
    /// Older versions known, deletions counted.
    pub versions: u64,
    /// Leases.
    pub leases: u64,
    /// Sessions whose requests are remembered.
    pub sessions: u64,
    /// Kept answers of all sessions, bytes.
    pub answer_bytes: u64,
    /// Members that were not removed.
    pub members: u64,
    /// Unused join tokens.
    pub tokens: u64,
    /// Prefixes with a retention of their own.
    pub retention_prefixes: u64,
    /// Revisions in the window for watches.
    pub recent_revisions: u64,
    /// Replaced values in the window for watches, bytes.
    pub recent_bytes: u64,
    /// Reports of the fleet.
    pub fleet_reports: u64,
    /// All of them, bytes.
    pub fleet_bytes: u64,
}

impl State {
    /// How much of its limits it uses.
    pub fn usage(&self) -> Usage {
        Usage {
            keys: self.keys.count() as u64,
            state_bytes: self.state_bytes(),
            history_bytes: self.keys.history_bytes,
            versions: self.keys.version_count,
            leases: self.leases.all.len() as u64,
            sessions: self.sessions.all.len() as u64,
            answer_bytes: self.sessions.totals.bytes,
            members: self.members.present().count() as u64,
            tokens: self.tokens.all.len() as u64,
            retention_prefixes: self.policies.all.len() as u64,
            recent_revisions: self.recent.len() as u64,
            recent_bytes: self.recent.bytes as u64,
            fleet_reports: self.fleet.len() as u64,
            fleet_bytes: self.fleet.bytes(),
        }
    }

    /// The limits it keeps.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn state_bytes(&self) -> u64 {
        self.keys.present_bytes + self.keys.history_bytes + self.keyring.wrap_bytes
    }
}
