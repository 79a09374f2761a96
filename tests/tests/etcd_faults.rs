//! The faults of a cluster, while etcd's clients work: the same histories, the same checks.

use std::time::Duration;

use holdfast_tests::{
    harness::{Cluster, ClusterOptions, Network},
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
        let leader = scene.leader().await?;
        scene.kill_and_run(leader, 200).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_is_replaced_and_does_no_harm_when_it_wakes() {
    run(Network::Loopback, async |scene| {
        let leader = scene.leader().await?;
        scene.freeze_and_thaw(leader, 200).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_from_its_followers_acknowledges_nothing_false() {
    run(Network::Fabric, async |scene| {
        let leader = scene.leader().await?;
        scene.cut_off_and_heal(leader, 120).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() {
    run(Network::Loopback, async |scene| {
        scene.kill_and_run_all(50).await
    })
    .await;
}

/// Clients that want no answer without a leader (`hasleader`, the default of some) are not turned away
/// in the moment in which leadership is handed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_a_leader_is_not_turned_away_while_it_is_handed_over() {
    let options = ClusterOptions {
        etcd: true,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    let endpoints = cluster.etcd().unwrap();
    let options = endpoints.options().with_require_leader(true);
    let urls = &endpoints.urls;
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (urls, options) = (urls.clone(), options.clone());
            tokio::spawn(async move {
                let url = &urls[number % urls.len()];
                let mut etcd = etcd_client::Client::connect([url], Some(options)).await?;
                for round in 0..400 {
                    etcd.put(format!("led/{number}"), round.to_string(), None)
                        .await?;
                }
                Ok::<_, etcd_client::Error>(())
            })
        })
        .collect();
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        client.cluster().transfer_leader(None).await.unwrap();
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}
