//! Lease.

use std::time::{Duration, Instant};

use holdfast_proto::v1;
use holdfast_server::node::Node;

use crate::nodes::{Clients as _, Nodes, PATIENCE, put, reason, single};

pub(crate) async fn grant(node: &Node, ttl_ms: u64) -> u64 {
    let request = v1::LeaseGrantRequest {
        ttl_ms,
        ..v1::LeaseGrantRequest::default()
    };
    node.lease()
        .grant(request)
        .await
        .unwrap()
        .into_inner()
        .lease
}

async fn renew(node: &Node, lease: u64) -> u64 {
    let requests = tokio_stream::iter([v1::LeaseKeepAliveRequest { lease }]);
    let mut answers = node
        .lease()
        .keep_alive(requests)
        .await
        .unwrap()
        .into_inner();
    answers.message().await.unwrap().expect("an answer").ttl_ms
}

async fn is_there(node: &Node, key: &str) -> bool {
    let request = v1::RangeRequest {
        range: single(key),
        ..v1::RangeRequest::default()
    };
    node.kv().range(request).await.unwrap().into_inner().count == 1
}

#[tokio::test]
async fn keys_live_as_long_as_their_lease_is_renewed() {
    let nodes = Nodes::three().await;
    let (_, follower) = nodes.leader_and_follower();
    let lease = grant(follower, 1_000).await;
    let bound = v1::PutRequest {
        lease,
        ..put("alive", "x")
    };
    follower.kv().put(bound).await.unwrap();
    let begun = Instant::now();
    // Renewed at a follower, which asks the leader.
    while begun.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(renew(follower, lease).await, 1_000);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(is_there(follower, "alive").await);
    let ask = v1::LeaseTimeToLiveRequest { lease, keys: true };
    let left = follower
        .lease()
        .time_to_live(ask)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((left.ttl_ms, left.keys.len()), (1_000, 1));
    assert!(
        (1..=1_000).contains(&left.remaining_ms),
        "{}",
        left.remaining_ms
    );

    let deadline = Instant::now() + PATIENCE;
    while is_there(follower, "alive").await {
        assert!(Instant::now() < deadline, "a lease that nobody renews ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(renew(follower, lease).await, 0, "it is gone");
    nodes.shutdown().await;
}

#[tokio::test]
async fn leases_are_granted_listed_and_revoked_with_their_keys() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let lease = grant(node, 60_000).await;
    let bound = v1::PutRequest {
        lease,
        ..put("bound", "x")
    };
    node.kv().put(bound).await.unwrap();
    let leases = node
        .lease()
        .list(v1::LeaseListRequest {})
        .await
        .unwrap()
        .into_inner()
        .leases;
    assert_eq!(leases, [lease]);
    let revoke = v1::LeaseRevokeRequest {
        lease,
        ..v1::LeaseRevokeRequest::default()
    };
    let revoked = node
        .lease()
        .revoke(revoke.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(revoked.deleted, 1);
    assert!(!is_there(node, "bound").await);
    let gone = node.lease().revoke(revoke).await.unwrap_err();
    assert_eq!(reason(&gone), "lease_missing");
    for (lease, ttl_ms) in [(0, 10), (0, u64::MAX)] {
        let request = v1::LeaseGrantRequest {
            lease,
            ttl_ms,
            ..v1::LeaseGrantRequest::default()
        };
        assert!(node.lease().grant(request).await.is_err());
    }
    nodes.shutdown().await;
}
