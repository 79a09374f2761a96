//! Cluster time: what the leaders' clocks said, as the log has it.
//!
//! Two readings. `now` is the newest time any leader stamped; it never runs backwards, and a leader
//! whose clock is ahead takes it along. `steady` counts time that passed, but no jumps: one command
//! moves it by at most [`LONGEST_STEP_MS`]. What must not happen too early for a client that is
//! still there (forgetting its session) goes by `steady`.

use holdfast_proto::Timestamp;

/// The most that one command moves steady time, milliseconds.
const LONGEST_STEP_MS: u64 = 10_000;

/// Cluster time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) now: Timestamp,
    pub(crate) steady_ms: u64,
}

impl Clock {
    /// A command was stamped `at`.
    pub(crate) fn advance(&mut self, at: Timestamp) {
        let passed = at.millis_since(self.now);
        self.now = self.now.max(at);
        self.steady_ms += passed.min(LONGEST_STEP_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards() {
        let mut clock = Clock::default();
        clock.advance(Timestamp::from_millis(5_000));
        clock.advance(Timestamp::from_millis(4_000));
        assert_eq!(clock.now, Timestamp::from_millis(5_000));
        assert_eq!(clock.steady_ms, 5_000);
    }

    #[test]
    fn a_jump_of_a_leaders_clock_hardly_moves_steady_time() {
        let mut clock = Clock::default();
        clock.advance(Timestamp::from_millis(1_000));
        clock.advance(Timestamp::from_millis(1_000_000_000));
        assert_eq!(clock.steady_ms, 11_000);
    }
}
