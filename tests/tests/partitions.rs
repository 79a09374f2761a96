//! Networks that are cut, slow and lossy, while clients work. A fabric of proxies, so that they
//! run everywhere; `namespaces.rs` does the same to the kernel's own network.

use std::time::Duration;

use holdfast_tests::{
    harness::{
        ClusterOptions, Network,
        fabric::{End, Link},
    },
    load::LoadOptions,
    scenario::{self, Scene},
};

async fn run(act: impl AsyncFnMut(&mut Scene) -> anyhow::Result<()>) {
    let options = ClusterOptions {
        network: Network::Fabric,
        ..ClusterOptions::default()
    };
    scenario::run(options, LoadOptions::default(), act).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_from_its_followers_acknowledges_nothing_false() {
    run(async |scene| {
        let leader = scene.leader().await?;
        scene.cut_off_and_heal(leader, 120).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_cut_off_is_not_missed_and_disturbs_nobody_when_it_returns() {
    run(async |scene| {
        let follower = scene.follower().await?;
        scene.cut_off_and_heal(follower, 120).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_not_heard_is_replaced() {
    run(async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        scene.fault(format!("what the leader, node {leader}, sends is lost"));
        for other in scene.others(leader) {
            scene.cluster.fabric().cut(leader, other);
        }
        scene.load.progress(120).await?;
        scene.fault("healed");
        scene.cluster.fabric().heal();
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_does_not_hear_steps_aside() {
    run(async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        scene.fault(format!(
            "what is sent to the leader, node {leader}, is lost"
        ));
        for other in scene.others(leader) {
            scene.cluster.fabric().cut(other, leader);
        }
        scene.load.progress(120).await?;
        scene.fault("healed");
        scene.cluster.fabric().heal();
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broken_link_between_leader_and_follower_stops_nobody() {
    run(async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        let follower = scene.others(leader)[0];
        scene.fault(format!("no link between the nodes {leader} and {follower}"));
        scene.cluster.fabric().part(leader, [follower]);
        scene.load.progress(120).await?;
        scene.fault("healed");
        scene.cluster.fabric().heal();
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_all_apart_go_on_when_they_meet_again() {
    run(async |scene| {
        scene.fault("every node by itself");
        for node in 0..scene.cluster.len() {
            scene.cluster.fabric().part(node, scene.others(node));
        }
        // Nobody may acknowledge anything now; a call that cannot be served says so in time.
        let hasty = scene.cluster.client_waiting(Duration::from_secs(2)).await?;
        let put = hasty.put("apart", "?").await;
        anyhow::ensure!(put.is_err(), "acknowledged without a majority: {put:?}");
        let get = hasty.get("apart").await;
        anyhow::ensure!(get.is_err(), "read without a majority: {get:?}");
        scene.fault("healed");
        scene.cluster.fabric().heal();
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_and_lossy_network_breaks_no_promise() {
    run(async |scene| {
        scene.fault("5 ms each way, and 1 % lost");
        let delay = Duration::from_millis(5);
        let link = Link {
            delay,
            loss_per_mille: 10,
            ..Link::default()
        };
        let nodes = 0..scene.cluster.len();
        for (from, to) in nodes
            .clone()
            .flat_map(|from| nodes.clone().map(move |to| (from, to)))
        {
            scene
                .cluster
                .fabric()
                .set(End::Node(from), End::Node(to), link);
        }
        for node in nodes {
            scene
                .cluster
                .fabric()
                .set(End::Outside, End::Node(node), link);
            scene
                .cluster
                .fabric()
                .set(End::Node(node), End::Outside, link);
        }
        scene.load.progress(120).await?;
        scene.fault("healed");
        scene.cluster.fabric().heal();
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_again_and_again_break_no_promise() {
    run(async |scene| {
        for _ in 0..5 {
            scene.fault("every connection reset");
            scene.cluster.fabric().reset();
            scene.load.progress(40).await?;
        }
        Ok(())
    })
    .await;
}
