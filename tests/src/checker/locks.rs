//! Locks: fencing tokens are unique and rise with real time, and a lock has one holder at a time.
//!
//! A hold lasts from the answer that gave it until its holder begins to release it or is told
//! that it lost it. Whoever gets the next token must come after that. A holder that was never
//! told (its process was stopped) is what the token is for: its writes are refused.

use std::collections::BTreeMap;

use super::Violation;
use crate::history::{Answer, Call, Event, Line, Operation, Outcome};

/// Judges every lock of the history.
pub fn check(operations: &[Operation], lines: &[Line]) -> Vec<Violation> {
    let mut holds: BTreeMap<&str, Vec<Hold>> = BTreeMap::new();
    for operation in operations {
        if let (Call::Lock { name }, Outcome::Ok(Answer::Locked { token })) =
            (&operation.call, &operation.outcome)
        {
            holds.entry(name).or_default().push(Hold {
                token: *token,
                asked_ns: operation.invoked_ns,
                held_ns: operation.returned_ns,
                ended_ns: ended(name, *token, operations, lines),
            });
        }
    }
    let mut violations = Vec::new();
    for (name, mut holds) in holds {
        holds.sort_unstable_by_key(|hold| hold.token);
        let mut last_ended: Option<Hold> = None;
        for pair in holds.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            if first.token == second.token {
                violations.push(Violation::new(
                    "lock tokens rise",
                    format!("{name}: token {} was given twice", first.token),
                ));
            }
            if second.held_ns < first.asked_ns {
                violations.push(Violation::new(
                    "lock tokens rise",
                    format!("{name}: {second:?} was held before {first:?} was asked for"),
                ));
            }
            if last_ended.is_none_or(|last| last.ended_ns < first.ended_ns) {
                last_ended = Some(first);
            }
            if let Some(last) = last_ended.filter(|last| last.ended_ns > second.held_ns) {
                violations.push(Violation::new(
                    "one holder at a time",
                    format!("{name}: {second:?} was given while {last:?} lasted"),
                ));
            }
        }
    }
    violations
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    token: u64,
    asked_ns: u64,
    held_ns: u64,
    ended_ns: u64,
}

fn ended(name: &str, token: u64, operations: &[Operation], lines: &[Line]) -> u64 {
    let released = operations
        .iter()
        .filter_map(|operation| match &operation.call {
            Call::Release {
                name: lock,
                token: hold,
            } if lock == name && *hold == token => Some(operation.invoked_ns),
            _ => None,
        });
    let lost = lines.iter().filter_map(|line| match &line.event {
        Event::Lost {
            name: lock,
            token: hold,
        } if lock == name && *hold == token => Some(line.at_ns),
        _ => None,
    });
    released.chain(lost).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Event;

    #[derive(Default)]
    struct Builder(Vec<Line>, u64);

    impl Builder {
        fn hold(mut self, token: u64, at: (u64, u64), released: Option<u64>) -> Self {
            let lock = || "l".to_owned();
            self.1 += 1;
            let operation = self.1;
            let mut line = |at_ns, event| {
                self.0.push(Line {
                    at_ns,
                    process: 1,
                    event,
                })
            };
            line(
                at.0,
                Event::Invoke {
                    operation,
                    call: Call::Lock { name: lock() },
                },
            );
            line(
                at.1,
                Event::Ok {
                    operation,
                    answer: Answer::Locked { token },
                },
            );
            if let Some(at) = released {
                self.1 += 1;
                let call = Call::Release {
                    name: lock(),
                    token,
                };
                line(
                    at,
                    Event::Invoke {
                        operation: operation + 1,
                        call,
                    },
                );
            }
            self
        }

        fn lost(mut self, token: u64, at_ns: u64) -> Self {
            let event = Event::Lost {
                name: "l".into(),
                token,
            };
            self.0.push(Line {
                at_ns,
                process: 1,
                event,
            });
            self
        }

        fn caught(self) -> Vec<&'static str> {
            let history = crate::history::History {
                lines: self.0,
                changes: Vec::new(),
            };
            check(&history.operations(), &history.lines)
                .iter()
                .map(|violation| violation.check)
                .collect()
        }
    }

    #[test]
    fn one_after_the_other_holds() {
        let history = Builder::default()
            .hold(3, (0, 1), Some(5))
            .hold(7, (2, 6), None);
        assert!(history.caught().is_empty());
    }

    #[test]
    fn two_holders_at_once_are_caught() {
        let history = Builder::default()
            .hold(3, (0, 1), Some(9))
            .hold(7, (2, 6), None);
        assert_eq!(history.caught(), ["one holder at a time"]);
    }

    #[test]
    fn a_holder_that_was_never_told_is_caught() {
        let history = Builder::default()
            .hold(3, (0, 1), None)
            .hold(7, (2, 6), None);
        assert_eq!(history.caught(), ["one holder at a time"]);
    }

    #[test]
    fn a_lost_lock_may_be_held_by_another() {
        let history = Builder::default()
            .hold(3, (0, 1), None)
            .lost(3, 5)
            .hold(7, (2, 6), None);
        assert!(history.caught().is_empty());
    }

    #[test]
    fn a_token_given_twice_is_caught() {
        let history = Builder::default()
            .hold(3, (0, 1), Some(2))
            .hold(3, (3, 4), Some(5));
        assert!(history.caught().contains(&"lock tokens rise"));
    }

    #[test]
    fn a_token_that_falls_is_caught() {
        let history = Builder::default()
            .hold(7, (0, 1), Some(2))
            .hold(3, (3, 4), Some(5));
        assert!(history.caught().contains(&"lock tokens rise"));
    }
}
