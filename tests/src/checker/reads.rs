//! Reads against the store's account: each is what the store was at the revision it names, and
//! that revision is no older than anything acknowledged before the read began.

use std::collections::HashMap;

use super::Violation;
use crate::history::{Answer, Call, Change, Operation, Outcome};

/// Judges all linearizable reads of the history.
pub fn check(operations: &[Operation], changes: &[Change]) -> Vec<Violation> {
    let mut versions: HashMap<&str, Vec<&Change>> = HashMap::new();
    for change in changes {
        versions.entry(&change.key).or_default().push(change);
    }
    let mut known: Vec<(u64, u64)> = operations.iter().filter_map(told).collect();
    known.sort_unstable();
    let mut violations = Vec::new();
    let mut reads: Vec<&Operation> = operations
        .iter()
        .filter(|operation| matches!(operation.call, Call::Get { .. }))
        .collect();
    reads.sort_unstable_by_key(|read| read.invoked_ns);
    let mut known = known.into_iter().peekable();
    let mut newest = 0;
    for read in reads {
        while let Some((_, revision)) = known.next_if(|(at, _)| *at < read.invoked_ns) {
            newest = newest.max(revision);
        }
        let (
            Call::Get { key },
            Outcome::Ok(Answer::Read {
                value,
                modified,
                revision,
            }),
        ) = (&read.call, &read.outcome)
        else {
            continue;
        };
        if *revision < newest {
            violations.push(Violation::new(
                "no stale read",
                format!("{read:?}: revision {newest} had been acknowledged before it began"),
            ));
        }
        let version = versions.get(key.as_str()).and_then(|versions| {
            let after = versions.partition_point(|change| change.revision <= *revision);
            Some(versions[after.checked_sub(1)?])
        });
        let expected = version.and_then(|change| Some((change.value.as_ref()?, change.revision)));
        if value.as_ref().map(|value| (value, *modified)) != expected {
            violations.push(Violation::new(
                "reads are of one revision",
                format!("{read:?}: at revision {revision} it was {expected:?}"),
            ));
        }
    }
    violations
}

/// When somebody was told of a revision, and which.
fn told(operation: &Operation) -> Option<(u64, u64)> {
    let revision = match &operation.outcome {
        Outcome::Ok(Answer::Read { revision, .. }) => *revision,
        _ => operation.revision()?,
    };
    Some((operation.returned_ns, revision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::note;

    fn changes() -> Vec<Change> {
        let change = |revision, value: Option<&str>| Change {
            revision,
            key: "k".into(),
            value: value.map(str::to_owned),
            note: note(revision),
        };
        vec![change(1, Some("a")), change(2, Some("b")), change(3, None)]
    }

    fn get(at: (u64, u64), value: Option<&str>, modified: u64, revision: u64) -> Operation {
        let value = value.map(str::to_owned);
        Operation {
            number: 9,
            process: 1,
            call: Call::Get { key: "k".into() },
            invoked_ns: at.0,
            returned_ns: at.1,
            outcome: Outcome::Ok(Answer::Read {
                value,
                modified,
                revision,
            }),
        }
    }

    fn put(at: (u64, u64), revision: u64) -> Operation {
        Operation {
            call: Call::Put {
                key: "k".into(),
                value: "b".into(),
            },
            outcome: Outcome::Ok(Answer::Written { revision }),
            ..get(at, None, 0, 0)
        }
    }

    fn caught(operations: &[Operation]) -> Vec<&'static str> {
        check(operations, &changes())
            .iter()
            .map(|violation| violation.check)
            .collect()
    }

    #[test]
    fn a_read_of_each_revision_holds() {
        let reads = [
            get((0, 1), None, 0, 0),
            get((2, 3), Some("a"), 1, 1),
            get((4, 5), Some("b"), 2, 2),
            get((6, 7), None, 0, 3),
        ];
        assert!(caught(&reads).is_empty());
    }

    #[test]
    fn a_read_older_than_an_acknowledged_write_is_caught() {
        let operations = [put((0, 1), 2), get((2, 3), Some("a"), 1, 1)];
        assert_eq!(caught(&operations), ["no stale read"]);
    }

    #[test]
    fn a_read_older_than_an_earlier_read_is_caught() {
        let operations = [get((0, 1), Some("b"), 2, 2), get((2, 3), Some("a"), 1, 1)];
        assert_eq!(caught(&operations), ["no stale read"]);
    }

    #[test]
    fn a_read_that_overlaps_the_write_may_be_older() {
        assert!(caught(&[put((0, 3), 2), get((2, 4), Some("a"), 1, 1)]).is_empty());
    }

    #[test]
    fn a_read_that_names_another_revision_than_it_shows_is_caught() {
        assert_eq!(
            caught(&[get((0, 1), Some("a"), 1, 2)]),
            ["reads are of one revision"]
        );
        assert_eq!(
            caught(&[get((0, 1), Some("b"), 1, 2)]),
            ["reads are of one revision"]
        );
    }
}
