//! Clusters that lose nodes, links and leaders, and what their clients are told.

#![allow(clippy::unwrap_used, reason = "the helpers are tests too")]

mod common;

use std::time::Duration;

use common::{
    Cluster, PLENTY, eventually, fails, has, link::Link, named_put, peer, put, put_of, write,
};
use holdfast_proto::NodeId;
use holdfast_raft::{BarrierError, ChangeError, ProposeError, ReplicaOptions, StartError, Timing};
use tokio::time::{Instant, timeout};

fn soon(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_at_any_node_is_applied_at_all() {
    let cluster = Cluster::of(3).await;
    for id in cluster.ids() {
        let key = format!("from-{id}");
        write(cluster.node(id), &key).await;
        // Whoever was answered reads their own write after a barrier, anywhere.
        for reader in cluster.ids() {
            cluster.node(reader).barrier(soon(5_000)).await.unwrap();
            assert!(has(cluster.node(reader), &key), "{key} on {reader}");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_at_once_through_every_node_are_each_answered() {
    let cluster = Cluster::of(3).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..300 {
        let replica = cluster.node(number % 3 + 1).clone();
        writers.spawn(async move { write(&replica, &format!("k{number}")).await });
    }
    writers.join_all().await;
    for number in 0..300 {
        cluster.all_hold(&format!("k{number}")).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_proposed_twice_is_applied_once() {
    let cluster = Cluster::of(3).await;
    let command = named_put("once");
    let first = cluster
        .node(1)
        .propose(command.clone(), soon(5_000))
        .await
        .unwrap();
    let second = cluster.node(2).propose(command, soon(5_000)).await.unwrap();
    assert_eq!(first.reply.revision, second.reply.revision);
    assert!(second.index > first.index);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_outlive_the_leader() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    write(cluster.node(leader), "before").await;
    cluster.kill(leader).await;
    let survivor = cluster.ids()[0];
    write(cluster.node(survivor), "after").await;
    assert_ne!(cluster.leader().await, leader);
    cluster.all_hold("before").await;
    cluster.start(leader, false).await;
    cluster.all_hold("after").await;
    cluster.all_hold("before").await;
    cluster.stop().await;
}

/// Nobody campaigns because of silence as long as a test may take.
fn patient(options: &mut ReplicaOptions) {
    options.timing = Timing {
        election_min_ms: 60_000,
        election_max_ms: 120_000,
        ..Timing::default()
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_process_ended_is_replaced_before_its_lease_is_over() {
    let mut cluster = Cluster::with(3, patient).await;
    for round in ["first", "second"] {
        let leader = cluster.leader().await;
        cluster.kill(leader).await;
        let next = cluster.leader().await;
        write(cluster.node(next), round).await;
        cluster.start(leader, false).await;
        cluster.holds(leader, round).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_alone_cannot_reach_the_leader_replaces_nobody() {
    let cluster = Cluster::with(3, patient).await;
    let leader = cluster.leader().await;
    let before = *cluster.node(leader).leadership().borrow();
    for follower in cluster.ids().into_iter().filter(|id| *id != leader) {
        let key = format!("from {follower}");
        cluster.network.isolate(leader, &[follower], Link::Cut);
        write(cluster.node(leader), &key).await;
        let mended = Link::Open(Duration::ZERO);
        cluster.network.isolate(leader, &[follower], mended);
        cluster.holds(follower, &key).await;
    }
    assert_eq!(*cluster.node(leader).leadership().borrow(), before);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_on_a_minority_leader_answers_by_its_deadline() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    cluster.network.isolate(old, &cluster.ids(), Link::Hung);
    // At once, while it still believes to lead; then when it knows that it cannot.
    for attempt in 0..3 {
        let error = fails(
            cluster.node(old),
            put(&format!("lost-{attempt}")),
            Duration::from_millis(600),
        )
        .await;
        assert!(
            matches!(
                error,
                ProposeError::Unknown { .. } | ProposeError::NoLeader { .. }
            ),
            "{error}"
        );
    }
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != old).collect();
    let new = cluster.leader_among(&others).await;
    write(cluster.node(new), "majority").await;
    cluster
        .network
        .isolate(old, &cluster.ids(), Link::Open(Duration::ZERO));
    cluster.all_hold("majority").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leaders_unconfirmed_write_is_unknown_and_not_refused() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    cluster.network.isolate(old, &cluster.ids(), Link::Hung);
    let orphan = cluster.node(old).clone();
    let orphan = tokio::spawn(async move { orphan.propose(put("orphan"), soon(15_000)).await });
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != old).collect();
    let new = cluster.leader_among(&others).await;
    write(cluster.node(new), "overwrites").await;
    cluster
        .network
        .isolate(old, &cluster.ids(), Link::Open(Duration::ZERO));
    let error = timeout(PLENTY, orphan).await.unwrap().unwrap();
    // Taken by nobody: the entry was discarded, and its proposer cannot know that.
    match error {
        Err(ProposeError::Unknown { .. }) => assert!(!has(cluster.node(new), "orphan")),
        // It came while the lease had just run out, and was tried again at the new leader.
        Ok(_) => cluster.all_hold("orphan").await,
        Err(other) => panic!("{other}"),
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeatable_write_survives_its_leader_being_deposed() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    cluster.network.isolate(old, &cluster.ids(), Link::Hung);
    let orphan = cluster.node(old).clone();
    let orphan =
        tokio::spawn(async move { orphan.propose(named_put("named"), soon(15_000)).await });
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != old).collect();
    let new = cluster.leader_among(&others).await;
    write(cluster.node(new), "overwrites").await;
    cluster
        .network
        .isolate(old, &cluster.ids(), Link::Open(Duration::ZERO));
    timeout(PLENTY, orphan).await.unwrap().unwrap().unwrap();
    cluster.all_hold("named").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_never_passes_on_the_minority_side() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    cluster.node(old).barrier(soon(5_000)).await.unwrap();
    cluster.network.isolate(old, &cluster.ids(), Link::Hung);
    let others: Vec<_> = cluster.ids().into_iter().filter(|id| *id != old).collect();
    let new = cluster.leader_among(&others).await;
    write(cluster.node(new), "unseen").await;
    let began = Instant::now();
    let refused = cluster.node(old).barrier(soon(400)).await;
    assert!(
        matches!(refused, Err(BarrierError::NoQuorum { .. })),
        "{refused:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(3));
    for id in others {
        cluster.node(id).barrier(soon(5_000)).await.unwrap();
        assert!(has(cluster.node(id), "unseen"));
    }
    cluster
        .network
        .isolate(old, &cluster.ids(), Link::Open(Duration::ZERO));
    cluster.node(old).barrier(soon(10_000)).await.unwrap();
    assert!(has(cluster.node(old), "unseen"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_barriers_at_once_all_pass() {
    let cluster = Cluster::of(3).await;
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..300 {
        let replica = cluster.node(number % 3 + 1).clone();
        readers.spawn(async move { replica.barrier(soon(10_000)).await.unwrap() });
    }
    readers.join_all().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_is_handed_over_on_request() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    let to = cluster.ids().into_iter().find(|id| *id != old).unwrap();
    let taken = cluster
        .node(old)
        .transfer_leader(Some(NodeId(to)), soon(5_000))
        .await
        .unwrap();
    assert_eq!(taken, NodeId(to));
    assert_eq!(cluster.leader().await, to);
    let refused = cluster.node(old).transfer_leader(None, soon(1_000)).await;
    assert!(
        matches!(refused, Err(ChangeError::NotLeader { .. })),
        "{refused:?}"
    );
    let chosen = cluster
        .node(to)
        .transfer_leader(None, soon(5_000))
        .await
        .unwrap();
    assert_ne!(chosen, NodeId(to));
    write(cluster.node(old), "still works").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_added_promoted_and_removed() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    write(cluster.node(leader), "old").await;
    cluster.start(4, true).await;
    let at_leader = cluster.node(leader).clone();
    at_leader.add_learner(peer(4)).await.unwrap();
    at_leader.add_learner(peer(4)).await.unwrap();
    cluster.holds(4, "old").await;
    assert!(at_leader.status().learners.contains(&NodeId(4)));
    at_leader.promote(NodeId(4)).await.unwrap();
    assert_eq!(at_leader.status().voters.len(), 4);
    at_leader.remove(NodeId(4)).await.unwrap();
    let status = at_leader.status();
    assert_eq!((status.voters.len(), status.nodes.len()), (3, 3));
    write(&at_leader, "after").await;
    let missing = at_leader.promote(NodeId(9)).await;
    assert!(
        matches!(missing, Err(ChangeError::NotMember { .. })),
        "{missing:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_in_use_is_refused_to_another_node() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let mut impostor = peer(if leader == 3 { 2 } else { 3 });
    impostor.address = "replica:99".to_owned();
    let refused = cluster.node(leader).add_learner(impostor).await;
    assert!(
        matches!(refused, Err(ChangeError::IdUsed { .. })),
        "{refused:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_voter_cannot_be_removed() {
    let cluster = Cluster::of(1).await;
    let refused = cluster.node(1).remove(NodeId(1)).await;
    assert!(
        matches!(refused, Err(ChangeError::LastVoter { .. })),
        "{refused:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lags_too_far_is_sent_an_archive() {
    let mut cluster = Cluster::with(3, |options| {
        options.keep_log_bytes = 0;
        options.archive_after_bytes = 64 * 1024;
    })
    .await;
    let leader = cluster.leader().await;
    let late = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.kill(late).await;
    for number in 0..40 {
        let command = put_of(&format!("big-{number}"), 8 * 1024, None);
        cluster
            .node(leader)
            .propose(command, soon(10_000))
            .await
            .unwrap();
    }
    let archived = cluster.node(leader).archive_now().await.unwrap();
    eventually("a log cut behind the archive", || {
        let purged = cluster.node(leader).status().purged;
        purged
            .is_some_and(|purged| purged >= archived.min(30))
            .then_some(())
    })
    .await;
    write(cluster.node(leader), "newest").await;
    cluster.start(late, false).await;
    cluster.holds(late, "newest").await;
    cluster.holds(late, "big-0").await;
    assert!(cluster.node(late).status().snapshot.is_some());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_written_when_the_log_has_grown() {
    let cluster = Cluster::with(1, |options| options.archive_after_bytes = 32 * 1024).await;
    for number in 0..20 {
        let command = put_of(&format!("big-{number}"), 4 * 1024, None);
        cluster
            .node(1)
            .propose(command, soon(10_000))
            .await
            .unwrap();
    }
    eventually("an archive", || cluster.node(1).status().snapshot).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hears_but_cannot_answer_does_not_stall_the_others() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let deaf = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.network.set(deaf, leader, Link::Hung);
    for number in 0..20 {
        write(cluster.node(leader), &format!("k{number}")).await;
    }
    cluster
        .network
        .set(deaf, leader, Link::Open(Duration::ZERO));
    // The hung stream is given up, and a new one catches the peer up.
    write(cluster.node(leader), "last").await;
    cluster.holds(deaf, "last").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_hangs_for_longer_than_a_streams_patience_catches_up() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let hung = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.network.set(leader, hung, Link::Hung);
    let until = soon(3_000);
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        write(cluster.node(leader), &format!("k{number}")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster
        .network
        .set(leader, hung, Link::Open(Duration::ZERO));
    cluster.holds(hung, &format!("k{number}")).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_follower_does_not_disturb_the_leader_when_it_returns() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let term = cluster.node(leader).status().term;
    let lone = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.network.isolate(lone, &cluster.ids(), Link::Hung);
    // Several election timeouts: without a pre-vote its term would have run ahead.
    let until = soon(1_500);
    while Instant::now() < until {
        write(cluster.node(leader), "tick").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster
        .network
        .isolate(lone, &cluster.ids(), Link::Open(Duration::ZERO));
    write(cluster.node(leader), "back").await;
    cluster.holds(lone, "back").await;
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.node(lone).status().term, term);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_serves_reads() {
    let cluster = Cluster::with(1, |options| options.reserve_bytes = u64::MAX).await;
    let error = fails(cluster.node(1), put("k"), Duration::from_secs(2)).await;
    assert!(matches!(error, ProposeError::Refused { .. }), "{error}");
    cluster.node(1).barrier(soon(5_000)).await.unwrap();
    assert_eq!(*cluster.node(1).failure().borrow(), None);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_is_gone_is_not_started_under_its_old_number() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let wiped = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.kill(wiped).await;
    std::fs::remove_dir_all(cluster.dir(wiped)).unwrap();
    let refused = cluster.try_start(wiped, false).await;
    assert!(matches!(refused.err(), Some(StartError::Wiped { .. })));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_that_comes_back_all_the_same_is_kept_out_and_stops_nobody() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    write(cluster.node(leader), "before").await;
    cluster.all_hold("before").await;
    let wiped = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.kill(wiped).await;
    std::fs::remove_dir_all(cluster.dir(wiped)).unwrap();
    cluster.start(wiped, true).await;
    write(cluster.node(leader), "after").await;
    assert_eq!(*cluster.node(leader).failure().borrow(), None);
    assert_eq!(*cluster.node(wiped).failure().borrow(), None);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_everything_answers_that_it_stopped() {
    let cluster = Cluster::of(1).await;
    let replica = cluster.node(1).clone();
    cluster.stop().await;
    let error = fails(&replica, put("k"), Duration::from_secs(1)).await;
    assert!(matches!(error, ProposeError::Stopped { .. }), "{error}");
    let refused = replica.barrier(soon(1_000)).await;
    assert!(
        matches!(refused, Err(BarrierError::Stopped { .. })),
        "{refused:?}"
    );
    assert!(replica.failure().borrow().is_some());
}
