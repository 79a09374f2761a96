//! The faults of a cluster, while etcd's clients work: the same histories, the same checks.

use std::time::Duration;

use holdfast_tests::{
    harness::{ClusterOptions, Network},
    load::LoadOptions,
    scenario::{self, Scene},
};

async fn run(network: Network, act: impl AsyncFnMut(&mut Scene) -> anyhow::Result<()>) {
    let options = ClusterOptions {
        etcd: true,
        network,
        ..ClusterOptions::default()
    };
    // These clients do not give up by themselves on a node that stands still.
    let load = LoadOptions {
        request_timeout: Duration::from_secs(3),
        ..LoadOptions::default()
    };
    scenario::run(options, load, act).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_comes_back() {
    run(Network::Loopback, async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        scene.fault(format!("SIGKILL of the leader, node {leader}"));
        scene.cluster.kill(leader);
        scene.load.progress(200).await?;
        scene.cluster.run(leader)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_is_replaced_and_does_no_harm_when_it_wakes() {
    run(Network::Loopback, async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        scene.fault(format!("SIGSTOP of the leader, node {leader}"));
        scene.cluster.freeze(leader);
        scene.load.progress(200).await?;
        scene.fault("SIGCONT");
        scene.cluster.thaw(leader);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_from_its_followers_acknowledges_nothing_false() {
    run(Network::Fabric, async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        scene.fault(format!("the leader, node {leader}, cut off from its peers"));
        let others = (0..scene.cluster.len()).filter(|other| *other != leader);
        scene.cluster.fabric().part(leader, others);
        scene.load.progress(120).await?;
        scene.fault("healed");
        scene.cluster.fabric().heal();
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() {
    run(Network::Loopback, async |scene| {
        scene.fault("SIGKILL of all nodes");
        scene.cluster.kill_all();
        for node in 0..scene.cluster.len() {
            scene.cluster.run(node)?;
        }
        scene.load.progress(50).await
    })
    .await;
}
