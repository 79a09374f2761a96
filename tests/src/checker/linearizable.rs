//! Per-key linearizability: is there an order of the calls, each somewhere between its invoke and
//! its return, in which a plain register would have given these answers?
//!
//! Keys are judged one by one (linearizability is local: Herlihy and Wing, 1990). The search is
//! Wing and Gong's (1993) with Lowe's memoisation (2017), in the form of Porcupine: walk the
//! events by time, take a call as the next one if the register allows it, and go back when a
//! return is reached whose call could not be placed. Two things keep it short: a state seen with
//! the same set of placed calls is not searched again, and a call that only reads is placed at the
//! first chance, for it can never stand in the way.
//!
//! A call of unknown outcome returns at the end of time. With the store's account of its changes
//! at hand, it is known whether such a write happened; a write that never did is left out.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Violation;
use crate::history::{Answer, Call, Change, Operation, Outcome};

/// Judges each key of the history. `changes`, where given, settles the unknown outcomes.
pub fn check(operations: &[Operation], changes: Option<&[Change]>) -> Vec<Violation> {
    let happened: Option<HashSet<u64>> =
        changes.map(|changes| changes.iter().filter_map(Change::operation).collect());
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        if matches!(operation.outcome, Outcome::Unknown(_))
            && (matches!(operation.call, Call::Get { .. })
                || happened
                    .as_ref()
                    .is_some_and(|all| !all.contains(&operation.number)))
        {
            continue;
        }
        if matches!(operation.outcome, Outcome::Fail(_)) {
            continue;
        }
        for key in operation.call.keys() {
            keys.entry(key).or_default().push(operation);
        }
    }
    let mut violations = Vec::new();
    for (key, operations) in keys {
        match Search::new(key, &operations).run(STEPS) {
            Verdict::Linearizable => {}
            Verdict::Not { stuck, placed } => violations.push(Violation::new(
                "linearizable",
                format!(
                    "{key}: no order explains the answers. At most {placed} of {} calls can be \
                     placed; then stuck at {:?}",
                    operations.len(),
                    operations[stuck],
                ),
            )),
            Verdict::Undecided => violations.push(Violation::new(
                "linearizable",
                format!("{key}: undecided after {STEPS} steps; use fewer clients on one key"),
            )),
        }
    }
    violations
}

/// A value, interned; 0 is a key that does not exist.
type Register = u32;

#[derive(Clone, Copy, Debug)]
enum Step {
    Read(Register),
    Write(Register),
    /// A compare-and-set that was applied.
    Set {
        expected: Register,
        value: Register,
    },
    /// A compare-and-set that found something else.
    Refused {
        expected: Register,
    },
    /// A compare-and-set of unknown outcome.
    MaybeSet {
        expected: Register,
        value: Register,
    },
    Delete {
        existed: Option<bool>,
    },
}

impl Step {
    /// The register afterwards, if it allows this step.
    fn apply(self, register: Register) -> Option<Register> {
        match self {
            Self::Read(value) => (register == value).then_some(register),
            Self::Write(value) => Some(value),
            Self::Set { expected, value } => (register == expected).then_some(value),
            Self::Refused { expected } => (register != expected).then_some(register),
            Self::MaybeSet { expected, value } => Some(if register == expected {
                value
            } else {
                register
            }),
            Self::Delete {
                existed: Some(existed),
            } => (existed == (register != 0)).then_some(0),
            Self::Delete { existed: None } => Some(0),
        }
    }

    /// Whether it leaves the register as it is whenever it is allowed. (A write of the value that
    /// is there already does not count: another order may need it later.)
    fn only_reads(self) -> bool {
        matches!(
            self,
            Self::Read(_)
                | Self::Refused { .. }
                | Self::Delete {
                    existed: Some(false)
                }
        )
    }
}

enum Verdict {
    Linearizable,
    Not { stuck: usize, placed: usize },
    Undecided,
}

/// An event: the invoke or the return of the call with this place.
#[derive(Clone, Copy)]
struct Node {
    call: usize,
    is_return: bool,
    before: usize,
    after: usize,
}

struct Search {
    steps: Vec<Step>,
    /// Events by time, as a doubly linked list; node 0 is the head.
    nodes: Vec<Node>,
    /// The node of each call's return.
    returns: Vec<usize>,
    /// A random word per call: the set of placed calls is known by the xor of its words.
    words: Vec<u128>,
}

