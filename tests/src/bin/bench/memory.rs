//! Resident memory of the nodes, and how soon they serve again.

use std::time::{Duration, Instant};

use holdfast_client::{Client, ClientOptions};
use holdfast_tests::harness::{Cluster, wait};

use crate::{
    fill,
    report::{Report, Target, megabytes},
};

/// Idle, then with 100,000 keys of 300 B; then restarts, if asked for.
pub(crate) async fn measure(report: &mut Report, restart: bool) -> anyhow::Result<()> {
    report.title("Resident memory of a node (the largest of the three)");
    let mut cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    // Idle is a state, not a moment: heartbeats and the client's looking around go on.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = resident(&mut cluster)?;
    report.add(
        "memory",
        "idle",
        megabytes(idle),
        "MB",
        Target::AtMost(40.0),
    );
    fill::fill(&client, 0..KEYS, 300).await?;
    cluster.wait_until_whole().await?;
    let full = resident(&mut cluster)?;
    report.add(
        "memory",
        "100,000 keys of 300 B",
        megabytes(full),
        "MB",
        Target::AtMost(250.0),
    );
    if restart {
        report.title("Restart with 100,000 keys of 300 B, until it serves");
        restarts(report, &mut cluster, &client).await?;
    }
    Ok(())
}

/// The most that any node keeps.
pub(crate) fn resident(cluster: &mut Cluster) -> anyhow::Result<u64> {
    let mut most = 0;
    for node in cluster.running() {
        most = most.max(cluster.process(node).resident_bytes()?);
    }
    Ok(most)
}

async fn restarts(
    report: &mut Report,
    cluster: &mut Cluster,
    client: &Client,
) -> anyhow::Result<()> {
    let limit = Target::AtMost(2.0);
    let node = cluster.follower(client).await?;
    cluster.stop(node)?;
    let seconds = serves_again(cluster, client, node).await?;
    report.add("restart", "a follower, stopped", seconds, "s", limit);
    cluster.kill(node);
    let seconds = serves_again(cluster, client, node).await?;
    report.add("restart", "a follower, killed", seconds, "s", limit);

    cluster.kill_all();
    let began = Instant::now();
    for node in 0..cluster.len() {
        cluster.run(node)?;
    }
    let options = ClientOptions {
        attempt_timeout: Duration::from_millis(500),
        ..ClientOptions::default()
    };
    let client = Client::lazy(&cluster.context()?, options)?;
    let found = client.get(fill::key(KEYS - 1).as_str()).await?;
    anyhow::ensure!(found.is_some(), "a key is gone");
    let seconds = began.elapsed().as_secs_f64();
    report.add(
        "restart",
        "all three, killed: first linearizable get",
        seconds,
        "s",
        limit,
    );
    client.put(fill::key(0).as_str(), fill::value(300)).await?;
    let seconds = began.elapsed().as_secs_f64();
    report.add(
        "restart",
        "all three, killed: first put",
        seconds,
        "s",
        limit,
    );
    Ok(())
}

/// Starts the node, and asks it until it answers with everything applied and the leader known.
async fn serves_again(cluster: &mut Cluster, client: &Client, node: usize) -> anyhow::Result<f64> {
    let revision = client.cluster().status().await?.revision;
    let began = Instant::now();
    cluster.run(node)?;
    let address = cluster.address(node).to_owned();
    wait::until("the node to serve", Duration::from_secs(60), || async {
        let status = client.cluster().status_local(&address).await.ok()?;
        (status.revision >= revision && status.leader.is_some()).then_some(())
    })
    .await?;
    Ok(began.elapsed().as_secs_f64())
}

const KEYS: u64 = 100_000;
