//! Leases.

use holdfast_proto::etcd::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, PutRequest, lease_client::LeaseClient,
};
use tonic::Code;

use super::{all, kv, plain, put, shown};
use crate::nodes::Nodes;

#[tokio::test]
async fn a_lease_is_granted_kept_alive_asked_about_and_revoked() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let (mut etcd, mut leases) = (kv(node), LeaseClient::new(plain(node)));
    let grant = |id, ttl| LeaseGrantRequest { ttl, id };
    let granted = leases
        .lease_grant(grant(77, 60))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((granted.id, granted.ttl), (77, 60));
    let picked = leases.lease_grant(grant(0, 1)).await.unwrap().into_inner();
    assert!(picked.id > 0);
    assert_eq!(picked.ttl, 2, "etcd's least");
    for (request, code, text) in [
        (
            grant(77, 60),
            Code::FailedPrecondition,
            "lease already exists",
        ),
        (
            grant(0, 9_000_000_001),
            Code::OutOfRange,
            "too large lease TTL",
        ),
    ] {
        let refused = leases.lease_grant(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (code, &*format!("etcdserver: {text}"))
        );
    }
    let bound = PutRequest {
        lease: 77,
        ..put("a", "1")
    };
    etcd.put(bound).await.unwrap();
    let ask = |id| LeaseTimeToLiveRequest { id, keys: true };
    let known = leases
        .lease_time_to_live(ask(77))
        .await
        .unwrap()
        .into_inner();
    assert!((50..=60).contains(&known.ttl), "{}", known.ttl);
    assert_eq!((known.granted_ttl, known.keys.len()), (60, 1));
    let unknown = leases
        .lease_time_to_live(ask(5))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((unknown.id, unknown.ttl, unknown.granted_ttl), (5, -1, 0));

    let asked = [77, 5].map(|id| LeaseKeepAliveRequest { id });
    let mut answers = leases
        .lease_keep_alive(tokio_stream::iter(asked))
        .await
        .unwrap()
        .into_inner();
    for (id, ttl) in [(77, 60), (5, 0)] {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl), (id, ttl));
    }
    let revoke = LeaseRevokeRequest { id: 77 };
    let revoked = leases.lease_revoke(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.header.unwrap().revision, 2);
    assert_eq!(
        shown(&etcd.range(all()).await.unwrap().into_inner().kvs),
        [""; 0]
    );
    let refused = leases.lease_revoke(revoke).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: requested lease not found");
    let listed = leases.lease_leases(LeaseLeasesRequest {}).await.unwrap();
    let ids: Vec<i64> = listed.get_ref().leases.iter().map(|one| one.id).collect();
    assert_eq!(ids, [picked.id]);
    nodes.shutdown().await;
}
