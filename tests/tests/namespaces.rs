//! The kernel's own network, cut: each node in a network namespace. Needs root and iproute2; where
//! they are missing the tests say so and pass, and `partitions.rs` covers the same faults.

use holdfast_tests::{
    harness::{ClusterOptions, Network, netns::Namespaces},
    load::LoadOptions,
    scenario::{self, Scene},
};

async fn run(act: impl AsyncFnMut(&mut Scene) -> anyhow::Result<()>) {
    if let Some(why) = Namespaces::missing() {
        println!("skipped: {why}");
        return;
    }
    let options = ClusterOptions {
        network: Network::Namespaces,
        ..ClusterOptions::default()
    };
    scenario::run(options, LoadOptions::default(), act).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_packets_do_not_leave_is_replaced() {
    run(async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        scene.fault(format!("packets of the leader, node {leader}, are lost"));
        for other in (0..scene.cluster.len()).filter(|other| *other != leader) {
            scene.cluster.namespaces().cut(leader, other)?;
        }
        scene.load.progress(120).await?;
        scene.fault("healed");
        scene.cluster.namespaces().heal()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_whole_is_replaced() {
    run(async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        scene.fault(format!(
            "no packets between the leader, node {leader}, and its peers"
        ));
        for other in (0..scene.cluster.len()).filter(|other| *other != leader) {
            scene.cluster.namespaces().cut(leader, other)?;
            scene.cluster.namespaces().cut(other, leader)?;
        }
        scene.load.progress(120).await?;
        scene.fault("healed");
        scene.cluster.namespaces().heal()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_lost_at_random_break_no_promise() {
    run(async |scene| {
        if let Err(error) = scene.cluster.namespaces().spoil(5, 2) {
            println!("skipped: this kernel cannot lose packets by itself: {error}");
            return Ok(());
        }
        scene.fault("5 % of the packets lost, 2 ms late");
        scene.load.progress(120).await
    })
    .await;
}
