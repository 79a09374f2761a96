//! Somebody changes a node's files: another node finds it, by what the cluster agreed on.

use std::{fs, time::Instant};

use holdfast_proto::v1::{self, audit_damage::Kind};
use holdfast_server::node::Node;

use super::{anchored, files, records, verify};
use crate::nodes::{Clients as _, Nodes, PATIENCE, restart};

/// What `node` finds wrong with the log of member 1.
async fn found_by(node: &Node) -> Vec<(Kind, u64)> {
    let report = verify(node, 1).await.remove(0);
    assert_eq!(report.unchecked, "");
    let damages = report.damages.iter();
    damages
        .map(|damage| (damage.kind(), damage.sequence))
        .collect()
}

#[tokio::test]
async fn an_edited_or_truncated_log_is_found_from_another_node() {
    let nodes = Nodes::three().await;
    let (first, second) = (&nodes.all[0], &nodes.all[1]);
    for _ in 0..3 {
        nodes.token(v1::Role::Learner).await;
    }
    anchored(&[first, second], 1).await;
    assert_eq!(found_by(second).await, []);

    let path = files(first.dir().path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let recorded = records(second, 1).await;
    let last = recorded.last().unwrap().sequence;

    // Another name in place of the first one's.
    let mut edited = whole.clone();
    let name = b"client/embedded";
    let place = edited.windows(name.len()).position(|bytes| bytes == name);
    edited[place.unwrap()..][..name.len()].copy_from_slice(b"client/somebody");
    fs::write(&path, &edited).unwrap();
    assert_eq!(found_by(second).await, [(Kind::Edited, 1)]);

    // The last record gone, byte for byte as if it had never been.
    let tail = last_record(&whole);
    fs::write(&path, &whole[..whole.len() - tail]).unwrap();
    assert_eq!(found_by(second).await, [(Kind::Truncated, last)]);

    fs::write(&path, &whole).unwrap();
    assert_eq!(found_by(second).await, []);

    fs::remove_file(&path).unwrap();
    assert_eq!(found_by(second).await, [(Kind::Truncated, 1)]);
    // The next act is recorded above what is gone, and that it is gone stays known.
    nodes.token(v1::Role::Learner).await;
    let acts: Vec<String> = records(second, 1)
        .await
        .into_iter()
        .map(|record| format!("{} {}", record.sequence, record.act))
        .collect();
    assert_eq!(acts[0], format!("{} audit/lost", last + 1));
    assert_eq!(found_by(second).await, [(Kind::Missing, last + 1)]);
    nodes.shutdown().await;
}

/// The bytes of the last record: its body's length stands before it.
fn last_record(file: &[u8]) -> usize {
    let mut at = 100;
    loop {
        let length = u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let all = 8 + length + 32;
        if at + all == file.len() {
            return all;
        }
        at += all;
    }
}

#[tokio::test]
async fn a_log_that_was_rolled_back_while_its_node_was_down_goes_on_above_its_anchor() {
    let mut nodes = Nodes::three().await;
    let old = files(nodes.all[0].dir().path()).pop().unwrap();
    let kept_to = records(&nodes.all[1], 1).await.last().unwrap().sequence;
    let kept = fs::read(&old).unwrap();
    for _ in 0..3 {
        nodes.token(v1::Role::Learner).await;
    }
    anchored(&nodes.all.iter().collect::<Vec<_>>(), 1).await;
    let last = records(&nodes.all[1], 1).await.last().unwrap().sequence;
    let stopped = nodes.all.remove(0);
    let dir = stopped.dir().path().to_owned();
    stopped.shutdown().await;
    fs::write(&old, kept).unwrap();
    let node = restart(&dir).await;
    let second = &nodes.all[0];
    let deadline = Instant::now() + PATIENCE;
    let begun = loop {
        match records(second, 1).await.pop() {
            Some(newest) if newest.sequence > last => break newest,
            newest => assert!(Instant::now() < deadline, "not in time: {newest:?}"),
        }
    };
    assert_eq!(
        (begun.act.as_str(), begun.sequence),
        ("audit/lost", last + 1)
    );
    assert_eq!(found_by(second).await, [(Kind::Missing, kept_to + 1)]);
    node.cluster()
        .create_token(v1::CreateTokenRequest::default())
        .await
        .unwrap();
    node.shutdown().await;
    nodes.shutdown().await;
}
