//! The store's own account: every change it committed, read from it when the load is over.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    time::Duration,
};

use anyhow::{bail, ensure};
use holdfast_client::{
    Client, Consistency, EventKind, KeyRange, RangeOptions, Revision, WatchEvent, WatchItem,
    WatchOptions,
};

use super::{VALUE, text};
use crate::history::{self, Call, Change, Event, History, Outcome};

/// All changes up to the newest revision. The load must be over.
pub async fn read(client: &Client) -> anyhow::Result<Vec<Change>> {
    let options = RangeOptions {
        limit: 1,
        keys_only: true,
        ..RangeOptions::default()
    };
    let newest = client.range(KeyRange::all(), options).await?.revision;
    let options = WatchOptions {
        from: Revision::new(1),
        progress: Duration::from_millis(200),
        give_up_after: Some(Duration::from_secs(30)),
        ..WatchOptions::default()
    };
    let mut watch = client.watch(KeyRange::all(), options);
    let mut changes = Vec::new();
    let mut reached = 0;
    while reached < newest {
        match watch.next().await? {
            WatchItem::Events { revision, events } => {
                changes.extend(events.iter().map(change));
                reached = revision;
            }
            WatchItem::Progress { revision } => reached = revision,
            other => bail!("a watch from revision 1 was answered with {other:?}"),
        }
    }
    Ok(changes)
}

/// Checks the account against what is there: the newest values, as read from each node.
pub async fn compare(client: &Client, changes: &[Change]) -> anyhow::Result<()> {
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for change in changes {
        match change.value {
            Some(_) => expected.insert(&change.key, change.revision),
            None => expected.remove(change.key.as_str()),
        };
    }
    let options = || RangeOptions {
        keys_only: true,
        consistency: Consistency::Linearizable,
        ..RangeOptions::default()
    };
    // Reads go round, so that each node is asked.
    for _ in 0..2 * client.endpoints().len() {
        let page = client.range_all(KeyRange::all(), options()).await?;
        let found: BTreeMap<&str, u64> = page
            .entries
            .iter()
            .map(|entry| (entry.key.as_str().unwrap_or_default(), entry.modified.get()))
            .collect();
        ensure!(
            found == expected,
            "{:?} holds {found:?}, and by the changes it should hold {expected:?}",
            page.origin,
        );
    }
    Ok(())
}

/// A change as a watch delivers it.
pub fn change(event: &WatchEvent) -> Change {
    let entry = &event.entry;
    let value = (event.kind == EventKind::Put).then(|| text(entry.value.as_ref()));
    Change {
        revision: entry.modified.get(),
        key: entry.key.to_string(),
        note: note_or(&entry.note, value.as_deref()),
        value,
    }
}

/// etcd's clients leave no note, but the value that one writes names its operation, too.
pub fn note_or(note: &str, value: Option<&str>) -> String {
    let number = value.and_then(|value| value.strip_prefix(VALUE)?.parse().ok());
    match number {
        Some(number) if note.is_empty() => history::note(number),
        _ => note.to_owned(),
    }
}

/// A deletion by a client of etcd has neither note nor value. Its operation is the one that was told
/// its revision; or else, of those that asked for the key's deletion and were told nothing, the one
/// that asked first: if the tombstones can be explained at all, then so.
pub fn name_deletions(history: &mut History) {
    let mut deletions = BTreeMap::new();
    let mut unanswered: BTreeMap<String, VecDeque<u64>> = BTreeMap::new();
    for operation in history.operations() {
        let revision = operation.revision();
        let Call::Delete { key } = operation.call else {
            continue;
        };
        match (revision, operation.outcome) {
            (Some(revision), _) => {
                deletions.insert((revision, key), operation.number);
            }
            (None, Outcome::Unknown(_)) => {
                unanswered
                    .entry(key)
                    .or_default()
                    .push_back(operation.number);
            }
            (None, _) => {}
        }
    }
    for change in history
        .changes
        .iter()
        .filter(|change| change.value.is_none())
    {
        let at = (change.revision, change.key.clone());
        if let Entry::Vacant(nobody) = deletions.entry(at)
            && let Some(first) = unanswered
                .get_mut(&change.key)
                .and_then(VecDeque::pop_front)
        {
            nobody.insert(first);
        }
    }
    let name = |change: &mut Change| {
        let known = deletions.get(&(change.revision, change.key.clone()));
        if let Some(&number) = known.filter(|_| change.value.is_none() && change.note.is_empty()) {
            change.note = history::note(number);
        }
    };
    history.changes.iter_mut().for_each(name);
    for line in &mut history.lines {
        if let Event::Delivered { changes, .. } = &mut line.event {
            changes.iter_mut().for_each(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Line};

    #[test]
    fn deletions_without_a_note_are_those_that_were_told_or_asked_for_first() {
        let line = |at_ns, event| Line {
            at_ns,
            process: 0,
            event,
        };
        let delete = |operation| Event::Invoke {
            operation,
            call: Call::Delete { key: "k".into() },
        };
        let unknown = |operation| Event::Unknown {
            operation,
            why: "no answer".into(),
        };
        let answer = Answer::Deleted {
            existed: true,
            revision: 5,
        };
        let tombstone = |revision| Change {
            revision,
            key: "k".into(),
            value: None,
            note: String::new(),
        };
        let mut history = History {
            lines: vec![
                line(1, delete(1)),
                line(2, unknown(1)),
                line(3, delete(2)),
                line(
                    4,
                    Event::Ok {
                        operation: 2,
                        answer,
                    },
                ),
                line(5, delete(3)),
                line(6, unknown(3)),
            ],
            changes: vec![tombstone(5), tombstone(7)],
        };
        name_deletions(&mut history);
        let named: Vec<_> = history.changes.iter().map(Change::operation).collect();
        assert_eq!(named, [Some(2), Some(1)]);
    }
}
