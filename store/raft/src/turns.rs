//! A worker that has nothing to do gives others a turn before it falls asleep; and one that tells many
//! watchers, between two groups of them.
//!
//! Where programs wait for the processors, those whose turn it is bring it something to do: it finds several
//! requests at once, none of them had to wake it, and it pushed nobody aside. Where nobody waits, that costs
//! a system call, half a microsecond.
//!
//! Where others compute, and bring nothing, each such turn costs the worker their whole time slice,
//! milliseconds in which a request may have come. So turns are judged by how long they take, and for as long
//! as many of them are long, none are given.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Gives whoever waits for this processor a turn, unless that has cost this thread too much lately.
pub fn let_others_run() {
    thread_local! {
        static TURNS: Cell<Turns> = const { Cell::new(Turns::NONE) };
    }
    TURNS.with(|of_this_thread| {
        let mut turns = of_this_thread.get();
        let began = Instant::now();
        if turns.may_yield(began) {
            std::thread::yield_now();
            turns.yielded(began, Instant::now());
            of_this_thread.set(turns);
        }
    });
}

/// What others' turns have cost one thread lately.
#[derive(Clone, Copy)]
struct Turns {
    /// A long one counts for much, a short one takes back a little.
    strikes: u32,
    paused_until: Option<Instant>,
    next_pause: Duration,
}

/// Longer than others of the same cluster or its clients run at a stretch, but for one time in fifty.
/// Where programs compute on all processors, every third turn is longer, or every second.
const LONG: Duration = Duration::from_millis(2);
/// So many short turns outweigh a long one.
const LONG_COUNTS: u32 = 8;
/// Sixteen long turns in a row: too many to come by chance among short ones.
const STRIKES: u32 = 128;
/// The first pause, and the longest: each is twice the one before, until turns are short again. After each,
/// one long turn begins the next.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

impl Turns {
    const NONE: Self = Self {
        strikes: 0,
        paused_until: None,
        next_pause: FIRST_PAUSE,
    };

    fn may_yield(&self, now: Instant) -> bool {
        self.paused_until.is_none_or(|until| until <= now)
    }

    fn yielded(&mut self, began: Instant, ended: Instant) {
        self.paused_until = None;
        if ended.duration_since(began) < LONG {
            self.strikes = self.strikes.saturating_sub(1);
            if self.strikes == 0 {
                self.next_pause = FIRST_PAUSE;
            }
            return;
        }
        self.strikes += LONG_COUNTS;
        if self.strikes >= STRIKES {
            self.strikes = STRIKES - LONG_COUNTS;
            self.paused_until = Some(ended + self.next_pause);
            self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(300);

    /// Lets time pass in turns, and tells how many were taken and what they cost.
    struct Worker {
        turns: Turns,
        now: Instant,
    }

    impl Worker {
        fn new() -> Self {
            Self {
                turns: Turns::NONE,
                now: Instant::now(),
            }
        }

        /// One that falls asleep each millisecond; `turn` says how long others run the n-th time.
        fn live(&mut self, time: Duration, turn: impl Fn(u32) -> Duration) -> (u32, Duration) {
            let (end, mut count, mut cost) = (self.now + time, 0, Duration::ZERO);
            while self.now < end {
                self.now += Duration::from_millis(1);
                if self.turns.may_yield(self.now) {
                    let began = self.now;
                    self.now += turn(count);
                    self.turns.yielded(began, self.now);
                    count += 1;
                    cost += turn(count - 1);
                }
            }
            (count, cost)
        }
    }

    #[test]
    fn a_worker_among_those_that_bring_it_something_always_yields() {
        let mut worker = Worker::new();
        // As many long ones as under the heaviest load that was seen, several times over.
        let turn = |count| if count % 10 == 0 { 2 * LONG } else { SHORT };
        let before = worker.now;
        let (count, cost) = worker.live(Duration::from_secs(60), turn);
        let asleep = Duration::from_millis(1) * count;
        assert_eq!(worker.now - before, asleep + cost, "no pause");
    }

    #[test]
    fn programs_that_compute_cost_a_worker_next_to_nothing() {
        let mut worker = Worker::new();
        // As with one client and two such programs on two processors: a third of the turns are slices.
        let turn = |count| if count % 3 == 0 { 2 * LONG } else { SHORT };
        let (_, at_first) = worker.live(Duration::from_secs(1), turn);
        assert!(at_first < Duration::from_millis(300), "{at_first:?}");
        let (count, cost) = worker.live(Duration::from_secs(600), turn);
        assert!(count > 5, "it goes on trying");
        assert!(cost < Duration::from_secs(1), "{cost:?}");
    }

    #[test]
    fn a_worker_yields_again_when_they_have_ended() {
        let mut worker = Worker::new();
        worker.live(Duration::from_secs(600), |_| 2 * LONG);
        worker.live(LONGEST_PAUSE, |_| SHORT);
        let (count, _) = worker.live(Duration::from_secs(10), |_| SHORT);
        assert!(count > 7_000, "{count}");
        // And the next such program is judged as the first one was.
        let (_, cost) = worker.live(Duration::from_secs(2), |_| 2 * LONG);
        assert!(cost > 15 * LONG, "{cost:?}");
        assert_eq!(worker.turns.next_pause, 4 * FIRST_PAUSE);
    }
}
