//! Writes against the store's account: none lost, none twice, none without a place.
//!
//! * Each acknowledged write is there, at the revision that its answer named, with all its keys.
//! * A write that failed for certain is not there.
//! * No write is there at two revisions: requests are applied at most once.
//! * Revisions have no gap.
//! * A write that was acknowledged before another was asked for has the lower revision, whatever
//!   the keys: this is linearizability across keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Violation;
use crate::history::{Answer, Call, Change, Operation, Outcome};

/// Judges all writes of the history.
pub fn check(operations: &[Operation], changes: &[Change]) -> Vec<Violation> {
    let mut violations = Vec::new();
    gaps(changes, &mut violations);
    let mut made: HashMap<u64, BTreeSet<u64>> = HashMap::new();
    let mut at: BTreeMap<u64, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        at.entry(change.revision).or_default().push(change);
        if let Some(operation) = change.operation() {
            made.entry(operation).or_default().insert(change.revision);
        }
    }
    for operation in operations
        .iter()
        .filter(|operation| operation.call.writes())
    {
        let revisions = made.get(&operation.number);
        if let Some(revisions) = revisions.filter(|revisions| revisions.len() > 1) {
            violations.push(Violation::new(
                "applied at most once",
                format!("{operation:?} was applied at the revisions {revisions:?}"),
            ));
        }
        match &operation.outcome {
            Outcome::Fail(_) | Outcome::Ok(Answer::Conflict { .. }) => {
                if let Some(revisions) = revisions {
                    violations.push(Violation::new(
                        "a refused write is without effect",
                        format!("{operation:?} is at {revisions:?}"),
                    ));
                }
            }
            Outcome::Ok(_) => {
                if let Some(what) = lost(operation, &at) {
                    violations.push(Violation::new("no acknowledged write lost", what));
                }
            }
            Outcome::Unknown(_) => {}
        }
    }
    real_time(operations, &mut violations);
    violations
}

fn gaps(changes: &[Change], violations: &mut Vec<Violation>) {
    let mut last = 0;
    for change in changes {
        if change.revision != last && change.revision != last + 1 {
            violations.push(Violation::new(
                "revisions without a gap",
                format!("{} is followed by {}", last, change.revision),
            ));
        }
        last = change.revision;
    }
}

/// What is missing of an acknowledged write.
fn lost(operation: &Operation, at: &BTreeMap<u64, Vec<&Change>>) -> Option<String> {
    let Some(revision) = operation.revision() else {
        // Only a delete that found nothing may be acknowledged without a revision.
        let is_empty_delete = matches!(
            operation.outcome,
            Outcome::Ok(Answer::Deleted { existed: false, .. })
        );
        return (!is_empty_delete).then(|| format!("{operation:?} names no revision"));
    };
    let Some(found) = at.get(&revision) else {
        return Some(format!("{operation:?}: there is no revision {revision}"));
    };
    let value = match &operation.call {
        Call::Put { value, .. }
        | Call::PutMany { value, .. }
        | Call::CompareAndSet { value, .. } => Some(value),
        _ => None,
    };
    let keys = operation.call.keys();
    let is_whole = keys.len() == found.len()
        && found.iter().all(|change| {
            keys.contains(&change.key.as_str())
                && change.value.as_ref() == value
                && change.operation() == Some(operation.number)
        });
    (!is_whole).then(|| format!("{operation:?}: revision {revision} is {found:?}"))
}

