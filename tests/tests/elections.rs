//! Elections among real processes that are killed: tokens strictly rise, there is one leader at a
//! time, and an observer is told of each.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use holdfast_client::{Client, Leadership, LockOptions, Revision, Value};
use holdfast_tests::harness::{Cluster, wait};
use tokio::{runtime::Runtime, sync::watch};

const OFFICE: &str = "offices/scheduler";
const LIMIT: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(3);

fn options() -> LockOptions {
    LockOptions {
        ttl: TTL,
        wait: Some(LIMIT),
    }
}

/// One who was told to lead: the token and the value that went with it.
type Told = (Revision, Value);

/// Writes down each leader that an observer is told of.
async fn observe(client: Client, told: watch::Sender<Vec<Told>>) {
    let mut observer = client.election(OFFICE).observe();
    loop {
        if let Some(leader) = observer.next().await.unwrap() {
            let leader = (leader.created, leader.value.unwrap());
            told.send_modify(|told| told.push(leader));
        }
    }
}

async fn is_told(told: &watch::Sender<Vec<Told>>, token: Revision, value: &str) {
    let mut told = told.subscribe();
    let seen = told.wait_for(|told| told.contains(&(token, value.into())));
    tokio::time::timeout(LIMIT, seen)
        .await
        .unwrap_or_else(|_| panic!("the observer was never told of {token}, {value}"))
        .unwrap();
}

/// What one candidate did in its terms of office.
struct Candidate {
    client: Client,
    name: String,
    in_office: Arc<AtomicUsize>,
    told: watch::Sender<Vec<Told>>,
}

impl Candidate {
    /// Runs and serves so many times; returns its tokens.
    async fn serve(self, terms: usize) -> Vec<Revision> {
        let mut tokens = Vec::new();
        for _ in 0..terms {
            let election = self.client.election(OFFICE);
            let office = election
                .campaign(self.name.as_str(), options())
                .await
                .unwrap();
            let others = self.in_office.fetch_add(1, Ordering::SeqCst);
            assert_eq!(others, 0, "{} leads beside another", self.name);
            let token = office.token();
            is_told(&self.told, token, &self.name).await;
            let busy = format!("{} at work", self.name);
            office.proclaim(busy.as_str()).await.unwrap();
            is_told(&self.told, token, &busy).await;
            assert!(office.is_held(), "{} lost its office", self.name);
            self.in_office.fetch_sub(1, Ordering::SeqCst);
            office.resign().await.unwrap();
            tokens.push(token);
        }
        tokens
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nodes_are_killed_one_leads_at_a_time_and_observers_are_told_of_each() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let told = watch::Sender::new(Vec::new());
    let observing = tokio::spawn(observe(client.clone(), told.clone()));

    let in_office = Arc::new(AtomicUsize::new(0));
    let mut serving = Vec::new();
    for number in 1..=3 {
        let candidate = Candidate {
            client: cluster.client().await.unwrap(),
            name: format!("candidate {number}"),
            in_office: Arc::clone(&in_office),
            told: told.clone(),
        };
        serving.push(tokio::spawn(candidate.serve(TERMS)));
    }
    // Whenever some have served, the node that leads the cluster is killed and comes back.
    for served in [4, 10, 16] {
        let mut seen = told.subscribe();
        let enough = seen.wait_for(|told| told.len() >= served);
        tokio::time::timeout(LIMIT, enough).await.unwrap().unwrap();
        let leader = cluster.leader(&client).await.unwrap();
        cluster.kill(leader);
        cluster.run(leader).unwrap();
    }
    let mut tokens = Vec::new();
    for candidate in serving {
        let own = candidate.await.unwrap();
        assert!(own.is_sorted(), "{own:?}");
        tokens.extend(own);
    }
    observing.abort();

    tokens.sort();
    let all = tokens.len();
    tokens.dedup();
    assert_eq!(
        (all, tokens.len()),
        (3 * TERMS, 3 * TERMS),
        "one token, one leader"
    );
    let seen: Vec<_> = told.borrow().iter().map(|(token, _)| *token).collect();
    assert!(seen.is_sorted(), "tokens rise as leaders follow: {seen:?}");
    let mut distinct = seen;
    distinct.dedup();
    assert_eq!(distinct, tokens, "told of each leader, and of nobody else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_office_outlives_the_node_that_gave_it_and_not_the_process_that_held_it() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let context = cluster.context().unwrap();

    // A process of its own as far as a client can tell: all its tasks end at once.
    let process = Runtime::new().unwrap();
    let doomed = process.spawn(async move {
        let client = Client::connect(&context).await.unwrap();
        client.election(OFFICE).campaign("doomed", options()).await
    });
    let doomed: Leadership = doomed.await.unwrap().unwrap();

    let leader = cluster.leader(&client).await.unwrap();
    cluster.kill(leader);
    let heir = client.clone();
    let heir = tokio::spawn(async move { heir.election(OFFICE).campaign("heir", options()).await });
    let renewed = doomed.lease().remaining();
    wait::until_true("a renewal at another node", LIMIT, || {
        doomed.lease().remaining() > renewed
    })
    .await
    .unwrap();
    doomed.proclaim("still here").await.unwrap();
    assert!(doomed.is_held() && !heir.is_finished());

    process.shutdown_background();
    let heir = tokio::time::timeout(LIMIT, heir).await.unwrap();
    let heir = heir.unwrap().unwrap();
    assert!(!doomed.is_held(), "it knew before the heir was told");
    assert!(heir.token() > doomed.token());
    let leader = client.election(OFFICE).leader().await.unwrap().unwrap();
    assert_eq!(leader.created, heir.token(), "the heir still leads");
    heir.resign().await.unwrap();
}

const TERMS: usize = 4;
