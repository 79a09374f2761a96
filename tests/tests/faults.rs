//! Processes that die, stand still and come back, while clients work.

use holdfast_tests::{
    harness::ClusterOptions,
    history::{History, Outcome},
    load::LoadOptions,
    scenario::{self, Scene},
};

async fn run(act: impl AsyncFnMut(&mut Scene) -> anyhow::Result<()>) -> History {
    scenario::run(ClusterOptions::default(), LoadOptions::default(), act).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_comes_back() {
    run(async |scene| {
        let leader = scene.leader().await?;
        scene.kill_and_run(leader, 200).await
    })
    .await;
}

/// Its silence would be noticed after a minute or two: it is noticed by its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_before_its_lease_is_over() {
    let timing = "{ heartbeat_ms = 50, election_min_ms = 60000, election_max_ms = 120000 }";
    let options = ClusterOptions {
        settings: vec![("timing", timing.to_owned())],
        ..ClusterOptions::default()
    };
    scenario::run(options, LoadOptions::default(), async |scene| {
        let leader = scene.leader().await?;
        scene.kill_and_run(leader, 200).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_follower_is_not_missed_and_comes_back() {
    run(async |scene| {
        let follower = scene.follower().await?;
        scene.kill_and_run(follower, 200).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_lose_nothing() {
    run(async |scene| scene.kill_and_run_all(50).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_is_replaced_and_does_no_harm_when_it_wakes() {
    run(async |scene| {
        let leader = scene.leader().await?;
        scene.freeze_and_thaw(leader, 200).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_follower_is_not_missed_and_catches_up() {
    run(async |scene| {
        let follower = scene.follower().await?;
        scene.freeze_and_thaw(follower, 200).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_handed_over_again_and_again_loses_nothing() {
    run(async |scene| {
        for _ in 0..3 {
            let leader = scene.client.cluster().transfer_leader(None).await?;
            scene.fault(format!("leadership handed to {leader}"));
            scene.load.progress(50).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request() {
    let history = run(async |scene| {
        for node in 0..scene.cluster.len() {
            scene.fault(format!("restart of node {node}"));
            scene.cluster.stop(node)?;
            scene.load.progress(50).await?;
            scene.cluster.run(node)?;
            scene
                .cluster
                .wait_until_whole_but_busy(&scene.client)
                .await?;
        }
        Ok(())
    })
    .await;
    let failed: Vec<_> = history
        .operations()
        .into_iter()
        .filter(|operation| operation.call.is_of_the_keyspace())
        .filter(|operation| !matches!(operation.outcome, Outcome::Ok(_)))
        .collect();
    assert!(
        failed.is_empty(),
        "{} requests failed, first {:?}",
        failed.len(),
        failed[0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_die_in_turn_while_archives_are_written_come_back() {
    let settings = vec![("archive_after_bytes", (64 << 10).to_string())];
    let options = ClusterOptions {
        settings,
        ..ClusterOptions::default()
    };
    scenario::run(options, LoadOptions::default(), async |scene| {
        for node in 0..scene.cluster.len() {
            scene.fault(format!("SIGKILL of node {node}"));
            scene.cluster.kill(node);
            scene.load.progress(150).await?;
            scene.cluster.run(node)?;
            scene
                .cluster
                .wait_until_whole_but_busy(&scene.client)
                .await?;
        }
        Ok(())
    })
    .await;
}
