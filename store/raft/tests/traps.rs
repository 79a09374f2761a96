//! The traps of the consensus library that no other suite of this crate walks into.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

mod common;

use std::time::Duration;

use common::{Cluster, PLENTY, eventually, has, link::Link, put, put_of, write};
use holdfast_proto::NodeId;
use holdfast_raft::BarrierError;
use tokio::time::{Instant, timeout};

/// One way, between any two nodes: a new leader has no lease for twice as long at least.
const DELAY: Duration = Duration::from_millis(20);

fn soon() -> Instant {
    Instant::now() + PLENTY
}

/// Between the election and the first round of heartbeats that a majority answered, a leader turns
/// writes away with "lease expired" and names nobody. Neither is that a refusal, nor does it make
/// the outcome unknown: the very first write and read at a new leader are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_that_has_no_lease_yet_is_asked_again() {
    let cluster = Cluster::with(3, |options| {
        options.timing.election_min_ms = 300;
        options.timing.election_max_ms = 1_000;
    })
    .await;
    for id in cluster.ids() {
        cluster
            .network
            .isolate(id, &cluster.ids(), Link::Open(DELAY));
    }
    for round in 0..6 {
        let old = cluster.leader().await;
        let new = old % 3 + 1;
        let at_once = cluster.node(new).clone();
        let behind = cluster.node(new % 3 + 1).clone();
        let key = format!("first-{round}");
        let command = put(&key);
        let asked = tokio::spawn(async move {
            let mut leadership = at_once.leadership();
            let leads = leadership.wait_for(|now| now.leader == Some(NodeId(new)));
            timeout(PLENTY, leads).await.unwrap().unwrap();
            // Nobody repeats this write: "unknown" would be the end of it.
            tokio::join!(
                at_once.propose(command, soon()),
                at_once.barrier(soon()),
                behind.barrier(soon())
            )
        });
        cluster
            .node(old)
            .transfer_leader(Some(NodeId(new)), soon())
            .await
            .unwrap();
        let (written, read, read_behind) = asked.await.unwrap();
        written.unwrap();
        read.unwrap();
        read_behind.unwrap();
        assert!(has(cluster.node(new), &key));
    }
    cluster.stop().await;
}

/// A leader that was frozen wakes deposed and finds old answers waiting. One of them commits an
/// entry, of which the other follower is told at once, without an entry; the other's old answer
/// names the same entry and looks like one to that. It says nothing of what happened meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_from_before_a_deposition_confirm_no_read() {
    for _ in 0..5 {
        if let Some(read) = read_confirmed_by_old_answers().await {
            assert!(
                matches!(read, Err(BarrierError::NoQuorum { .. })),
                "{read:?}"
            );
            return;
        }
    }
    panic!("this machine is too slow: streams gave up on answers before they could be held back");
}

/// What became of the read; nothing when the answers were given up before they arrived.
async fn read_confirmed_by_old_answers() -> Option<Result<(), BarrierError>> {
    const NOT_YET: Duration = Duration::from_millis(100);
    let cluster = Cluster::with(3, |options| {
        options.timing.election_min_ms = 150;
        options.timing.election_max_ms = 300;
    })
    .await;
    let old = cluster.leader().await;
    let mut others = cluster.ids();
    others.retain(|id| *id != old);
    write(cluster.node(old), "before").await;
    cluster.all_hold("before").await;

    for other in &others {
        cluster.network.set_answers(*other, old, Link::Hung);
    }
    let sleeper = cluster.node(old).clone();
    let held = tokio::spawn(async move { sleeper.propose(put("held"), soon()).await });
    eventually("an entry that both followers have", || {
        let last = |id: &u64| cluster.node(*id).status().last_log;
        let here = last(&old)?;
        let begun = Some(here) > cluster.node(old).status().committed;
        (begun && others.iter().all(|other| last(other) == Some(here))).then_some(())
    })
    .await;
    cluster.network.isolate(old, &cluster.ids(), Link::Hung);
    let new = cluster.leader_among(&others).await;
    write(cluster.node(new), "unseen").await;

    let mut read = Box::pin(cluster.node(old).barrier(Instant::now() + NOT_YET * 10));
    let mut outcome = timeout(NOT_YET, &mut read).await.ok();
    let open = Link::Open(Duration::ZERO);
    for other in &others {
        if outcome.is_some() {
            break;
        }
        cluster.network.set_answers(*other, old, open);
        outcome = timeout(NOT_YET, &mut read).await.ok();
    }
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => read.as_mut().await,
    };
    drop(read);
    let arrived = has(cluster.node(old), "held");
    assert!(!has(cluster.node(old), "unseen"));
    held.abort();
    cluster.stop().await;
    arrived.then_some(outcome)
}

/// What was applied, and who the members are, stand in the archive beside the rows: a node whose
/// log was cut knows both before any peer told it anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_and_the_last_index_come_back_with_the_archive() {
    let mut cluster = Cluster::with(3, |options| options.keep_log_bytes = 0).await;
    let leader = cluster.leader().await;
    let lone = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    for number in 0..20 {
        let command = put_of(&format!("k{number}"), 4 * 1024, None);
        cluster.node(leader).propose(command, soon()).await.unwrap();
    }
    write(cluster.node(leader), "last").await;
    cluster.holds(lone, "last").await;
    let archived = cluster.node(lone).archive_now().await.unwrap();
    eventually("a cut log", || {
        let purged = cluster.node(lone).status().purged;
        (purged > Some(15)).then_some(())
    })
    .await;
    let known = cluster.node(lone).status();
    for id in cluster.ids() {
        cluster.kill(id).await;
    }
    cluster.start(lone, false).await;
    eventually("its members and its place", || {
        let now = cluster.node(lone).status();
        let is_known = now.voters == known.voters && now.nodes == known.nodes;
        (is_known && now.applied >= Some(archived)).then_some(())
    })
    .await;
    assert!(has(cluster.node(lone), "last"));
    cluster.stop().await;
}
