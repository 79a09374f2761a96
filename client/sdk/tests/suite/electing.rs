//! Elections: one leader at a time, whose followers miss nobody while nodes come and go.

use std::time::{Duration, Instant};

use holdfast_client::{Client, Entry, LockError, LockOptions, WriteError};

use crate::{
    fake::{Cluster, Manner},
    until,
};

async fn campaign(client: Client, value: &'static str) -> holdfast_client::Leadership {
    let election = client.election("office");
    election
        .campaign(value, LockOptions::default())
        .await
        .unwrap()
}

fn shown(leader: Option<Entry>) -> Option<String> {
    leader.map(|entry| match entry.value.unwrap() {
        holdfast_client::Value::Text(text) => text,
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn offices_are_won_in_turn_with_rising_tokens_and_observers_see_each_leader() {
    let cluster = Cluster::start(3);
    let client = cluster.client(|_| {});
    let election = client.election("office");
    let mut observer = election.observe();
    assert_eq!(shown(observer.next().await.unwrap()), None);

    let first = campaign(client.clone(), "first").await;
    assert_eq!(shown(observer.next().await.unwrap()).unwrap(), "first");
    let second = tokio::spawn(campaign(client.clone(), "second"));
    until("two stand in line", async || {
        cluster.shared.world().line.len() == 2
    })
    .await;
    assert!(!second.is_finished());
    first.proclaim("first, at work").await.unwrap();
    let leader = observer.next().await.unwrap().unwrap();
    assert_eq!(leader.created, first.token());
    assert_eq!(shown(Some(leader)).unwrap(), "first, at work");

    let token = first.token();
    first.resign().await.unwrap();
    let second = second.await.unwrap();
    assert!(second.token() > token && second.is_held());
    until("the observer was told of the second", async || {
        shown(observer.next().await.unwrap()).as_deref() == Some("second")
    })
    .await;
    let leader = election.leader().await.unwrap().unwrap();
    assert_eq!(leader.created, second.token());
}

#[tokio::test]
async fn an_observer_goes_on_at_another_node_and_repeats_nothing() {
    let mut cluster = Cluster::start(2);
    let client = cluster.client(|_| {});
    let office = campaign(client.clone(), "0").await;
    let mut observer = client.election("office").observe();
    assert_eq!(shown(observer.next().await.unwrap()).unwrap(), "0");
    for (number, victim) in [0, 1, 0].into_iter().enumerate() {
        cluster.nodes[victim].kill();
        let value = (number + 1).to_string();
        office.proclaim(value.as_str()).await.unwrap();
        assert_eq!(shown(observer.next().await.unwrap()), Some(value));
        cluster.nodes[victim].restart();
    }
}

#[tokio::test]
async fn a_dropped_office_is_resigned_in_the_background() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    drop(campaign(client, "brief").await);
    until("the line is empty", async || {
        cluster.shared.world().line.is_empty()
    })
    .await;
}

#[tokio::test]
async fn who_gives_up_a_campaign_leaves_the_line() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let _held = campaign(client.clone(), "first").await;
    let waiting = tokio::spawn(campaign(client.clone(), "second"));
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
async fn an_office_that_was_lost_shows_nothing_more_and_says_so_when_resigned() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let office = campaign(client, "first").await;
    cluster.shared.world().line.clear();
    let late = office.proclaim("too late").await.unwrap_err();
    assert!(matches!(late, WriteError::Refused { .. }), "{late}");
    let error = office.resign().await.unwrap_err();
    assert!(matches!(error, LockError::Lost { .. }), "{error}");
}

#[tokio::test]
async fn an_office_is_lost_when_no_server_renews_its_lease() {
    let cluster = Cluster::start(2);
    cluster.shared.world().ttl_ms = 400;
    let client = cluster.client(|_| {});
    let office = campaign(client, "first").await;
    cluster.all(Manner::Silent);
    tokio::time::timeout(Duration::from_secs(5), office.lost())
        .await
        .expect("told in time");
    assert!(!office.is_held());
}

#[tokio::test]
async fn who_does_not_wait_is_told_at_once_that_somebody_leads() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let held = campaign(client.clone(), "first").await;
    let options = || LockOptions {
        wait: Some(Duration::ZERO),
        ..LockOptions::default()
    };
    let election = client.election("office");
    let started = Instant::now();
    let refused = election.campaign("second", options()).await;
    assert!(
        matches!(refused, Err(LockError::Held { .. })),
        "{refused:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(cluster.shared.world().line.len(), 1);
    held.resign().await.unwrap();
    election.campaign("second", options()).await.unwrap();
}
