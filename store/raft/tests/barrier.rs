//! Linearizable reads of a follower: whose vote counts, and whose does not.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

mod common;

use std::time::Duration;

use common::{Cluster, PLENTY, has, link::Link, peer, write};
use holdfast_proto::{
    log::v1::Vote,
    peer::v1::{
        ReadIndexRequest, ReadIndexResponse, raft_client::RaftClient, read_index_response::Outcome,
    },
};
use holdfast_raft::{BarrierError, Purpose};
use tokio::time::{Instant, timeout};

/// Longer than any of these tests takes to ask: nobody starts an election, and a leader that hears
/// nothing still counts on its followers.
fn patient(options: &mut holdfast_raft::ReplicaOptions) {
    options.timing.election_min_ms = 20_000;
    options.timing.election_max_ms = 30_000;
}

/// Long enough for an answer that needs nobody else.
const AT_ONCE: Duration = Duration::from_secs(3);
/// What does not come within this does not come.
const NEVER: Duration = Duration::from_millis(700);

fn soon(limit: Duration) -> Instant {
    Instant::now() + limit
}

/// Of the leader `old` nothing arrives any more but its answers, so that it hears from no quorum.
async fn silenced(cluster: &Cluster) -> (u64, Vec<u64>) {
    let old = cluster.leader().await;
    let mut others = cluster.ids();
    others.retain(|id| *id != old);
    for other in &others {
        cluster.node(*other).barrier(soon(PLENTY)).await.unwrap();
    }
    for other in &others {
        cluster.network.set(old, *other, Link::Hung);
        let open = Link::Open(Duration::ZERO);
        cluster.network.set_answers(old, *other, open);
    }
    (old, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_a_follower_reads_with_its_own_vote_and_the_leaders() {
    let cluster = Cluster::with(3, patient).await;
    write(cluster.node(cluster.leader().await), "before").await;
    let (old, others) = silenced(&cluster).await;
    let own = cluster.node(old).barrier(soon(NEVER)).await;
    assert!(
        matches!(own, Err(BarrierError::NoQuorum { .. })),
        "the leader hears from somebody: {own:?}"
    );
    for other in others {
        cluster.node(other).barrier(soon(AT_ONCE)).await.unwrap();
        assert!(has(cluster.node(other), "before"));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_two_votes_are_not_enough() {
    let cluster = Cluster::with(5, patient).await;
    let (_, others) = silenced(&cluster).await;
    let read = cluster.node(others[0]).barrier(soon(NEVER)).await;
    assert!(
        matches!(read, Err(BarrierError::NoQuorum { .. })),
        "{read:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_vote_counts_but_a_voters_for_this_leader() {
    let cluster = Cluster::with(3, patient).await;
    let (old, others) = silenced(&cluster).await;
    let vote = Vote {
        term: cluster.node(old).status().term,
        node: old,
        committed: true,
    };
    let ask = async |from: u64, vote: Option<Vote>| {
        let dialer = cluster.network.dialer(others[0]);
        let channel = dialer.channel(&peer(old), Purpose::Heartbeat).unwrap();
        let question = ReadIndexRequest { id: 1, from, vote };
        let questions =
            tokio_stream::StreamExt::chain(tokio_stream::once(question), tokio_stream::pending());
        let asked = RaftClient::new(channel).read_index(questions).await;
        let mut answers = asked.unwrap().into_inner();
        // A quorum is asked for as long as the leader's lease; that it does not answer is enough.
        timeout(NEVER, answers.message()).await.ok()?.unwrap()
    };
    let index = |answer: Option<ReadIndexResponse>| match answer?.outcome? {
        Outcome::Index(index) => Some(index),
        _ => None,
    };

    let committed = cluster.node(old).status().committed;
    assert!(committed.is_some());
    assert!(index(ask(others[0], Some(vote)).await) >= committed);
    let later = Vote {
        term: vote.term + 1,
        ..vote
    };
    let earlier = Vote {
        term: vote.term - 1,
        ..vote
    };
    let only_asked_for = Vote {
        committed: false,
        ..vote
    };
    let anothers = Vote {
        node: others[0],
        ..vote
    };
    for (case, from, vote) in [
        ("a later term", others[0], Some(later)),
        ("an earlier term", others[0], Some(earlier)),
        ("not elected yet", others[0], Some(only_asked_for)),
        ("another leader", others[0], Some(anothers)),
        ("a stranger", 9, Some(vote)),
        ("the leader itself", old, Some(vote)),
        ("an older version, which tells none", others[0], None),
    ] {
        assert_eq!(index(ask(from, vote).await), None, "{case}");
    }
    // The leader would still have answered.
    assert!(index(ask(others[0], Some(vote)).await) >= committed);
    cluster.stop().await;
}
