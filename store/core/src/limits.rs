//! The limits that `apply` keeps. All nodes of a cluster must have the same.

use holdfast_proto::limits;

/// What the state may hold. [`Limits::default`] is what every cluster runs with; tests set others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys, current values and what is known of older versions, bytes.
    pub state_bytes: u64,
    /// Of these, what is known of older versions, bytes.
    pub history_bytes: u64,
    /// Revisions whose changes stay in memory for watches.
    pub recent_revisions: usize,
    /// Bytes of replaced values that stay in memory for watches.
    pub recent_bytes: usize,
    /// Leases.
    pub leases: usize,
    /// Sessions.
    pub sessions: usize,
    /// How far a session's sequence may be ahead of its first incomplete request.
    pub session_window: u64,
    /// Kept answers of one session, bytes.
    pub session_answer_bytes: u64,
    /// Kept answers of all sessions, bytes.
    pub answer_bytes: u64,
    /// Reports of the fleet.
    pub fleet_reports: u64,
    /// Reports of one identity.
    pub fleet_of_one: u64,
    /// All reports together, bytes.
    pub fleet_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            state_bytes: limits::STATE_BYTES,
            history_bytes: limits::HISTORY_BYTES,
            recent_revisions: limits::RECENT_REVISIONS,
            recent_bytes: limits::RECENT_BYTES,
            leases: limits::LEASES,
            sessions: limits::SESSIONS,
            session_window: limits::SESSION_WINDOW as u64,
            session_answer_bytes: limits::SESSION_ANSWER_BYTES,
            answer_bytes: limits::ANSWER_BYTES,
            fleet_reports: limits::FLEET_REPORTS as u64,
            fleet_of_one: limits::FLEET_REPORTS_OF_ONE as u64,
            fleet_bytes: limits::FLEET_BYTES,
        }
    }
}
