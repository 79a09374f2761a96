//! The store broken on purpose, to see that the checks notice. Each break is one that real systems
//! have had; the suites are only worth something if they catch it.
//!
//! `cargo test -p holdfast-tests --features faults --test broken`
#![cfg(feature = "faults")]

use holdfast_tests::{
    harness::{ClusterOptions, Network},
    history::History,
    load::LoadOptions,
    scenario::{self, Scene},
};

/// Runs a fault against a cluster with a break until the checks notice, and says what they said.
async fn caught(
    what: &str,
    network: Network,
    mut act: impl AsyncFnMut(&mut Scene) -> anyhow::Result<()>,
) -> String {
    for _ in 0..ATTEMPTS {
        let environment = vec![("HOLDFAST_BREAK", what.to_owned())];
        let options = ClusterOptions {
            network,
            environment,
            ..ClusterOptions::default()
        };
        let outcome: anyhow::Result<History> =
            scenario::attempt(options, LoadOptions::default(), async |scene| {
                act(scene).await
            })
            .await;
        if let Err(error) = outcome {
            let said = format!("{error:?}");
            println!("{what}: {said}");
            if said.contains("promises broken") {
                return said;
            }
        }
    }
    panic!("nothing noticed {what} in {ATTEMPTS} attempts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledging_before_the_sync_is_caught_as_a_lost_write() {
    let said = caught("ack-before-sync", Network::Loopback, async |scene| {
        scene.fault("SIGKILL of all nodes");
        scene.cluster.kill_all();
        for node in 0..scene.cluster.len() {
            scene.cluster.run(node)?;
        }
        Ok(())
    })
    .await;
    assert!(said.contains("no acknowledged write lost"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_read_for_a_linearizable_one_is_caught_as_stale() {
    let said = caught("local-read", Network::Fabric, async |scene| {
        let leader = scene.cluster.leader(&scene.client).await?;
        scene.fault(format!("the leader, node {leader}, cut off from its peers"));
        let others = (0..scene.cluster.len()).filter(|other| *other != leader);
        scene.cluster.fabric().part(leader, others);
        scene.load.progress(200).await?;
        scene.cluster.fabric().heal();
        Ok(())
    })
    .await;
    assert!(said.contains("no stale read"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_that_is_applied_again_is_caught() {
    let said = caught("no-dedupe", Network::Fabric, async |scene| {
        for _ in 0..20 {
            scene.cluster.fabric().reset();
            scene.load.progress(20).await?;
        }
        Ok(())
    })
    .await;
    assert!(said.contains("applied at most once"), "{said}");
}

const ATTEMPTS: usize = 3;
