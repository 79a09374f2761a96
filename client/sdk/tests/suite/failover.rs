//! Failover: one request id for every repeat, and an honest answer at the deadline.

use std::time::{Duration, Instant};

use holdfast_client::{
    Expected, KeyRange, Origin, PutOptions, RangeOptions, ReadError, Reason, Revision, WriteError,
};

use crate::{
    fake::{Cluster, Manner},
    until,
};

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_repeated_under_the_same_id_and_applied_once() {
    let cluster = Cluster::start(3);
    cluster.nodes[0].behave(Manner::Forgetful);
    cluster.nodes[1].behave(Manner::Forgetful);
    let client = cluster.client(|_| {});
    let mut last = 0;
    for _ in 0..9 {
        let written = client.put("a", "b").await.unwrap();
        assert_eq!(written.revision.get(), last + 1, "applied more than once");
        last = written.revision.get();
    }
    let world = cluster.shared.world();
    assert_eq!(world.answers.len(), 9);
    assert!(world.arrivals.len() > 9, "no write was ever repeated");
}

#[tokio::test]
async fn a_frozen_node_costs_a_moment_and_not_the_deadline() {
    let cluster = Cluster::start(3);
    let client = cluster.client(|_| {});
    client.put("a", "warm").await.unwrap();
    cluster.nodes[0].behave(Manner::Silent);
    let started = Instant::now();
    for _ in 0..20 {
        client.put("a", "b").await.unwrap();
        client.get("a").await.unwrap().unwrap();
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "40 calls took {took:?}");
}

#[tokio::test]
async fn a_write_that_may_have_happened_is_unknown_at_the_deadline() {
    let cluster = Cluster::start(2);
    cluster.all(Manner::Forgetful);
    let client = cluster.client(|options| options.request_timeout = Duration::from_millis(300));
    let error = client.put("a", "b").await.unwrap_err();
    assert!(matches!(error, WriteError::Unknown { .. }), "{error}");
    assert!(error.may_have_happened());
    let arrivals = cluster.shared.world().arrivals_of_last();
    assert!(
        arrivals.contains(&1) && arrivals.contains(&2),
        "{arrivals:?}"
    );
}

#[tokio::test]
async fn a_write_that_no_quorum_took_certainly_did_not_happen() {
    let cluster = Cluster::start(2);
    cluster.all(Manner::NoQuorum);
    let client = cluster.client(|options| options.request_timeout = Duration::from_millis(300));
    let error = client.put("a", "b").await.unwrap_err();
    let WriteError::Unreachable { last, .. } = &error else {
        panic!("{error}");
    };
    assert!(last.contains("quorum"), "{last}");
}

#[tokio::test]
async fn with_every_server_gone_a_call_ends_at_its_deadline_as_unreachable() {
    let mut cluster = Cluster::start(2);
    let client = cluster.client(|options| options.request_timeout = Duration::from_millis(300));
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    let started = Instant::now();
    let error = client.get("a").await.unwrap_err();
    assert!(matches!(error, ReadError::Unreachable { .. }), "{error}");
    let error = client.put("a", "b").await.unwrap_err();
    assert!(matches!(error, WriteError::Unreachable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn calls_go_on_while_one_node_after_the_other_is_killed_and_returns() {
    let mut cluster = Cluster::start(3);
    let client = cluster.client(|_| {});
    for victim in [0, 1, 2, 0] {
        cluster.nodes[victim].kill();
        for _ in 0..5 {
            client.put("a", "b").await.unwrap();
            client.get("a").await.unwrap().unwrap();
        }
        cluster.nodes[victim].restart();
    }
    assert_eq!(cluster.shared.world().revision, 20);
}

#[tokio::test]
async fn writes_move_to_the_new_leader_once_its_term_is_seen() {
    let cluster = Cluster::start(3);
    let client = cluster.client(|_| {});
    for (leader, term) in [(1, 1), (3, 2), (2, 3)] {
        {
            let mut world = cluster.shared.world();
            (world.leader, world.term) = (leader, term);
        }
        until("writes go to the leader", async || {
            client.put("a", "b").await.unwrap();
            let arrived_at = cluster.shared.world().arrivals_of_last();
            // Its member id is learned by asking it once.
            let _ = client.get("a").await.unwrap();
            arrived_at == [leader]
        })
        .await;
    }
}

#[tokio::test]
async fn a_conflict_tells_what_was_found() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let first = client.put("a", "b").await.unwrap().revision;
    let expected = |expected| PutOptions {
        expected: Some(expected),
        ..PutOptions::default()
    };
    let error = client
        .put_with("a", "c", expected(Expected::Absent))
        .await
        .unwrap_err();
    match error {
        WriteError::Conflict { found, .. } => assert_eq!(found, Some(first)),
        other => panic!("{other}"),
    }
    let never = Expected::At(Revision::new(9).unwrap());
    let error = client
        .put_with("b", "c", expected(never))
        .await
        .unwrap_err();
    assert!(
        matches!(error, WriteError::Conflict { found: None, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_read_says_where_it_comes_from_and_how_old_it_is() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    assert_eq!(client.get("a").await.unwrap(), None);
    client.put("a", "b").await.unwrap();
    let started = Instant::now();
    let found = client.get("a").await.unwrap().unwrap();
    assert_eq!(found.value(), &"b".into());
    assert!(matches!(found.origin, Origin::Server(id) if id.0 == 1));
    assert!(found.age <= started.elapsed() && found.revision == 1);
}

#[tokio::test]
async fn a_long_range_is_paged_at_one_revision() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    for key in ["p/a", "p/b", "p/c", "p/d", "p/e", "q"] {
        cluster.shared.write(key, "v");
    }
    let page = client
        .range_all(KeyRange::prefix("p/"), RangeOptions::default())
        .await
        .unwrap();
    let keys: Vec<_> = page.entries.iter().map(|e| e.key.to_string()).collect();
    assert_eq!(keys, ["p/a", "p/b", "p/c", "p/d", "p/e"]);
    assert_eq!((page.revision, page.more), (6, false));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_it_is_sent() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let error = client.put("", "b").await.unwrap_err();
    assert!(matches!(error, WriteError::Invalid { .. }), "{error}");
    assert!(cluster.shared.world().arrivals.is_empty());
    let error = client.delete("a").await.unwrap_err();
    match error {
        WriteError::Refused { reason, .. } => {
            assert_eq!(reason, Reason::Other("unimplemented".to_owned()));
        }
        other => panic!("{other}"),
    }
}
