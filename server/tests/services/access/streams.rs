//! Rights that change while something goes on: watches, waiting for a lock, nodes that lag.

use holdfast_proto::v1::{
    self, kv_client::KvClient, lease_client::LeaseClient, lock_client::LockClient,
    watch_client::WatchClient, watch_request::Request as Asked, watch_response::Body,
};
use tokio_stream::StreamExt as _;

use super::{Papers, allow};
use crate::nodes::{Clients as _, Nodes, PATIENCE, prefix, put, reason, single};

#[tokio::test]
async fn a_watch_ends_with_the_right_to_it_and_shows_nothing_that_comes_after() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let papers = Papers::issue(&nodes, "bob").await;
    allow(&nodes, "bob", &["allow read:app/"]).await;
    let create = v1::WatchRequest {
        request: Some(Asked::Create(v1::WatchCreate {
            range: prefix("app/"),
            ..v1::WatchCreate::default()
        })),
    };
    let requests = tokio_stream::once(create).chain(tokio_stream::pending());
    let mut watches = WatchClient::new(papers.channel(node));
    let mut events = watches.watch(requests).await.unwrap().into_inner();
    let created = events.message().await.unwrap().unwrap().body;
    assert!(matches!(created, Some(Body::Created(_))), "{created:?}");
    node.kv().put(put("app/a", "1")).await.unwrap();
    let seen = events.message().await.unwrap().unwrap().body;
    assert!(matches!(seen, Some(Body::Events(_))), "{seen:?}");
    // It is not the grant that changes, but a rule of the role.
    allow(&nodes, "bob", &["allow read:app/", "deny read:app/keys/"]).await;
    node.kv().put(put("app/b", "2")).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, events.message())
        .await
        .unwrap();
    let status = ended.expect_err("an event that he may not see");
    assert_eq!(reason(&status), "not_allowed", "{status:?}");
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_lock_is_not_handed_to_who_lost_the_right_while_he_waited() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let papers = Papers::issue(&nodes, "bob").await;
    allow(&nodes, "bob", &["allow lock:app/"]).await;
    let acquire = |lease| v1::LockAcquireRequest {
        name: "app/lock".to_owned(),
        lease,
        wait: true,
        ..v1::LockAcquireRequest::default()
    };
    let grant = |lease| v1::LeaseGrantRequest {
        lease,
        ttl_ms: 60_000,
        ..v1::LeaseGrantRequest::default()
    };
    node.lease().grant(grant(1)).await.unwrap();
    let held = node.lock().acquire(acquire(1)).await.unwrap().into_inner();
    let channel = papers.channel(node);
    LeaseClient::new(channel.clone())
        .grant(grant(2))
        .await
        .unwrap();
    let waiting = tokio::spawn(async move { LockClient::new(channel).acquire(acquire(2)).await });
    let contenders = || {
        let range = holdfast_proto::KeyRange::prefix("app/lock/");
        node.replica().store().view().count(&range)
    };
    crate::nodes::eventually("he waits", || contenders() == 2).await;
    allow(&nodes, "bob", &["allow lock:elsewhere/"]).await;
    let release = v1::LockReleaseRequest {
        name: "app/lock".to_owned(),
        lease: 1,
        token: held.token,
        ..v1::LockReleaseRequest::default()
    };
    assert!(
        node.lock()
            .release(release)
            .await
            .unwrap()
            .into_inner()
            .released
    );
    let status = waiting.await.unwrap().expect_err("he has the lock");
    assert_eq!(reason(&status), "not_allowed", "{status:?}");
    crate::nodes::eventually("his place is gone", || contenders() == 0).await;
    nodes.shutdown().await;
}

/// Which node is asked does not matter, though only some have applied the grant by then: who lags
/// refuses nobody.
#[tokio::test]
async fn what_was_granted_holds_at_every_node_at_once() {
    let nodes = Nodes::three().await;
    let papers = Papers::issue(&nodes, "bob").await;
    // The one that hears of a change first is asked last.
    let mut everywhere: Vec<_> = nodes
        .all
        .iter()
        .rev()
        .map(|node| KvClient::new(papers.channel(node)))
        .collect();
    nodes.all[0].kv().put(put("app/0", "1")).await.unwrap();
    // One act changes it, so nothing that comes after tells the others that it was decided.
    let access = nodes.all[0].client().access();
    for round in 0..40 {
        let key = format!("app/{round}");
        let granted = access.change_grant("client/bob", &["operator"], &[]);
        granted.await.unwrap();
        for kv in &mut everywhere {
            kv.put(put(&key, "1")).await.unwrap();
        }
        let taken = access.change_grant("client/bob", &[], &["operator"]);
        taken.await.unwrap();
        // What is linearizable obeys what was taken away, too.
        for kv in &mut everywhere {
            let read = v1::RangeRequest {
                range: single(&key),
                ..v1::RangeRequest::default()
            };
            let status = kv.range(read).await.expect_err("it was taken away");
            assert_eq!(reason(&status), "not_allowed", "{status:?}");
        }
    }
    nodes.shutdown().await;
}
