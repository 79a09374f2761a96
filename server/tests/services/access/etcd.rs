//! The same policy for etcd's clients.

use bytes::Bytes;
use holdfast_proto::etcd::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
        RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
        compare::{CompareTarget, TargetUnion},
        kv_client::KvClient,
        lease_client::LeaseClient,
        request_op::Request,
        watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient},
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use super::{Papers, allow};
use crate::nodes::{Clients as _, Nodes, PATIENCE, put};

#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("it was allowed");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(status.message(), DENIED);
}

fn get(key: &str, end: &str) -> RangeRequest {
    RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..RangeRequest::default()
    }
}

fn write(key: &str) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::from_static(b"1"),
        ..PutRequest::default()
    }
}

fn transaction(compare: Vec<Compare>, success: Vec<Request>, failure: Vec<Request>) -> TxnRequest {
    let steps = |steps: Vec<Request>| {
        let steps = steps.into_iter();
        steps.map(|request| RequestOp {
            request: Some(request),
        })
    };
    TxnRequest {
        compare,
        success: steps(success).collect(),
        failure: steps(failure).collect(),
    }
}

#[tokio::test]
async fn keys_and_transactions_are_for_who_may_read_and_write_them() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    for key in ["app/a", "app/keys/a", "other/a"] {
        node.kv().put(put(key, "1")).await.unwrap();
    }
    let papers = Papers::issue(&nodes, "bob").await;
    let rules = [
        "allow read,write,delete:app/",
        "deny read,write,delete:app/keys/",
    ];
    allow(&nodes, "bob", &rules).await;
    let mut kv = KvClient::new(papers.etcd(node));
    kv.range(get("app/a", "")).await.unwrap();
    denied(kv.range(get("app/", "app0")).await);
    denied(kv.range(get("\0", "\0")).await);
    denied(kv.range(get("other/a", "")).await);
    let local = RangeRequest {
        serializable: true,
        count_only: true,
        ..get("other/a", "")
    };
    denied(kv.range(local).await);
    kv.put(write("app/b")).await.unwrap();
    denied(kv.put(write("other/b")).await);
    denied(kv.put(write("app/keys/b")).await);
    let delete = |key: &str, end: &str| DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        prev_kv: false,
    };
    kv.delete_range(delete("app/b", "")).await.unwrap();
    denied(kv.delete_range(delete("app/", "app0")).await);
    let value = |key: &str| Compare {
        key: Bytes::copy_from_slice(key.as_bytes()),
        target: CompareTarget::Value.into(),
        target_union: Some(TargetUnion::Value(Bytes::from_static(b"1"))),
        ..Compare::default()
    };
    let fine = transaction(
        vec![value("app/a")],
        vec![Request::RequestPut(write("app/c"))],
        vec![],
    );
    kv.txn(fine.clone()).await.unwrap();
    for forbidden in [
        transaction(vec![value("other/a")], vec![], vec![]),
        transaction(
            vec![value("other/a")],
            vec![Request::RequestPut(write("app/c"))],
            vec![],
        ),
        transaction(vec![], vec![Request::RequestPut(write("other/c"))], vec![]),
        transaction(
            vec![],
            vec![],
            vec![Request::RequestRange(get("other/a", ""))],
        ),
        transaction(
            vec![],
            vec![Request::RequestPut(write("app/c"))],
            vec![Request::RequestRange(get("other/a", ""))],
        ),
        transaction(
            vec![],
            vec![Request::RequestTxn(transaction(
                vec![],
                vec![Request::RequestPut(write("other/c"))],
                vec![],
            ))],
            vec![],
        ),
    ] {
        denied(kv.txn(forbidden).await);
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_watch_of_what_may_not_be_read_is_canceled_at_once_or_when_that_changes() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let papers = Papers::issue(&nodes, "bob").await;
    allow(&nodes, "bob", &["allow read:app/"]).await;
    let watch = |key: &str, end: &str| WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            range_end: Bytes::copy_from_slice(end.as_bytes()),
            ..WatchCreateRequest::default()
        })),
    };
    let asked = vec![watch("other/a", ""), watch("app/", "app0")];
    let requests = tokio_stream::iter(asked).chain(tokio_stream::pending());
    let mut watches = WatchClient::new(papers.etcd(node));
    let mut answers = watches.watch(requests).await.unwrap().into_inner();
    let refused = answers.message().await.unwrap().unwrap();
    assert!(refused.canceled && refused.created, "{refused:?}");
    assert_eq!(refused.cancel_reason, DENIED);
    let created = answers.message().await.unwrap().unwrap();
    assert!(created.created && !created.canceled, "{created:?}");
    node.kv().put(put("app/a", "1")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().events.len(), 1);
    allow(&nodes, "bob", &["allow read:elsewhere/"]).await;
    node.kv().put(put("app/b", "1")).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, answers.message()).await;
    let ended = ended.unwrap().unwrap().unwrap();
    assert!(ended.canceled && ended.events.is_empty(), "{ended:?}");
    assert_eq!(ended.cancel_reason, DENIED);
    nodes.shutdown().await;
}

#[tokio::test]
async fn locks_and_leases_are_for_who_may_lock_and_write() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let papers = Papers::issue(&nodes, "bob").await;
    allow(&nodes, "bob", &["allow lock:app/"]).await;
    let mut lease = LeaseClient::new(papers.etcd(node));
    let granted = lease
        .lease_grant(LeaseGrantRequest { ttl: 60, id: 5 })
        .await;
    granted.unwrap();
    let mut lock = LockClient::new(papers.etcd(node));
    let request = |name: &str| LockRequest {
        name: Bytes::copy_from_slice(name.as_bytes()),
        lease: 5,
    };
    let held = lock.lock(request("app/lock")).await.unwrap().into_inner();
    denied(lock.lock(request("other/lock")).await);
    // With a right to locks alone nobody deletes what is no place before one.
    node.kv().put(put("app/data", "1")).await.unwrap();
    let unlock = |key: Bytes| UnlockRequest { key };
    denied(lock.unlock(unlock(Bytes::from_static(b"app/data"))).await);
    lock.unlock(unlock(held.key)).await.unwrap();
    let theirs = v1_grant(node, 6).await;
    let under = holdfast_proto::v1::PutRequest {
        lease: theirs,
        ..put("other/leased", "1")
    };
    node.kv().put(under).await.unwrap();
    denied(lease.lease_revoke(LeaseRevokeRequest { id: 6 }).await);
    lease
        .lease_revoke(LeaseRevokeRequest { id: 5 })
        .await
        .unwrap();
    nodes.shutdown().await;
}

async fn v1_grant(node: &holdfast_server::node::Node, lease: u64) -> u64 {
    let request = holdfast_proto::v1::LeaseGrantRequest {
        lease,
        ttl_ms: 60_000,
        ..holdfast_proto::v1::LeaseGrantRequest::default()
    };
    node.lease()
        .grant(request)
        .await
        .unwrap()
        .into_inner()
        .lease
}

const DENIED: &str = "etcdserver: permission denied";
