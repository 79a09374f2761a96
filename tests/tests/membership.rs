//! Nodes that come, go, fall behind and are replaced, while clients work.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::time::Duration;

use holdfast_client::{Client, Context, NodeId, Role};
use holdfast_tests::{
    harness::{Cluster, ClusterOptions, wait},
    load::LoadOptions,
    scenario::{self, Scene},
};

async fn id_of(scene: &Scene, name: &str) -> anyhow::Result<NodeId> {
    let members = scene.client.cluster().member_list().await?.members;
    let member = members.into_iter().find(|member| member.name == name);
    member
        .map(|member| member.id)
        .ok_or_else(|| anyhow::anyhow!("no member {name}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_under_load_and_the_leader_can_be_removed() {
    scenario::run(
        ClusterOptions::default(),
        LoadOptions::default(),
        async |scene| {
            scene.fault("a fourth node joins");
            let fourth = scene.cluster.grow().await?;
            scene.load.progress(100).await?;
            let name = scene.cluster.name(fourth).to_owned();
            let id = id_of(scene, &name).await?;
            scene.client.cluster().transfer_leader(Some(id)).await?;
            scene.load.progress(50).await?;
            scene.fault("the fourth node leads, and is removed");
            scene.client.cluster().remove(id).await?;
            scene.load.progress(100).await?;
            scene.cluster.forget_last();
            Ok(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_is_replaced_under_a_new_id() {
    scenario::run(
        ClusterOptions::default(),
        LoadOptions::default(),
        async |scene| {
            let last = scene.cluster.len() - 1;
            let name = scene.cluster.name(last).to_owned();
            let old = id_of(scene, &name).await?;
            scene.fault(format!("the disk of {name} is gone"));
            scene.cluster.kill(last);
            std::fs::remove_dir_all(scene.cluster.dir(last))?;
            scene.load.progress(100).await?;
            scene.client.cluster().remove(old).await?;
            scene.cluster.forget_last();
            let place = scene.cluster.grow().await?;
            let new = id_of(scene, &name).await?;
            anyhow::ensure!(new > old, "{name} came back as {new:?}, it was {old:?}");
            scene.fault(format!("{name} is back, at place {place}, as {new:?}"));
            Ok(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_far_behind_gets_an_archive_when_the_log_is_gone() {
    let settings = vec![("archive_after_bytes", (64 << 10).to_string())];
    let options = ClusterOptions {
        settings,
        ..ClusterOptions::default()
    };
    scenario::run(options, LoadOptions::default(), async |scene| {
        let follower = scene.cluster.follower(&scene.client).await?;
        let was = scene
            .client
            .cluster()
            .status_local(scene.cluster.address(follower))
            .await?;
        scene.fault(format!("node {follower} is away while the log is cut"));
        scene.cluster.kill(follower);
        let leader = scene.cluster.leader(&scene.client).await?;
        let (mut first, mut number) = (0, 0);
        while first <= was.log_last {
            // Large values, so that archives are due soon; new keys, so that no history is dropped.
            for _ in 0..8 {
                number += 1;
                let key = format!("ballast/{number}");
                scene
                    .client
                    .put(key.as_str(), "x".repeat(512 << 10))
                    .await?;
            }
            let address = scene.cluster.address(leader);
            first = scene
                .client
                .cluster()
                .status_local(address)
                .await?
                .log_first;
        }
        scene.cluster.run(follower)?;
        scene.cluster.wait_until_whole_but_busy(&scene.client).await
    })
    .await;
}

/// Only whoever votes holds the key that lets nodes in. A learner that is promoted is handed it by
/// a voter; after that it needs nobody to let the next node in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_learner_lets_nodes_in_when_all_others_are_gone() {
    let options = ClusterOptions {
        nodes: 1,
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    let learner = cluster.grow_by(Role::Learner).await.unwrap();
    let key = cluster.dir(learner).join("tls/ca.key");
    let through = cluster.context_file_through(learner).unwrap();
    assert!(!key.exists(), "a learner was trusted with the key");

    let id = cluster.id(&client, learner).await.unwrap();
    client.cluster().promote(id).await.unwrap();
    wait::until_true("the key to come", PATIENCE, || key.exists())
        .await
        .unwrap();
    client.cluster().transfer_leader(Some(id)).await.unwrap();
    let first = cluster.id(&client, 0).await.unwrap();
    client.cluster().remove(first).await.unwrap();
    cluster.kill(0);

    let alone = Client::connect(&Context::load(&through).unwrap())
        .await
        .unwrap();
    let members = alone.cluster().member_list().await.unwrap().members;
    assert_eq!(members.len(), 1, "{members:?}");
    let third = cluster.grow().await.unwrap();
    let members = alone.cluster().member_list().await.unwrap().members;
    let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, [cluster.name(learner), cluster.name(third)]);
    assert!(cluster.dir(third).join("tls/ca.key").exists());
}

const PATIENCE: Duration = Duration::from_secs(30);
