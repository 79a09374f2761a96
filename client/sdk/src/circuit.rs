//! A circuit: leaves alone what does not answer, and tries it again with one call at a time.
//!
//! A fault breaks it for a while that doubles from fault to fault, with jitter, so that clients do
//! not return in step. When the while is over, *one* call passes as the trial, and for that moment
//! no other: however many calls a client makes, what is still out of order costs one of them a
//! moment in each period. An answer closes it.
//!
//! Nothing here locks; a call that meets a closed circuit pays one load for it. Times are
//! milliseconds on a clock of the caller's.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rand::RngExt as _;

/// One thing that can fail, as this client sees it.
#[derive(Default)]
pub(crate) struct Circuit {
    /// Since the last answer.
    faults: AtomicU32,
    /// 0: closed. Until then, nobody passes.
    broken_until_ms: AtomicU64,
    faulted_at_ms: AtomicU64,
    answered_at_ms: AtomicU64,
}

/// What kind of fault: how long to leave it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Refused or broken. Trying again costs next to nothing.
    Refused,
    /// Silent. Trying again costs a call its patience.
    Silent,
}

impl Circuit {
    /// Whether a call might pass now.
    pub(crate) fn is_passable(&self, now_ms: u64) -> bool {
        self.broken_until_ms.load(Relaxed) <= now_ms
    }

    /// Lets a call pass. After a break that is the trial: while it lasts nobody else passes.
    pub(crate) fn pass(&self, now_ms: u64) -> bool {
        let until = self.broken_until_ms.load(Relaxed);
        if until == 0 {
            return true;
        }
        let trial = now_ms + TRIAL.as_millis() as u64;
        until <= now_ms
            && self
                .broken_until_ms
                .compare_exchange(until, trial, Relaxed, Relaxed)
                .is_ok()
    }

    /// It answered: nothing is held against it any more. Returns whether something was.
    pub(crate) fn answered(&self, now_ms: u64) -> bool {
        self.answered_at_ms.store(now_ms, Relaxed);
        let was_broken = self.broken_until_ms.load(Relaxed) != 0;
        if was_broken {
            self.faults.store(0, Relaxed);
            self.broken_until_ms.store(0, Relaxed);
        }
        was_broken
    }

    /// A call that began at `began_ms` met a fault. Calls that began before the newest fault tell
    /// nothing new: all that were under way meet the same one.
    pub(crate) fn fault(&self, kind: Fault, began_ms: u64, now_ms: u64) {
        let faulted_at = self.faulted_at_ms.load(Relaxed);
        let is_news = self.faults.load(Relaxed) == 0 || began_ms >= faulted_at;
        let first = is_news
            && self
                .faulted_at_ms
                .compare_exchange(faulted_at, now_ms.max(1), Relaxed, Relaxed)
                .is_ok();
        if first {
            let before = self.faults.fetch_add(1, Relaxed).min(8);
            let (shortest, longest) = kind.breaks();
            let pause = jittered(shortest * 2u32.pow(before), longest);
            let until = now_ms + pause.as_millis() as u64;
            self.broken_until_ms.store(until.max(1), Relaxed);
        }
    }

    /// Whether it answered anything since then.
    pub(crate) fn answered_since(&self, then_ms: u64) -> bool {
        self.answered_at_ms.load(Relaxed) > then_ms
    }

    /// When it will be tried again; 0: it is closed.
    pub(crate) fn broken_until_ms(&self) -> u64 {
        self.broken_until_ms.load(Relaxed)
    }
}

impl Fault {
    /// The first break and the longest.
    fn breaks(self) -> (Duration, Duration) {
        match self {
            Self::Refused => (Duration::from_millis(50), Duration::from_secs(2)),
            Self::Silent => (Duration::from_secs(1), Duration::from_secs(8)),
        }
    }
}

/// Between half of `pause` and all of it, at most `longest`.
pub(crate) fn jittered(pause: Duration, longest: Duration) -> Duration {
    pause
        .min(longest)
        .mul_f64(rand::rng().random_range(0.5..1.0))
}

/// How long a trial may take before another call may be the next: its caller may have left.
const TRIAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_break_one_call_is_the_trial() {
        let circuit = Circuit::default();
        assert!(circuit.pass(5) && circuit.pass(5));
        circuit.fault(Fault::Silent, 5, 300);
        assert!(!circuit.pass(301), "it is left alone");
        let later = circuit.broken_until_ms();
        assert!((800..=1300).contains(&later), "{later}");
        assert!(circuit.is_passable(later));
        assert!(circuit.pass(later), "the trial");
        assert!(!circuit.pass(later), "one at a time");
        assert!(circuit.answered(later + 1), "it was broken");
        assert!(circuit.pass(later + 1) && circuit.pass(later + 1));
    }

    #[test]
    fn a_trial_that_nobody_waits_for_is_followed_by_another() {
        let circuit = Circuit::default();
        circuit.fault(Fault::Silent, 1, 2);
        let later = circuit.broken_until_ms();
        assert!(circuit.pass(later) && !circuit.pass(later + 1));
        assert!(circuit.pass(later + TRIAL.as_millis() as u64));
    }

    #[test]
    fn breaks_double_from_fault_to_fault_up_to_a_limit() {
        for (kind, first, longest) in [(Fault::Refused, 50, 2_000), (Fault::Silent, 1_000, 8_000)] {
            let circuit = Circuit::default();
            let (mut now, mut most) = (1_000, first);
            for _ in 0..12 {
                circuit.fault(kind, now, now);
                let pause = circuit.broken_until_ms() - now;
                assert!((most / 2..=most).contains(&pause), "{pause} of {most}");
                now = circuit.broken_until_ms();
                most = (most * 2).min(longest);
            }
        }
    }

    #[test]
    fn calls_that_were_under_way_together_are_one_fault() {
        let circuit = Circuit::default();
        for _ in 0..64 {
            circuit.fault(Fault::Silent, 10, 310);
        }
        assert!(circuit.broken_until_ms() <= 1_310);
        circuit.answered(400);
        // An old call's end still counts when nothing is held against it.
        circuit.fault(Fault::Silent, 10, 500);
        assert!(!circuit.is_passable(501));
    }
}
