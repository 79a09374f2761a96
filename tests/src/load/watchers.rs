//! Clients that watch: one watch for the whole load, broken off now and then and resumed by hand.

use std::time::Duration;

use holdfast_client::{KeyRange, Revision, WatchItem, WatchOptions};
use rand::RngExt as _;

use super::{RANGE, Stage, Worker, account};
use crate::history::Event;

/// Watches until everything was delivered that the store committed.
pub(super) async fn watch(mut worker: Worker) -> anyhow::Result<()> {
    let client = worker.connect()?;
    worker
        .recorder
        .record(worker.process, Event::Watching { from: 1 });
    let mut next = 1;
    while *worker.stop.borrow() == Stage::Running || next <= wanted(&worker) {
        let options = WatchOptions {
            from: Revision::new(next),
            progress: Duration::from_millis(500),
            give_up_after: Some(Duration::from_secs(60)),
            ..WatchOptions::default()
        };
        let mut watch = client.watch(KeyRange::prefix(RANGE), options);
        for _ in 0..worker.random.random_range(20..500) {
            let item = tokio::select! {
                item = watch.next() => item?,
                _ = worker.stop.changed() => break,
            };
            next = deliver(&worker, item) + 1;
            if next > wanted(&worker) {
                break;
            }
        }
    }
    Ok(())
}

/// The revision to reach; nothing is enough while the clients still write.
fn wanted(worker: &Worker) -> u64 {
    match *worker.stop.borrow() {
        Stage::Running => u64::MAX,
        Stage::Until(revision) => revision,
    }
}

/// Records an item; returns the revision up to which nothing is missing.
fn deliver(worker: &Worker, item: WatchItem) -> u64 {
    let (revision, event) = match item {
        WatchItem::Events { revision, events } => {
            let changes = events.iter().map(account::change).collect();
            (revision, Event::Delivered { revision, changes })
        }
        WatchItem::Reset { revision, entries } => {
            let entries = entries
                .iter()
                .map(|entry| (entry.key.to_string(), entry.modified.get()))
                .collect();
            (revision, Event::Reset { revision, entries })
        }
        WatchItem::Progress { revision } => (
            revision,
            Event::Delivered {
                revision,
                changes: Vec::new(),
            },
        ),
        other => panic!("this version of the tests does not know {other:?}"),
    };
    worker.recorder.record(worker.process, event);
    revision
}
