//! Mirrors: one revision at a time, and going on when every server is gone.

use std::time::Duration;

use holdfast_client::{KeyRange, MirrorOptions, Origin, ReadError};

use crate::{
    fake::{Cluster, Manner},
    until,
};

fn quick() -> MirrorOptions {
    MirrorOptions {
        check: Duration::from_millis(100),
        reveal: None,
    }
}

#[tokio::test]
async fn a_mirror_has_what_was_written_before_it_and_follows() {
    let cluster = Cluster::start(3);
    let client = cluster.client(|_| {});
    cluster.shared.write("p/a", "1");
    cluster.shared.write("q", "1");
    let mirror = client.mirror_with("p/", quick()).await.unwrap();
    let mirrored = mirror.get("p/a").unwrap();
    assert_eq!(mirrored.entry.value, Some("1".into()));
    assert_eq!((mirrored.revision, mirrored.origin), (2, Origin::Cache));
    assert!(mirrored.age < Duration::from_secs(10));
    assert!(mirror.get("q").is_none());

    let mut changes = mirror.changes();
    let revision = client.put("p/b", "2").await.unwrap().revision.get();
    assert!(mirror.wait_for(revision, Duration::from_secs(5)).await);
    assert_eq!(changes.changed().await, Some(revision));
    let view = mirror.view();
    let keys: Vec<_> = view.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["p/a", "p/b"]);
    let only_b = KeyRange::prefix("p/b");
    assert_eq!(view.range(&only_b).count(), 1);
}

#[tokio::test]
async fn a_mirror_goes_on_when_every_server_is_gone_and_catches_up_after() {
    let mut cluster = Cluster::start(2);
    let client = cluster.client(|_| {});
    cluster.shared.write("p/a", "1");
    let mirror = client.mirror_with("p/", quick()).await.unwrap();
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    let before = mirror.age();
    until("it is older", async || {
        mirror.age() > before + quick().check * 3
    })
    .await;
    assert_eq!(mirror.get("p/a").unwrap().entry.value, Some("1".into()));

    let revision = cluster.shared.write("p/a", "2");
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    assert!(mirror.wait_for(revision, Duration::from_secs(15)).await);
    assert_eq!(mirror.get("p/a").unwrap().entry.value, Some("2".into()));
    until("it is young again", async || {
        mirror.age() < quick().check * 3
    })
    .await;
}

#[tokio::test]
async fn without_a_quorum_a_mirror_grows_old_although_its_node_speaks() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let mirror = client.mirror_with("p/", quick()).await.unwrap();
    cluster.all(Manner::NoQuorum);
    until("it is old", async || mirror.age() > quick().check * 5).await;
    cluster.all(Manner::Well);
    until("it is young again", async || {
        mirror.age() < quick().check * 3
    })
    .await;
}

#[tokio::test]
async fn a_view_that_is_kept_never_changes() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    cluster.shared.write("p/a", "1");
    let mirror = client.mirror_with("p/", quick()).await.unwrap();
    let kept = mirror.view();
    let revision = cluster.shared.write("p/a", "2");
    assert!(mirror.wait_for(revision, Duration::from_secs(5)).await);
    assert_eq!(kept.get("p/a").unwrap().value, Some("1".into()));
    assert_eq!(mirror.read().get("p/a").unwrap().value, Some("2".into()));
    assert!(kept.revision() < mirror.revision());
}

#[tokio::test]
async fn a_mirror_that_finds_no_server_is_an_error_and_never_empty() {
    let mut cluster = Cluster::start(1);
    let client = cluster.client(|options| options.request_timeout = Duration::from_millis(300));
    cluster.nodes[0].kill();
    let error = client.mirror("p/").await.unwrap_err();
    assert!(matches!(error, ReadError::Unreachable { .. }), "{error}");
}
