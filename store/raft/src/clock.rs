//! The time that a leader stamps into commands.
//!
//! Cluster time ages history and ends join tokens on every node, and never runs backwards: a single
//! leader whose wall clock is far ahead would age everything for good. So a wall clock is believed
//! only while somebody *vouches* for it, which the server does as long as most voters' clocks
//! agree, and only as far as it goes along with monotonic time since then. A clock that is in doubt
//! decides nothing: cluster time then goes on from where it is, at the pace of monotonic time.
//!
//! Invariants: (1) without a majority's word no command moves cluster time by more than the time
//! that passed plus [`CLOCK_APART_MS`]. (2) A state that has seen no command yet has nothing to age:
//! its first takes whatever the clock says.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use holdfast_proto::limits::CLOCK_APART_MS;
use parking_lot::Mutex;

/// One node's wall clock, and how far it is to be believed. New, it is vouched for by whoever
/// started the node.
pub struct Clock {
    belief: Mutex<Belief>,
}

impl Default for Clock {
    fn default() -> Self {
        let clock = Self {
            belief: Mutex::default(),
        };
        clock.vouch();
        clock
    }
}

impl Clock {
    /// Most voters' clocks agree with this one, right now.
    pub fn vouch(&self) {
        self.belief.lock().vouch(self.wall_ms(), Instant::now());
    }

    /// They do not, or nobody knows yet.
    pub fn doubt(&self) {
        *self.belief.lock() = Belief::default();
    }

    /// What the wall clock says, believed or not: milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        // A clock before 1970 is as wrong as any; cluster time never runs backwards for it.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        #[cfg(feature = "faults")]
        let wall = wall.saturating_add_signed(crate::faults::clock_ahead_ms());
        wall
    }

    /// The time as far as it can be believed. `known` is asked for cluster time so far where that
    /// matters.
    pub(crate) fn now_ms(&self, known: impl FnOnce() -> u64) -> u64 {
        let wall = self.wall_ms();
        self.belief.lock().time(wall, Instant::now(), known)
    }
}

/// What is believed of a wall clock.
#[derive(Debug, Default)]
struct Belief {
    /// What it said when it was last vouched for.
    vouched: Option<Anchor>,
    /// Where cluster time was, when the clock is in doubt.
    paced: Option<Anchor>,
}

/// A time, and when it was that.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    time_ms: u64,
    since: Instant,
}

impl Anchor {
    fn time_at(self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.since).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.time_ms.saturating_add(passed)
    }
}

impl Belief {
    fn vouch(&mut self, wall_ms: u64, now: Instant) {
        *self = Self {
            vouched: Some(Anchor {
                time_ms: wall_ms,
                since: now,
            }),
            paced: None,
        };
    }

    fn time(&mut self, wall_ms: u64, now: Instant, known: impl FnOnce() -> u64) -> u64 {
        let expected = match self.vouched {
            Some(vouched) => vouched.time_at(now),
            None => match known() {
                0 => return wall_ms,
                known => self.pace(known, now),
            },
        };
        if wall_ms.abs_diff(expected) <= CLOCK_APART_MS {
            wall_ms
        } else {
            expected
        }
    }

    fn pace(&mut self, known_ms: u64, now: Instant) -> u64 {
        let paced = self.paced.map_or(0, |paced| paced.time_at(now));
        if paced < known_ms {
            self.paced = Some(Anchor {
                time_ms: known_ms,
                since: now,
            });
        }
        paced.max(known_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON: u64 = 1_800_000_000_000;
    const YEAR: u64 = 365 * 24 * 60 * 60 * 1_000;

    fn later(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    #[test]
    fn a_clock_that_is_vouched_for_is_taken_as_it_is() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        belief.vouch(NOON, start);
        assert_eq!(belief.time(NOON + 40, later(start, 50), || 7), NOON + 40);
    }

    #[test]
    fn a_jump_after_the_word_was_given_is_not_followed() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        belief.vouch(NOON, start);
        let soon = later(start, 1_000);
        assert_eq!(belief.time(NOON + YEAR, soon, || 7), NOON + 1_000);
        assert_eq!(belief.time(NOON - YEAR, soon, || 7), NOON + 1_000);
        // Somebody sets it right, or a majority has jumped as well.
        assert_eq!(belief.time(NOON + 1_001, soon, || 7), NOON + 1_001);
        belief.vouch(NOON + YEAR, soon);
        assert_eq!(belief.time(NOON + YEAR, soon, || 7), NOON + YEAR);
    }

    #[test]
    fn a_clock_in_doubt_moves_cluster_time_by_what_passes() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        for wall in [NOON + YEAR, NOON - YEAR, 0] {
            assert_eq!(belief.time(wall, start, || NOON), NOON);
        }
        // Cluster time follows the stamps; it never jumps.
        let mut known = NOON;
        for step in 1..=100 {
            known = belief.time(NOON + YEAR, later(start, step * 100), || known);
        }
        assert_eq!(known, NOON + 10_000);
        // Another leader was ahead of this one meanwhile.
        let now = later(start, 20_000);
        assert_eq!(
            belief.time(NOON + YEAR, now, || NOON + 60_000),
            NOON + 60_000
        );
    }

    #[test]
    fn a_clock_in_doubt_that_is_hardly_off_is_taken() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        assert_eq!(belief.time(NOON + 2_000, start, || NOON), NOON + 2_000);
    }

    #[test]
    fn the_first_command_of_all_takes_the_clock_as_it_is() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        assert_eq!(belief.time(NOON, start, || 0), NOON);
    }
}
