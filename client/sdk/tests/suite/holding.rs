//! Leases and locks: whoever holds one knows when it is lost, not later than the store.

use std::time::{Duration, Instant};

use holdfast_client::{LockError, LockOptions};

use crate::{
    fake::{Cluster, Manner},
    until,
};

#[tokio::test]
async fn a_lease_is_renewed_well_before_it_ends() {
    let cluster = Cluster::start(1);
    cluster.shared.world().ttl_ms = 600;
    let client = cluster.client(|_| {});
    let lease = client.grant_lease(Duration::from_secs(1)).await.unwrap();
    assert_eq!(lease.ttl(), Duration::from_millis(600));
    let started = Instant::now();
    until("it was renewed often", async || {
        assert!(lease.is_alive(), "lost after {:?}", started.elapsed());
        cluster.shared.world().renewals >= 6
    })
    .await;
    assert!(started.elapsed() > lease.ttl());
}

#[tokio::test]
async fn a_lease_is_lost_when_its_time_passed_without_a_renewal() {
    let mut cluster = Cluster::start(2);
    cluster.shared.world().ttl_ms = 400;
    let client = cluster.client(|_| {});
    let asked = Instant::now();
    let lease = client.grant_lease(Duration::from_secs(1)).await.unwrap();
    cluster.nodes[0].kill();
    cluster.nodes[1].behave(Manner::Silent);
    lease.lost().await;
    let lived = asked.elapsed();
    assert!(!lease.is_alive());
    // A renewal may have been under way when the servers went.
    assert!(lived < Duration::from_millis(900), "lived {lived:?}");
    cluster.nodes[0].restart();
    lease.lost().await;
    assert!(!lease.is_alive(), "what is lost came back");
}

#[tokio::test]
async fn a_lease_that_the_store_forgot_is_lost_at_the_next_renewal() {
    let cluster = Cluster::start(1);
    cluster.shared.world().ttl_ms = 600;
    let client = cluster.client(|_| {});
    let lease = client.grant_lease(Duration::from_secs(1)).await.unwrap();
    cluster.shared.world().leases.clear();
    tokio::time::timeout(Duration::from_millis(550), lease.lost())
        .await
        .expect("told at the renewal, before the time to live passed");
}

#[tokio::test]
async fn locks_come_in_turn_with_rising_tokens() {
    let cluster = Cluster::start(3);
    let client = cluster.client(|_| {});
    let first = client.lock("door", LockOptions::default()).await.unwrap();
    assert!(first.is_held());
    let other = client.clone();
    let second = tokio::spawn(async move { other.lock("door", LockOptions::default()).await });
    until("two stand in line", async || {
        cluster.shared.world().line.len() == 2
    })
    .await;
    assert!(!second.is_finished());
    let token = first.token();
    first.release().await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert!(second.token() > token);
}

#[tokio::test]
async fn who_does_not_wait_is_told_that_it_is_held_and_leaves_the_line() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let _held = client.lock("door", LockOptions::default()).await.unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(100)] {
        let options = LockOptions {
            wait: Some(wait),
            ..LockOptions::default()
        };
        let quick = client.lock("door", options).await;
        assert!(quick.is_err(), "held twice");
        if wait.is_zero() {
            assert!(matches!(quick, Err(LockError::Held { .. })), "{quick:?}");
        }
    }
    until("only the holder stands in line", async || {
        cluster.shared.world().line.len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_dropped_guard_releases_in_the_background() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    drop(client.lock("door", LockOptions::default()).await.unwrap());
    until("the line is empty", async || {
        cluster.shared.world().line.is_empty()
    })
    .await;
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_the_line() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let _held = client.lock("door", LockOptions::default()).await.unwrap();
    let other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("door", LockOptions::default()).await });
    until("two stand in line", async || {
        cluster.shared.world().line.len() == 2
    })
    .await;
    waiting.abort();
    until("one stands in line", async || {
        cluster.shared.world().line.len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_hold_that_was_lost_says_so_when_released() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let guard = client.lock("door", LockOptions::default()).await.unwrap();
    cluster.shared.world().line.clear();
    let error = guard.release().await.unwrap_err();
    assert!(matches!(error, LockError::Lost { .. }), "{error}");
}
