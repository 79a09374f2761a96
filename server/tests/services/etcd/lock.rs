//! Locks and elections: one line for both fronts.

use std::time::Duration;

use holdfast_proto::{
    etcd::{
        etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, lease_client::LeaseClient},
        v3electionpb::{
            CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest,
            election_client::ElectionClient,
        },
        v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient},
    },
    v1,
};
use tonic::Code;

use super::{get, kv, plain};
use crate::nodes::{Clients as _, Nodes, eventually};

#[tokio::test]
async fn a_lock_is_one_line_for_both_fronts() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut leases = LeaseClient::new(plain(node));
    for id in [0x1f, 2, 3] {
        let grant = LeaseGrantRequest { ttl: 60, id };
        leases.lease_grant(grant).await.unwrap();
    }
    let lock = |lease| LockRequest {
        name: "jobs".into(),
        lease,
    };
    let mut locks = LockClient::new(plain(node));
    let held = locks.lock(lock(0x1f)).await.unwrap().into_inner();
    assert_eq!(held.key, "jobs/1f");
    let try_ours = v1::LockAcquireRequest {
        name: "jobs".to_owned(),
        lease: 2,
        ..v1::LockAcquireRequest::default()
    };
    let ours = node.lock().acquire(try_ours).await.unwrap();
    assert!(!ours.get_ref().held);

    let waiting = tokio::spawn({
        let mut locks = locks.clone();
        async move { locks.lock(lock(3)).await }
    });
    let contends = || {
        node.replica()
            .store()
            .read(|state| state.get(b"jobs/3").is_some())
    };
    eventually("the second contender stands in line", contends).await;
    let unlock = UnlockRequest { key: held.key };
    locks.unlock(unlock).await.unwrap();
    let next = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(next.key, "jobs/3");

    // A call that is given up leaves the line.
    let given_up = tokio::time::timeout(Duration::from_millis(200), locks.lock(lock(2))).await;
    assert!(given_up.is_err());
    let gone = || {
        node.replica()
            .store()
            .read(|state| state.get(b"jobs/2").is_none())
    };
    eventually("it leaves the line", gone).await;
    let refused = locks.lock(lock(99)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::NotFound, "etcdserver: requested lease not found")
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_leader_is_elected_heard_and_replaced() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut leases = LeaseClient::new(plain(node));
    for id in [1, 2] {
        let grant = LeaseGrantRequest { ttl: 60, id };
        leases.lease_grant(grant).await.unwrap();
    }
    let mut elections = ElectionClient::new(plain(node));
    let name = LeaderRequest {
        name: "chief".into(),
    };
    let nobody = elections.leader(name.clone()).await.unwrap_err();
    assert_eq!(
        (nobody.code(), nobody.message()),
        (Code::Unknown, "election: no leader")
    );
    let campaign = |lease, value: &str| CampaignRequest {
        name: "chief".into(),
        lease,
        value: value.to_owned().into(),
    };
    let mut heard = elections.observe(name.clone()).await.unwrap().into_inner();
    let first = elections.campaign(campaign(1, "one")).await.unwrap();
    let first = first.into_inner().leader.unwrap();
    assert_eq!((&first.key[..], first.lease), (&b"chief/1"[..], 1));
    let mut hear = async || heard.message().await.unwrap().unwrap().kv.unwrap();
    assert_eq!(hear().await.value, "one");
    let proclaim = ProclaimRequest {
        leader: Some(first.clone()),
        value: "still one".into(),
    };
    elections.proclaim(proclaim.clone()).await.unwrap();
    assert_eq!(hear().await.value, "still one");

    let second = tokio::spawn({
        let mut elections = elections.clone();
        async move { elections.campaign(campaign(2, "two")).await }
    });
    let resign = ResignRequest {
        leader: Some(first),
    };
    elections.resign(resign).await.unwrap();
    let second = second.await.unwrap().unwrap().into_inner().leader.unwrap();
    assert_eq!(hear().await.value, "two");
    let refused = elections.proclaim(proclaim).await.unwrap_err();
    assert_eq!(refused.message(), "election: not leader");
    let leader = elections
        .leader(name)
        .await
        .unwrap()
        .into_inner()
        .kv
        .unwrap();
    assert_eq!(leader.create_revision, second.rev);
    leases
        .lease_revoke(LeaseRevokeRequest { id: 2 })
        .await
        .unwrap();
    let range = get("chief/2");
    assert_eq!(kv(node).range(range).await.unwrap().into_inner().count, 0);
    nodes.shutdown().await;
}
