//! What a client holds on to while servers come and go: watches, mirrors, leases and locks.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::time::{Duration, Instant};

use holdfast_client::{
    KeyRange, LockError, LockOptions, Origin, PutOptions, Revision, Status, WatchItem, WatchOptions,
};
use holdfast_tests::harness::{Cluster, wait};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_from_a_compacted_revision_is_given_a_snapshot_and_goes_on() {
    let cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut last = client.put("w/gone", "soon").await.unwrap().revision;
    client.delete("w/gone").await.unwrap();
    for number in 0..20 {
        last = client
            .put(format!("w/{}", number % 3).as_str(), "v")
            .await
            .unwrap()
            .revision;
    }
    client.compact(last).await.unwrap();
    // A node that has not heard of it yet still delivers what it has.
    wait::until("every node to compact", LIMIT, || async {
        let each = client.cluster().status_each().await;
        let has = |status: &Status| status.compacted >= last.get();
        each.iter()
            .all(|(_, status)| status.as_ref().is_ok_and(has))
            .then_some(())
    })
    .await
    .unwrap();

    let options = WatchOptions {
        from: Revision::new(1),
        ..WatchOptions::default()
    };
    let mut watch = client.watch(KeyRange::prefix("w/"), options);
    let first = watch.next().await.unwrap();
    let WatchItem::Reset { revision, entries } = first else {
        panic!("what is compacted cannot be delivered: {first:?}")
    };
    assert_eq!(revision, last.get());
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["w/0", "w/1", "w/2"]);

    let next = client.put("w/3", "new").await.unwrap().revision;
    let item = loop {
        match watch.next().await.unwrap() {
            WatchItem::Progress { .. } => {}
            item => break item,
        }
    };
    let WatchItem::Events { revision, events } = item else {
        panic!("{item:?}")
    };
    assert_eq!(revision, next.get());
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].entry.key.to_string(), "w/3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_serves_on_when_every_server_is_gone_and_catches_up_later() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    client.put("config/a", "1").await.unwrap();
    let mirror = client.mirror("config/").await.unwrap();
    let value = |key: &str| mirror.get(key).map(|found| found.entry.value.clone());
    assert_eq!(value("config/a"), Some(Some("1".into())));

    cluster.kill_all();
    let since = Instant::now();
    let at_most = Duration::from_millis(500);
    wait::until_true("the mirror to grow old", LIMIT, || mirror.age() > at_most)
        .await
        .unwrap();
    assert_eq!(value("config/a"), Some(Some("1".into())));
    assert_eq!(mirror.origin(), Origin::Cache);
    assert!(mirror.age() <= since.elapsed() + Duration::from_secs(5));

    for node in 0..cluster.len() {
        cluster.run(node).unwrap();
    }
    let written = client.put("config/a", "2").await.unwrap();
    assert!(mirror.wait_for(written.revision.get(), LIMIT).await);
    assert_eq!(value("config/a"), Some(Some("2".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_its_leader_and_ends_with_its_client() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let lease = client.grant_lease(Duration::from_secs(2)).await.unwrap();
    let options = PutOptions {
        lease: Some(lease.id()),
        ..PutOptions::default()
    };
    client.put_with("alive", "yes", options).await.unwrap();

    let leader = cluster.leader(&client).await.unwrap();
    cluster.kill(leader);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert!(
            client.get("alive").await.unwrap().is_some(),
            "after {:?}",
            began.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(lease.is_alive());

    // Nobody keeps it alive any more.
    drop(lease);
    let gone = || async { client.get("alive").await.ok()?.is_none().then_some(()) };
    wait::until("the key to go with its lease", LIMIT, gone)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_whose_servers_are_gone_is_lost_in_time() {
    let mut cluster = Cluster::of(1).await.unwrap();
    let client = cluster.client().await.unwrap();
    let ttl = Duration::from_secs(2);
    let options = || LockOptions {
        ttl,
        wait: Some(Duration::from_secs(1)),
    };
    let guard = client.lock("jobs", options()).await.unwrap();
    let other = cluster.client().await.unwrap();
    let refused = other.lock("jobs", options()).await;
    assert!(matches!(refused, Err(LockError::Held { .. })));

    cluster.freeze(0);
    let frozen = Instant::now();
    tokio::time::timeout(LIMIT, guard.lost()).await.unwrap();
    assert!(
        frozen.elapsed() <= ttl + Duration::from_secs(1),
        "{:?}",
        frozen.elapsed()
    );
    assert!(!guard.is_held());
    cluster.thaw(0);
    let first = guard.token();
    drop(guard);
    let options = LockOptions {
        ttl,
        wait: Some(LIMIT),
    };
    let again = other.lock("jobs", options).await.unwrap();
    assert!(
        again.token() > first,
        "tokens rise: {} after {first}",
        again.token()
    );
}
