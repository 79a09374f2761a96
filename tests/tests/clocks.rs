//! A node whose wall clock is far off: the cluster's time goes on without it, and it says so.
//!
//! `cargo test --workspace --features holdfast-tests/faults --test clocks`
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::time::{Duration, SystemTime};

use holdfast_client::{Client, Context, HistoryOptions, Role};
use holdfast_tests::harness::{
    Cluster, ports,
    program::{kvctl, kvd},
    wait,
};

/// How many versions are kept of a key.
async fn versions(client: &Client, key: &str) -> usize {
    let history = client.history(key, HistoryOptions::default()).await;
    history.unwrap().versions.len()
}

/// History is kept for 30 days, and a join token lives for an hour: a leader that is months ahead
/// would end both at once, on every node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_is_months_ahead_ages_nothing_and_says_so() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    for number in 0..30_i64 {
        client.put("aged", number).await.unwrap();
    }
    let early = client
        .cluster()
        .create_token(Role::Learner, Duration::ZERO, None)
        .await
        .unwrap();

    let odd = cluster.follower(&client).await.unwrap();
    cluster.stop(odd).unwrap();
    cluster.afflict(odd, "HOLDFAST_CLOCK_AHEAD_S", AHEAD_S.to_string());
    cluster.run(odd).unwrap();
    cluster.wait_until_whole().await.unwrap();
    let id = cluster.id(&client, odd).await.unwrap();
    client.cluster().transfer_leader(Some(id)).await.unwrap();
    for number in 30..40_i64 {
        client.put("aged", number).await.unwrap();
    }
    assert_eq!(versions(&client, "aged").await, 40, "history was aged");
    let status = client.cluster().status().await.unwrap();
    assert_eq!(status.leader, Some(id), "it led all the time");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_ms = u64::try_from(now.unwrap().as_millis()).unwrap();
    let apart_ms = status.cluster_time.as_millis().abs_diff(now_ms);
    assert!(apart_ms < 60_000, "{apart_ms} ms off");

    // Everybody is told who it is and what to do.
    let told = format!("{}: its clock is 90 days ahead of", cluster.name(odd));
    let through = cluster.context_file_through((odd + 1) % 3).unwrap();
    let says = |told: String, wanted: bool| {
        let through = through.clone();
        wait::until(
            "kvctl status to say how the clocks are",
            NOTICED,
            move || {
                let (through, told) = (through.clone(), told.clone());
                async move {
                    let said = kvctl(&through, &["status"]).await.stdout;
                    (said.contains(&told) == wanted).then_some(said)
                }
            },
        )
    };
    let said = says(told.clone(), true).await.unwrap();
    assert!(said.contains("chrony"), "{said}");

    // A token made before is good, and so is one that the odd node makes.
    let context = Context::load(cluster.context_file_through(odd).unwrap()).unwrap();
    let at_odd = Client::connect(&context).await.unwrap();
    let late = at_odd
        .cluster()
        .create_token(Role::Learner, Duration::ZERO, None)
        .await
        .unwrap();
    for (name, token) in [("n8", &early.token), ("n9", &late.token)] {
        let [port] = ports::free();
        let (dir, listen) = (cluster.folder().join(name), format!("127.0.0.1:{port}"));
        let dir = dir.to_str().unwrap();
        let arguments = ["join", "--dir", dir, "--name", name, "--listen", &listen];
        kvd(&[&arguments[..], &["--token", token]].concat())
            .await
            .success();
    }

    // Set right, it decides again.
    cluster.stop(odd).unwrap();
    cluster.afflict(odd, "HOLDFAST_CLOCK_AHEAD_S", "0");
    cluster.run(odd).unwrap();
    says(told, false).await.unwrap();
}

const AHEAD_S: u64 = 90 * 24 * 60 * 60;
const NOTICED: Duration = Duration::from_secs(30);