impl Search {
    fn new(key: &str, operations: &[&Operation]) -> Self {
        let mut values = HashMap::new();
        let mut intern = |value: Option<&str>| match value {
            None => 0,
            Some(value) => {
                let next = Register::try_from(values.len() + 1).unwrap_or(Register::MAX);
                *values.entry(value.to_owned()).or_insert(next)
            }
        };
        let steps = operations
            .iter()
            .map(|operation| step(key, operation, &mut intern))
            .collect();

        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(operations.len() * 2);
        for (call, operation) in operations.iter().enumerate() {
            events.push((operation.invoked_ns, false, call));
            events.push((operation.returned_ns, true, call));
        }
        // At the same instant an invoke comes first: the calls overlap.
        events.sort_unstable();
        let mut nodes = vec![Node {
            call: usize::MAX,
            is_return: false,
            before: 0,
            after: 0,
        }];
        let mut returns = vec![0; operations.len()];
        for (_, is_return, call) in events {
            let here = nodes.len();
            nodes.push(Node {
                call,
                is_return,
                before: here - 1,
                after: END,
            });
            nodes[here - 1].after = here;
            if is_return {
                returns[call] = here;
            }
        }
        if nodes.len() == 1 {
            nodes[0].after = END;
        }
        let words = (0..operations.len() as u128).map(scatter).collect();
        Self {
            steps,
            nodes,
            returns,
            words,
        }
    }

    fn run(mut self, limit: u64) -> Verdict {
        let mut register: Register = 0;
        let mut placed: u128 = 0;
        let mut seen: HashSet<(u128, Register)> = HashSet::new();
        let mut path: Vec<(usize, Register)> = Vec::new();
        let mut best = (0, 0);
        let mut at = self.nodes[0].after;
        let mut taken = 0_u64;
        while self.nodes[0].after != END {
            taken += 1;
            if taken > limit {
                return Verdict::Undecided;
            }
            let node = self.nodes[at];
            if !node.is_return {
                let next = self.steps[node.call].apply(register);
                if let Some(next) = next
                    && seen.insert((placed ^ self.words[node.call], next))
                {
                    path.push((at, register));
                    register = next;
                    placed ^= self.words[node.call];
                    self.lift(at);
                    at = self.nodes[0].after;
                } else {
                    at = node.after;
                }
                continue;
            }
            if path.len() >= best.0 {
                best = (path.len(), node.call);
            }
            // Back to the last placed call that is not a mere read; those stood in no one's way.
            loop {
                let Some((last, before)) = path.pop() else {
                    return Verdict::Not {
                        stuck: best.1,
                        placed: best.0,
                    };
                };
                let call = self.nodes[last].call;
                register = before;
                placed ^= self.words[call];
                self.unlift(last);
                if !self.steps[call].only_reads() {
                    at = self.nodes[last].after;
                    break;
                }
            }
        }
        Verdict::Linearizable
    }

    /// Takes a call and its return out of the list.
    fn lift(&mut self, call: usize) {
        self.unlink(call);
        self.unlink(self.returns[self.nodes[call].call]);
    }

    /// Puts them back, in the opposite order.
    fn unlift(&mut self, call: usize) {
        self.relink(self.returns[self.nodes[call].call]);
        self.relink(call);
    }

    fn unlink(&mut self, at: usize) {
        let Node { before, after, .. } = self.nodes[at];
        self.nodes[before].after = after;
        if after != END {
            self.nodes[after].before = before;
        }
    }

    fn relink(&mut self, at: usize) {
        let Node { before, after, .. } = self.nodes[at];
        self.nodes[before].after = at;
        if after != END {
            self.nodes[after].before = at;
        }
    }
}

fn step<'a>(
    key: &str,
    operation: &'a Operation,
    intern: &mut impl FnMut(Option<&'a str>) -> Register,
) -> Step {
    match (&operation.call, &operation.outcome) {
        (Call::Get { .. }, Outcome::Ok(Answer::Read { value, .. })) => {
            Step::Read(intern(value.as_deref()))
        }
        (Call::Put { value, .. } | Call::PutMany { value, .. }, _) => {
            Step::Write(intern(Some(value)))
        }
        (
            Call::CompareAndSet {
                expected, value, ..
            },
            outcome,
        ) => {
            let (expected, value) = (intern(expected.as_deref()), intern(Some(value)));
            match outcome {
                Outcome::Ok(Answer::Conflict { .. }) => Step::Refused { expected },
                Outcome::Ok(_) => Step::Set { expected, value },
                _ => Step::MaybeSet { expected, value },
            }
        }
        (Call::Delete { .. }, Outcome::Ok(Answer::Deleted { existed, .. })) => Step::Delete {
            existed: Some(*existed),
        },
        (Call::Delete { .. }, _) => Step::Delete { existed: None },
        (call, outcome) => panic!("{key}: {call:?} cannot have ended as {outcome:?}"),
    }
}

/// Well-spread words from small numbers (the finaliser of splitmix64, twice).
fn scatter(number: u128) -> u128 {
    let mix = |seed: u64| {
        let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let number = number as u64;
    (u128::from(mix(number)) << 64) | u128::from(mix(mix(number) ^ 0x5bf0_3635))
}

/// No node follows.
const END: usize = usize::MAX;

/// Far beyond what a healthy history takes (about two steps a call).
const STEPS: u64 = 20_000_000;

#[cfg(test)]
#[path = "linearizable_tests.rs"]
mod tests;
