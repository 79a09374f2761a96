//! Audit: what is recorded, who finds out that it was changed, and what a full disk refuses.

mod damage;
mod full_disk;
mod killed;

use std::path::{Path, PathBuf};

use holdfast_proto::v1::{self, audit_client::AuditClient};
use holdfast_server::node::Node;
use tonic::transport::Channel;

use crate::nodes::{Clients as _, Nodes, PATIENCE};

fn audit(node: &Node) -> AuditClient<Channel> {
    AuditClient::new(node.channel()).max_decoding_message_size(16 << 20)
}

/// All records of a member, as `node` gives them.
async fn records(node: &Node, member: u64) -> Vec<v1::AuditRecord> {
    let request = v1::AuditTailRequest {
        member,
        ..v1::AuditTailRequest::default()
    };
    let mut stream = audit(node).tail(request).await.unwrap().into_inner();
    let mut records = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        records.extend(answer.records);
    }
    records
}

async fn verify(node: &Node, member: u64) -> Vec<v1::AuditReport> {
    let request = v1::AuditVerifyRequest { member };
    audit(node)
        .verify(request)
        .await
        .unwrap()
        .into_inner()
        .reports
}

/// Waits until a member's newest record is anchored, as all nodes know it.
async fn anchored(nodes: &[&Node], member: u64) {
    let newest = records(nodes[0], member).await.last().unwrap().sequence;
    let member = holdfast_proto::NodeId(member);
    crate::nodes::eventually("the newest record is anchored", || {
        nodes.iter().all(|node| {
            let view = node.replica().store().view();
            let anchor = view.anchors(member).next_back().copied();
            anchor.is_some_and(|anchor| anchor.sequence >= newest)
        })
    })
    .await;
}

/// The files of a node's audit log, oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("audit")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn admin_acts_are_recorded_where_they_were_asked_for_and_any_node_tells() {
    let nodes = Nodes::three().await;
    let [first, second, third] = &nodes.all[..] else {
        panic!("three nodes");
    };
    let before = records(third, 2).await.len();
    let transfer = v1::TransferLeaderRequest { to: 1 };
    second.cluster().transfer_leader(transfer).await.unwrap();
    second.kv().put(crate::nodes::put("a", "1")).await.unwrap();
    let here = records(third, 2).await;
    assert_eq!(here.len(), before + 1, "plain writes are not recorded here");
    let act = here.last().unwrap();
    assert_eq!(act.act, "holdfast.v1.Cluster/TransferLeader");
    assert_eq!(act.identity, "client/embedded");
    assert_eq!(&act.target[..], b"to member 1");
    assert_eq!(act.decision(), v1::AuditDecision::Allowed);
    assert_ne!(act.at_ms, 0);
    // Tokens and joins came to the first node.
    let acts: Vec<String> = records(second, 1)
        .await
        .into_iter()
        .map(|record| format!("{} {}", record.act, record.identity))
        .collect();
    for expected in [
        "holdfast.v1.Cluster/CreateToken client/embedded",
        "holdfast.v1.Cluster/Join nobody",
    ] {
        assert!(acts.iter().any(|act| act == expected), "{acts:?}");
    }
    for member in [1, 2] {
        anchored(&[first, second, third], member).await;
    }
    for report in verify(third, 0).await {
        assert_eq!(report.damages, [], "{report:?}");
        assert_eq!(report.unchecked, "", "{report:?}");
        // That it was read and checked is recorded, too.
        assert!(report.anchored == 0 || report.anchors > 0, "{report:?}");
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_refused_attempt_is_recorded_and_a_flood_of_them_is_counted() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let mut peer = holdfast_proto::peer::v1::node_client::NodeClient::new(node.channel());
    for _ in 0..200 {
        let request = holdfast_proto::peer::v1::AuthorityKeyRequest { generation: 0 };
        peer.authority_key(request).await.unwrap_err();
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let denied: Vec<_> = records(node, 1)
            .await
            .into_iter()
            .filter(|record| record.decision() == v1::AuditDecision::Denied)
            .collect();
        if let Some(first) = denied.first() {
            assert!(first.act.ends_with("Node/AuthorityKey"), "{first:?}");
            assert!(first.rule.contains("only nodes"), "{first:?}");
            assert!(denied.len() < 200, "not each of a flood");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "nothing was recorded");
        tokio::task::yield_now().await;
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn who_follows_gets_each_record_once_as_it_comes() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let request = v1::AuditTailRequest {
        follow: true,
        from: 1,
        ..v1::AuditTailRequest::default()
    };
    let mut stream = audit(node).tail(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    for round in 1..=5 {
        nodes.token(v1::Role::Learner).await;
        while seen.len() < round {
            let answer = tokio::time::timeout(PATIENCE, stream.message()).await;
            seen.extend(answer.unwrap().unwrap().unwrap().records);
        }
    }
    let sequences: Vec<u64> = seen.iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5]);
    nodes.shutdown().await;
}
