//! Every method of every front, for who has no rights: not one is forgotten.

use holdfast_proto::described::methods;
use tonic::Code;

use super::{Papers, call};
use crate::nodes::{Nodes, reason};

/// For whoever has a certificate, and for whoever has none.
const FOR_ALL: &[&str] = &[
    "holdfast.v1.Cluster/Status",
    "holdfast.v1.Cluster/MemberList",
    "holdfast.v1.Cluster/Join",
    "holdfast.v1.Access/Can",
    "etcdserverpb.Cluster/MemberList",
    "etcdserverpb.Maintenance/Alarm",
    "etcdserverpb.Maintenance/Status",
    "etcdserverpb.Maintenance/Hash",
    "etcdserverpb.Maintenance/HashKV",
    // Says that certificates are what it takes, and does nothing else.
    "etcdserverpb.Auth/",
];

fn is_for_all(method: &str) -> bool {
    FOR_ALL.iter().any(|listed| method.starts_with(listed))
}

#[tokio::test]
async fn who_was_granted_nothing_is_refused_by_every_method() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let stranger = Papers::issue(&nodes, "stranger").await;
    let (own, etcd) = (stranger.channel(node), stranger.etcd(node));
    let mut refused = 0;
    for method in methods(holdfast_proto::DESCRIPTORS) {
        let answer = call(&own, &method).await;
        if is_for_all(&method) {
            let allowed = !matches!(&answer, Err(status) if reason(status) == "not_allowed");
            assert!(allowed, "{method}: {answer:?}");
            continue;
        }
        let status = answer.expect_err(&method);
        assert_eq!(reason(&status), "not_allowed", "{method}: {status:?}");
        assert_eq!(status.code(), Code::PermissionDenied, "{method}");
        refused += 1;
    }
    assert!(refused > 40, "only {refused} methods were tried");
    for method in methods(holdfast_proto::etcd::DESCRIPTORS) {
        let answer = call(&etcd, &method).await;
        if is_for_all(&method) {
            let allowed = !matches!(&answer, Err(it) if it.code() == Code::PermissionDenied);
            assert!(allowed, "{method}: {answer:?}");
            continue;
        }
        let status = answer.expect_err(&method);
        assert_eq!(
            status.code(),
            Code::PermissionDenied,
            "{method}: {status:?}"
        );
        let words = "etcdserver: permission denied";
        assert_eq!(status.message(), words, "{method}");
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_node_has_no_rights_of_a_client() {
    let nodes = Nodes::one().await;
    let node = Papers::of_node(&nodes, "n1").channel(&nodes.all[0]);
    let mut tried = 0;
    for method in methods(holdfast_proto::DESCRIPTORS) {
        if !method.starts_with("holdfast.v1.") || is_for_all(&method) {
            continue;
        }
        let status = call(&node, &method).await.expect_err(&method);
        assert_eq!(reason(&status), "not_allowed", "{method}: {status:?}");
        tried += 1;
    }
    assert!(tried > 30);
    nodes.shutdown().await;
}

#[tokio::test]
async fn who_was_revoked_is_refused_by_what_is_for_all_too() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let gone = Papers::issue(&nodes, "gone").await;
    let channel = gone.channel(node);
    call(&channel, "holdfast.v1.Cluster/Status").await.unwrap();
    let access = node.client().access();
    access.revoke("client/gone").await.unwrap();
    for channel in [channel, gone.channel(node)] {
        for method in methods(holdfast_proto::DESCRIPTORS) {
            if method == "holdfast.v1.Cluster/Join" {
                continue;
            }
            let status = call(&channel, &method).await.expect_err(&method);
            assert_eq!(reason(&status), "not_allowed", "{method}: {status:?}");
        }
    }
    nodes.shutdown().await;
}
