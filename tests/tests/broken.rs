//! The store broken on purpose, to see that the checks notice. Each break is one that real systems
//! have had; the suites are only worth something if they catch it.
//!
//! `cargo test --workspace --features holdfast-tests/faults --test broken`
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::time::Duration;

use holdfast_tests::{
    harness::{
        Cluster, ClusterOptions, Network,
        program::{kvctl, kvd},
        wait,
    },
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

/// A node applies one command differently from the others. It cannot see that by itself: its peers'
/// hashes tell it.
async fn differs(leads: bool) {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let odd = cluster.follower(&client).await.unwrap();
    let name = cluster.name(odd).to_owned();
    cluster.stop(odd).unwrap();
    cluster.afflict(odd, "HOLDFAST_BREAK", "misapply");
    cluster.run(odd).unwrap();
    cluster.wait_until_whole().await.unwrap();
    if leads {
        let id = cluster.id(&client, odd).await.unwrap();
        client.cluster().transfer_leader(Some(id)).await.unwrap();
    }
    client.put("misapply/key", "as agreed").await.unwrap();

    let healthy = (odd + 1) % cluster.len();
    let through_healthy = cluster.context_file_through(healthy).unwrap();
    let told = format!("{name}: this node's state differs");
    wait::until("the node to be called wrong", NOTICED, || async {
        let said = kvctl(&through_healthy, &["status"]).await;
        said.stdout.contains(&told).then_some(())
    })
    .await
    .unwrap();

    // It serves nothing, and says why and what to do; only its status goes on.
    let through_odd = cluster.context_file_through(odd).unwrap();
    for refused in [
        kvctl(&through_odd, &["get", "--local", "misapply/key"]).await,
        kvctl(&through_odd, &["put", "more", "1"]).await,
    ] {
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(refused.stderr.contains("state differs"), "{refused:?}");
        assert!(refused.stderr.contains("join it anew"), "{refused:?}");
    }
    let said = kvctl(&through_odd, &["status"]).await;
    assert!(said.stdout.contains("state differs"), "{said:?}");
    assert!(cluster.process(odd).exited().is_none(), "it ended");

    // The others go on, with what was agreed on.
    client.put("more", "2").await.unwrap();
    assert_ne!(cluster.leader(&client).await.unwrap(), odd);
    let raw = ["-o", "raw", "get", "misapply/key"];
    let kept = kvctl(&through_healthy, &raw).await.success();
    assert_eq!(kept, "as agreed");

    // And it does not come back with that state.
    cluster.stop(odd).unwrap();
    let dir = cluster.dir(odd).to_str().unwrap().to_owned();
    kvd(&["run", "--dir", &dir])
        .await
        .fails(1, &["fenced", "state differs", "join it anew"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_state_differs_fences_itself_and_says_so() {
    differs(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_state_differs_hands_over_and_says_so() {
    differs(true).await;
}

const ATTEMPTS: usize = 3;
/// Nodes compare every five seconds.
const NOTICED: Duration = Duration::from_secs(30);