fn real_time(operations: &[Operation], violations: &mut Vec<Violation>) {
    let acknowledged = || {
        operations
            .iter()
            .filter_map(|operation| Some((operation, operation.revision()?)))
    };
    let mut returns: Vec<_> = acknowledged().collect();
    let mut invokes = returns.clone();
    returns.sort_unstable_by_key(|(operation, _)| operation.returned_ns);
    invokes.sort_unstable_by_key(|(operation, _)| operation.invoked_ns);
    let mut returns = returns.into_iter().peekable();
    let mut newest: Option<(&Operation, u64)> = None;
    for (operation, revision) in invokes {
        while let Some(done) = returns.next_if(|(done, _)| done.returned_ns < operation.invoked_ns)
        {
            if newest.is_none_or(|(_, newest)| done.1 > newest) {
                newest = Some(done);
            }
        }
        if let Some((before, newest)) = newest.filter(|(_, newest)| *newest >= revision) {
            violations.push(Violation::new(
                "revisions follow real time",
                format!("{operation:?} came after {before:?} and has {revision} <= {newest}"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::note;

    fn put(number: u64, at: (u64, u64), outcome: Outcome) -> Operation {
        Operation {
            number,
            process: 1,
            call: Call::Put {
                key: "k".into(),
                value: format!("v{number}"),
            },
            invoked_ns: at.0,
            returned_ns: at.1,
            outcome,
        }
    }

    fn written(revision: u64) -> Outcome {
        Outcome::Ok(Answer::Written { revision })
    }

    fn change(revision: u64, number: u64) -> Change {
        let value = Some(format!("v{number}"));
        Change {
            revision,
            key: "k".into(),
            value,
            note: note(number),
        }
    }

    fn caught(operations: &[Operation], changes: &[Change]) -> Vec<&'static str> {
        check(operations, changes)
            .iter()
            .map(|violation| violation.check)
            .collect()
    }

    #[test]
    fn what_was_acknowledged_and_is_there_holds() {
        let operations = [put(1, (0, 1), written(1)), put(2, (2, 3), written(2))];
        assert!(caught(&operations, &[change(1, 1), change(2, 2)]).is_empty());
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_caught() {
        let operations = [put(1, (0, 1), written(1)), put(2, (2, 3), written(2))];
        assert_eq!(
            caught(&operations, &[change(1, 1)]),
            ["no acknowledged write lost"]
        );
        let replaced = caught(&operations, &[change(1, 1), change(2, 9)]);
        assert_eq!(replaced, ["no acknowledged write lost"]);
    }

    #[test]
    fn half_of_an_acknowledged_transaction_is_caught() {
        let mut both = put(1, (0, 1), written(1));
        both.call = Call::PutMany {
            keys: vec!["k".into(), "l".into()],
            value: "v1".into(),
        };
        assert_eq!(
            caught(&[both], &[change(1, 1)]),
            ["no acknowledged write lost"]
        );
    }

    #[test]
    fn a_write_applied_twice_is_caught() {
        let operations = [put(1, (0, 9), written(1))];
        let changes = [change(1, 1), change(2, 1)];
        assert_eq!(caught(&operations, &changes), ["applied at most once"]);
        let unknown = [put(1, (0, 9), Outcome::Unknown("timeout".into()))];
        assert_eq!(caught(&unknown, &changes), ["applied at most once"]);
    }

    #[test]
    fn a_refused_write_that_happened_is_caught() {
        let operations = [put(1, (0, 1), Outcome::Fail("no quorum".into()))];
        assert_eq!(
            caught(&operations, &[change(1, 1)]),
            ["a refused write is without effect"]
        );
    }

    #[test]
    fn an_unknown_write_may_be_there_or_not() {
        let operations = [put(1, (0, 1), Outcome::Unknown("timeout".into()))];
        assert!(caught(&operations, &[]).is_empty());
        assert!(caught(&operations, &[change(1, 1)]).is_empty());
    }

    #[test]
    fn a_gap_in_the_revisions_is_caught() {
        assert_eq!(
            caught(&[], &[change(1, 1), change(3, 2)]),
            ["revisions without a gap"]
        );
        assert_eq!(caught(&[], &[change(2, 1)]), ["revisions without a gap"]);
    }

    #[test]
    fn revisions_against_the_order_of_time_are_caught() {
        let operations = [put(1, (0, 1), written(2)), put(2, (5, 6), written(1))];
        let changes = [change(1, 2), change(2, 1)];
        assert_eq!(
            caught(&operations, &changes),
            ["revisions follow real time"]
        );
        let overlapping = [put(1, (0, 5), written(2)), put(2, (5, 6), written(1))];
        assert!(caught(&overlapping, &changes).is_empty());
    }
}
