//! Watches against the store's account: a watcher gets every change of its range once, in order,
//! whole revisions at a time; and it is not told "nothing is missing" too early.
//!
//! Each watcher is the line's `process` of its own, over [`RANGE`]. It may be broken off and
//! resumed as often as it likes: the lines go on as if nothing had happened.

use std::collections::BTreeMap;

use super::Violation;
use crate::history::{Change, Event, Line};

/// The prefix that all watchers of a history watch.
pub const RANGE: &str = "load/";

/// Judges every watcher of the history.
pub fn check(lines: &[Line], changes: &[Change]) -> Vec<Violation> {
    let mut watchers: BTreeMap<u64, Watcher<'_>> = BTreeMap::new();
    let mut violations = Vec::new();
    for line in lines {
        let at = line.process;
        let what = match &line.event {
            Event::Watching { from } => {
                watchers.insert(
                    at,
                    Watcher {
                        next: *from,
                        account: changes,
                    },
                );
                None
            }
            Event::Delivered { revision, changes } => watchers
                .get_mut(&at)
                .and_then(|watcher| watcher.deliver(*revision, changes)),
            Event::Reset { revision, entries } => watchers
                .get_mut(&at)
                .and_then(|watcher| watcher.reset(*revision, entries)),
            _ => None,
        };
        violations
            .extend(what.map(|what| Violation::new("watches", format!("watcher {at}: {what}"))));
    }
    violations
}

struct Watcher<'a> {
    /// Everything below has been delivered.
    next: u64,
    account: &'a [Change],
}

impl Watcher<'_> {
    fn deliver(&mut self, revision: u64, delivered: &[Change]) -> Option<String> {
        let next = self.next;
        self.next = self.next.max(revision + 1);
        if delivered.is_empty() && revision < next {
            return None; // a progress mark may repeat itself
        }
        let first = self
            .account
            .partition_point(|change| change.revision < next);
        let after = self
            .account
            .partition_point(|change| change.revision <= revision);
        let mut expected: Vec<&Change> = self
            .account
            .get(first..after)
            .unwrap_or_default()
            .iter()
            .filter(|change| change.key.starts_with(RANGE))
            .collect();
        // Within a revision the order is the store's own; between them it is not.
        expected.sort();
        let is_ordered = delivered.is_sorted_by_key(|change| change.revision);
        let mut found: Vec<&Change> = delivered.iter().collect();
        found.sort();
        if is_ordered && found == expected {
            return None;
        }
        let twice = found.iter().find(|change| change.revision < next);
        let missing = expected.iter().find(|change| !found.contains(change));
        let odd = found.iter().find(|change| !expected.contains(change));
        Some(format!(
            "delivered up to {revision}, having had all below {next}: in order {is_ordered}, \
             again {twice:?}, missing {missing:?}, not in the account {odd:?}"
        ))
    }

    fn reset(&mut self, revision: u64, entries: &[(String, u64)]) -> Option<String> {
        if revision + 1 < self.next {
            return Some(format!(
                "reset to {revision}, having had all below {}",
                self.next
            ));
        }
        self.next = revision + 1;
        let mut view: BTreeMap<&str, u64> = BTreeMap::new();
        let after = self
            .account
            .partition_point(|change| change.revision <= revision);
        for change in &self.account[..after] {
            if change.key.starts_with(RANGE) {
                if change.value.is_some() {
                    view.insert(&change.key, change.revision);
                } else {
                    view.remove(change.key.as_str());
                }
            }
        }
        let found: BTreeMap<&str, u64> = entries
            .iter()
            .map(|(key, modified)| (key.as_str(), *modified))
            .collect();
        (found != view).then(|| format!("the snapshot at {revision} is not what was there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64, key: &str) -> Change {
        let key = format!("{RANGE}{key}");
        Change {
            revision,
            key,
            value: Some("v".into()),
            note: String::new(),
        }
    }

    fn account() -> Vec<Change> {
        let elsewhere = Change {
            key: "elsewhere".into(),
            ..change(2, "")
        };
        vec![
            change(1, "a"),
            elsewhere,
            change(3, "a"),
            change(3, "b"),
            change(4, "c"),
        ]
    }

    fn catches(events: Vec<Event>) -> bool {
        let lines: Vec<Line> = std::iter::once(Event::Watching { from: 1 })
            .chain(events)
            .map(|event| Line {
                at_ns: 0,
                process: 1,
                event,
            })
            .collect();
        !check(&lines, &account()).is_empty()
    }

    fn delivered(revision: u64, changes: &[Change]) -> Event {
        Event::Delivered {
            revision,
            changes: changes.to_vec(),
        }
    }

    #[test]
    fn every_change_once_and_whole_holds() {
        let all = account();
        assert!(!catches(vec![
            delivered(1, &all[..1]),
            delivered(2, &[]),
            delivered(3, &all[2..4]),
            delivered(4, &all[4..]),
            delivered(4, &[]),
        ]));
        let together: Vec<_> = all
            .into_iter()
            .filter(|change| change.key.starts_with(RANGE))
            .collect();
        assert!(!catches(vec![delivered(4, &together)]));
    }

    #[test]
    fn a_hole_is_caught() {
        let all = account();
        assert!(catches(vec![
            delivered(1, &all[..1]),
            delivered(4, &all[4..])
        ]));
    }

    #[test]
    fn a_change_delivered_twice_is_caught() {
        let all = account();
        assert!(catches(vec![
            delivered(1, &all[..1]),
            delivered(1, &all[..1])
        ]));
    }

    #[test]
    fn half_a_revision_is_caught() {
        let all = account();
        assert!(catches(vec![
            delivered(1, &all[..1]),
            delivered(3, &all[2..3]),
            delivered(3, &all[3..4]),
        ]));
    }

    #[test]
    fn a_progress_mark_ahead_of_its_events_is_caught() {
        assert!(catches(vec![
            delivered(1, &account()[..1]),
            delivered(3, &[])
        ]));
    }

    #[test]
    fn a_change_out_of_order_is_caught() {
        let all = account();
        assert!(catches(vec![delivered(
            3,
            &[all[2].clone(), all[3].clone(), all[0].clone()]
        )]));
    }

    #[test]
    fn a_snapshot_that_is_not_of_its_revision_is_caught() {
        let at = |key: &str, modified| (format!("{RANGE}{key}"), modified);
        let reset = |revision, entries: &[(String, u64)]| Event::Reset {
            revision,
            entries: entries.to_vec(),
        };
        assert!(!catches(vec![
            reset(3, &[at("a", 3), at("b", 3)]),
            delivered(4, &account()[4..])
        ]));
        assert!(catches(vec![reset(3, &[at("a", 1), at("b", 3)])]));
        assert!(catches(vec![delivered(1, &account()[..1]), reset(0, &[])]));
    }
}
