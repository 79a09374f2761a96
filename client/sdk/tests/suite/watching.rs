//! Watches: no gap and no repeat, whatever happens to the node they hang on.

use std::time::Duration;

use holdfast_client::{KeyRange, Revision, WatchError, WatchItem, WatchOptions};

use crate::fake::{Cluster, Manner};

fn quick() -> WatchOptions {
    WatchOptions {
        progress: Duration::from_millis(100),
        ..WatchOptions::default()
    }
}

/// The revisions of the next `count` events.
async fn events(watch: &mut holdfast_client::Watch, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let WatchItem::Events { events, .. } = watch.next().await.unwrap() {
            seen.extend(events.iter().map(|event| event.entry.modified.get()));
        }
    }
    seen
}

#[tokio::test]
async fn a_watch_has_no_gap_and_no_repeat_over_killed_nodes() {
    let mut cluster = Cluster::start(3);
    let client = cluster.client(|_| {});
    let mut watch = client.watch(KeyRange::prefix("p/"), quick());
    assert_eq!(watch.established().await.unwrap(), Revision::new(1));
    let mut seen = Vec::new();
    for round in 0..6 {
        for write in 0..5 {
            cluster.shared.write(&format!("p/{round}/{write}"), "v");
        }
        let victim = round % 3;
        // In the middle of a batch, as often as not.
        seen.extend(events(&mut watch, 2).await);
        cluster.nodes[victim].kill();
        cluster.nodes[victim].restart();
        let rest = 5 * (round + 1) - seen.len();
        seen.extend(events(&mut watch, rest).await);
    }
    assert_eq!(seen, (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_node_that_falls_silent_is_left_for_another() {
    let cluster = Cluster::start(2);
    let client = cluster.client(|_| {});
    let mut watch = client.watch(KeyRange::all(), quick());
    watch.established().await.unwrap();
    for silent in [0, 1, 0] {
        cluster.nodes[silent].behave(Manner::Silent);
        let revision = cluster.shared.write("a", "b");
        assert_eq!(events(&mut watch, 1).await, [revision]);
        cluster.nodes[silent].behave(Manner::Well);
    }
}

#[tokio::test]
async fn what_was_compacted_comes_back_as_the_range_as_it_is() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    for value in ["1", "2", "3"] {
        cluster.shared.write("a", value);
    }
    cluster.shared.world().compacted = 2;
    let options = WatchOptions {
        from: Revision::new(1),
        ..quick()
    };
    let mut watch = client.watch(KeyRange::all(), options);
    match watch.next().await.unwrap() {
        WatchItem::Reset { revision, entries } => {
            assert_eq!((revision, entries.len()), (3, 1));
            assert_eq!(entries[0].value, Some("3".into()));
        }
        other => panic!("{other:?}"),
    }
    let next = cluster.shared.write("a", "4");
    assert_eq!(events(&mut watch, 1).await, [next]);
}

#[tokio::test]
async fn a_compaction_while_disconnected_resets_the_watch() {
    let mut cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let mut watch = client.watch(KeyRange::all(), quick());
    watch.established().await.unwrap();
    cluster.shared.write("a", "1");
    assert_eq!(events(&mut watch, 1).await, [1]);
    cluster.nodes[0].kill();
    for value in ["2", "3", "4"] {
        cluster.shared.write("a", value);
    }
    cluster.shared.world().compacted = 3;
    cluster.nodes[0].restart();
    let reset = loop {
        match watch.next().await.unwrap() {
            WatchItem::Progress { .. } => {}
            other => break other,
        }
    };
    assert!(
        matches!(reset, WatchItem::Reset { revision: 4, .. }),
        "{reset:?}"
    );
}

#[tokio::test]
async fn a_snapshot_comes_first_and_events_follow_behind_it() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    cluster.shared.write("p/a", "1");
    cluster.shared.write("q", "1");
    let options = WatchOptions {
        snapshot: true,
        ..quick()
    };
    let mut watch = client.watch(KeyRange::prefix("p/"), options);
    let first = watch.next().await.unwrap();
    let WatchItem::Reset { revision, entries } = first else {
        panic!("{first:?}");
    };
    assert_eq!((revision, entries.len()), (2, 1));
    let next = cluster.shared.write("p/b", "1");
    assert_eq!(events(&mut watch, 1).await, [next]);
    assert_eq!(watch.delivered(), Some(next));
}

#[tokio::test]
async fn progress_is_told_on_request() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let mut watch = client.watch(KeyRange::prefix("p/"), WatchOptions::default());
    watch.established().await.unwrap();
    let elsewhere = cluster.shared.write("q", "1");
    watch.request_progress();
    let item = loop {
        match watch.next().await.unwrap() {
            WatchItem::Progress { revision } if revision < elsewhere => watch.request_progress(),
            item => break item,
        }
    };
    assert_eq!(
        item,
        WatchItem::Progress {
            revision: elsewhere
        }
    );
}

#[tokio::test]
async fn a_watch_gives_up_only_when_told_to() {
    let mut cluster = Cluster::start(2);
    let client = cluster.client(|_| {});
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    let options = WatchOptions {
        give_up_after: Some(Duration::from_millis(200)),
        ..quick()
    };
    let mut watch = client.watch(KeyRange::all(), options);
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, WatchError::Unreachable { .. }), "{error}");

    let mut patient = client.watch(KeyRange::all(), quick());
    let waiting = tokio::time::timeout(Duration::from_millis(600), patient.next());
    assert!(waiting.await.is_err(), "it ended without being told to");
}
