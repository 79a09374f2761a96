//! A replica whose disk fails once: it stops whole, at once, and never acknowledges again.
//!
//! What is on disk after a failed write or sync, nobody knows, so the node must not go on with it.
//! The disk belongs to a process of its own, with a library between the replica and the kernel that
//! makes one call on its log fail with EIO (the disk crate's, see its `crash` suite).

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

mod common;
#[path = "../../disk/tests/crash/shim.rs"]
#[allow(dead_code, reason = "the disk's own suite also records")]
mod shim;

use std::{env, path::Path, process::Command, time::Duration};

use common::{Cluster, PLENTY, fails, folder_of, put, write};
use holdfast_proto::NodeId;
use holdfast_raft::{BarrierError, ProposeError, ReplicaRole};
use tokio::time::{Instant, timeout};

use self::shim::Shim;

/// More than founding a cluster of three costs any of its nodes.
const NTH: u32 = 60;
/// More than enough to reach that call.
const MOST_WRITES: u32 = 5_000;
/// So soon whoever asks a stopped replica has an answer, whatever the deadline.
const PROMPT: Duration = Duration::from_secs(2);

#[test]
fn a_replica_whose_log_cannot_be_written_stops_and_never_acknowledges_again() {
    let Some(shim) = Shim::build() else { return };
    for (node, kind) in [(1, "write"), (1, "sync"), (2, "write"), (2, "sync")] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["a_cluster_on_a_failing_disk", "--exact", "--ignored"])
            .args(["--nocapture", "--test-threads=1"])
            .env("HOLDFAST_FAILING_DIR", dir.path())
            .env("HOLDFAST_FAILING_NODE", node.to_string());
        let output = shim
            .fail(&mut command, &folder_of(dir.path(), node), kind, NTH)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("stopped as it must"),
            "{kind} at node {node}: {said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that the other test starts, with a disk that fails"]
async fn a_cluster_on_a_failing_disk() {
    let (Some(dir), Ok(sick)) = (
        env::var_os("HOLDFAST_FAILING_DIR"),
        env::var("HOLDFAST_FAILING_NODE"),
    ) else {
        return;
    };
    let sick: u64 = sick.parse().unwrap();
    let mut cluster = Cluster::founded(Path::new(&dir), 3, |_| {}).await;
    let leader = cluster.leader().await;
    if leader != 1 {
        let to = Some(NodeId(1));
        let at = cluster.node(leader);
        at.transfer_leader(to, Instant::now() + PLENTY)
            .await
            .unwrap();
    }

    let replica = cluster.node(sick).clone();
    let mut acknowledged = Vec::new();
    let refused = loop {
        let key = format!("k{}", acknowledged.len());
        match replica.propose(put(&key), Instant::now() + PLENTY).await {
            Ok(_) => acknowledged.push(key),
            Err(error) => break error,
        }
        assert!(
            acknowledged.len() < MOST_WRITES as usize,
            "its disk never failed"
        );
    };
    assert!(
        matches!(
            refused,
            ProposeError::Unknown { .. } | ProposeError::Stopped { .. }
        ),
        "{refused}"
    );
    let mut failure = replica.failure();
    let why = timeout(PROMPT, failure.wait_for(Option::is_some)).await;
    let why = why.expect("it never said that it failed").unwrap().clone();
    assert!(why.unwrap().contains("raft log failed"));

    // Whoever asks it now is told at once, and nothing of it is done.
    let began = Instant::now();
    for attempt in 0..3 {
        let key = format!("late-{attempt}");
        let error = fails(&replica, put(&key), PLENTY).await;
        assert!(matches!(error, ProposeError::Stopped { .. }), "{error}");
    }
    let read = replica.barrier(Instant::now() + PLENTY).await;
    assert!(
        matches!(read, Err(BarrierError::Stopped { .. })),
        "{read:?}"
    );
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
    assert_eq!(replica.status().role, ReplicaRole::Stopped);

    // Or its log would stay open.
    drop(replica);
    // The others go on, with everything that was acknowledged.
    cluster.kill(sick).await;
    let survivor = cluster.ids()[0];
    write(cluster.node(survivor), "after").await;
    for key in acknowledged.iter().map(String::as_str).chain(["after"]) {
        cluster.all_hold(key).await;
    }
    // And so does the node itself, once its disk is well and it was started anew.
    cluster.start(sick, false).await;
    for key in acknowledged.iter().map(String::as_str).chain(["after"]) {
        cluster.holds(sick, key).await;
    }
    for id in cluster.ids() {
        assert!(!common::has(cluster.node(id), "late-0"), "node {id}");
    }
    println!("stopped as it must");
    cluster.stop().await;
}
