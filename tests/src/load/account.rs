//! The store's own account: every change it committed, read from it when the load is over.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{bail, ensure};
use holdfast_client::{
    Client, Consistency, EventKind, KeyRange, RangeOptions, Revision, WatchEvent, WatchItem,
    WatchOptions,
};

use super::text;
use crate::history::Change;

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
    Change {
        revision: entry.modified.get(),
        key: entry.key.to_string(),
        value: (event.kind == EventKind::Put).then(|| text(entry.value.as_ref())),
        note: entry.note.clone(),
    }
}
