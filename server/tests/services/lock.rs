//! Lock.

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_server::node::Node;
use tonic::Status;

use crate::{
    lease::grant,
    nodes::{Clients as _, Nodes, PATIENCE, eventually, reason, text},
};

async fn acquire(node: &Node, lease: u64, wait: bool) -> Result<v1::LockAcquireResponse, Status> {
    let request = v1::LockAcquireRequest {
        name: "job".to_owned(),
        lease,
        wait,
        ..v1::LockAcquireRequest::default()
    };
    Ok(node.lock().acquire(request).await?.into_inner())
}

fn contenders(node: &Node) -> u64 {
    let range = holdfast_proto::KeyRange::prefix("job/");
    node.replica().store().read(|state| state.count(&range))
}

fn release(lease: u64, token: u64) -> v1::LockReleaseRequest {
    v1::LockReleaseRequest {
        name: "job".to_owned(),
        lease,
        token,
        ..v1::LockReleaseRequest::default()
    }
}

#[tokio::test]
async fn a_lock_passes_on_with_a_rising_token() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let (one, two) = (grant(node, 60_000).await, grant(node, 60_000).await);
    let first = acquire(node, one, true).await.unwrap();
    assert!(first.held);
    let again = acquire(node, one, true).await.unwrap();
    assert_eq!(again.token, first.token, "who holds keeps the token");
    let busy = acquire(node, two, false).await.unwrap();
    assert!(!busy.held);
    assert_eq!(
        contenders(node),
        1,
        "who does not wait does not stand in line"
    );

    let mut lock = node.lock();
    let (second, released) = tokio::join!(acquire(node, two, true), async {
        eventually("the second waits", || contenders(node) == 2).await;
        lock.release(release(one, first.token))
            .await
            .unwrap()
            .into_inner()
            .released
    });
    assert!(released);
    assert!(second.unwrap().token > first.token);
    let stale = node
        .lock()
        .release(release(one, first.token))
        .await
        .unwrap()
        .into_inner();
    assert!(!stale.released);
    nodes.shutdown().await;
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_the_line() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let (one, two) = (grant(node, 60_000).await, grant(node, 60_000).await);
    acquire(node, one, true).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(300), acquire(node, two, true));
    assert!(waiting.await.is_err(), "the lock is held");
    eventually("the contender is gone", || contenders(node) == 1).await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_lock_needs_a_name_a_lease_and_a_token() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    assert_eq!(
        reason(&acquire(node, 0, true).await.unwrap_err()),
        "invalid"
    );
    assert_eq!(
        reason(&acquire(node, 77, true).await.unwrap_err()),
        "lease_missing"
    );
    let nameless = v1::LockAcquireRequest {
        lease: 1,
        ..v1::LockAcquireRequest::default()
    };
    assert_eq!(
        reason(&node.lock().acquire(nameless).await.unwrap_err()),
        "invalid"
    );
    assert_eq!(
        reason(&node.lock().release(release(1, 0)).await.unwrap_err()),
        "invalid"
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn an_election_has_one_leader_whom_observers_follow() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let name = v1::LeaderRequest {
        name: "job".to_owned(),
    };
    let mut observed = node
        .lock()
        .observe(name.clone())
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        let next = tokio::time::timeout(PATIENCE, observed.message()).await;
        next.expect("in time").unwrap().expect("it goes on").leader
    };
    assert_eq!(next().await, None, "nobody leads yet");
    let lease = grant(node, 60_000).await;
    let campaign = v1::CampaignRequest {
        name: "job".to_owned(),
        lease,
        value: text("at n1"),
        ..v1::CampaignRequest::default()
    };
    let elected = node.lock().campaign(campaign).await.unwrap().into_inner();
    assert_eq!(next().await.unwrap().created, elected.token);
    let proclaim = |token| v1::ProclaimRequest {
        name: "job".to_owned(),
        lease,
        token,
        value: text("moved"),
        ..v1::ProclaimRequest::default()
    };
    node.lock().proclaim(proclaim(elected.token)).await.unwrap();
    assert_eq!(next().await.unwrap().value, text("moved"));
    let stale = node
        .lock()
        .proclaim(proclaim(elected.token + 1))
        .await
        .unwrap_err();
    assert_eq!(reason(&stale), "conflict");
    node.lock()
        .resign(release(lease, elected.token))
        .await
        .unwrap();
    assert_eq!(next().await, None);
    assert_eq!(
        node.lock().leader(name).await.unwrap().into_inner().leader,
        None
    );
    nodes.shutdown().await;
}
