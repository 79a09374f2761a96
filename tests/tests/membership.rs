//! Nodes that come, go, fall behind and are replaced, while clients work.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{path::Path, time::Duration};

use holdfast_client::{Client, Context, NodeId, Role};
use holdfast_tests::{
    escrow,
    harness::{
        Cluster, ClusterOptions,
        program::{kvctl, kvctl_with_input},
        wait,
    },
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

/// A removal that is asked for again is ended and told again, with what was known at the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_is_reported_and_asking_again_reports_the_same() {
    // Patient, so that the same node leads throughout on a busy machine: who never led while the
    // member was there has not heard it.
    let timing = "{ heartbeat_ms = 50, election_min_ms = 1000, election_max_ms = 3000 }";
    let options = ClusterOptions {
        settings: vec![("timing", timing.to_owned())],
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    let context = cluster.context_file();
    let last = cluster.len() - 1;
    let first_id = cluster.id(&client, 0).await.unwrap();
    client
        .cluster()
        .transfer_leader(Some(first_id))
        .await
        .unwrap();
    let name = cluster.name(last).to_owned();
    let id = cluster.id(&client, last).await.unwrap();
    client.put("a", "1").await.unwrap();
    all_hold_keys(&context, cluster.folder().path()).await;
    put_secret(&context, "db/password", "one").await;
    put_secret(&context, "db/other", "two").await;
    let own = holders(&context).await;
    assert!(own.contains(&id.0), "{name} holds the first epoch: {own:?}");
    cluster.kill(last);
    let arguments = ["-o", "json", "member", "remove", &name, "--yes"];
    let first: serde_json::Value = kvctl(&context, &arguments).await.json();
    assert_eq!(first["id"], id.0);
    assert_eq!(first["member"]["name"], *name);
    assert_eq!(first["held_authority"], true);
    for told in ["removed_at", "heard_at"] {
        assert!(first[told].is_string(), "{told} of {first}");
    }
    assert_eq!(
        (&first["newest_held"], &first["epoch"]),
        (&1.into(), &2.into())
    );
    let keys = |removal: &serde_json::Value| -> Vec<String> {
        let secrets = removal["secrets"].as_array().unwrap();
        let named = secrets
            .iter()
            .map(|one| one["key"].as_str().unwrap().to_owned());
        named.collect()
    };
    assert_eq!(keys(&first), ["db/other", "db/password"]);
    assert!(!holders(&context).await.contains(&id.0));
    // What came later it could not read; and another leader tells the same of what was before.
    put_secret(&context, "db/password", "three").await;
    put_secret(&context, "later", "four").await;
    client.cluster().transfer_leader(None).await.unwrap();
    let second: serde_json::Value = kvctl(&context, &arguments).await.json();
    assert_eq!(keys(&second), keys(&first));
    let changed = |place: usize| second["secrets"][place]["changed_since"].clone();
    assert_eq!((changed(0), changed(1)), (false.into(), true.into()));
    for told in ["removed_at", "heard_at", "revision", "newest_held", "epoch"] {
        assert_eq!(first[told], second[told], "{told}");
    }
    let text = second.to_string();
    assert!(!text.contains("three"), "a report holds no value");
    let said = kvctl(&context, &["member", "remove", &name])
        .await
        .success();
    assert!(
        said.contains("authority") && said.contains("heard last"),
        "{said}"
    );
    let unknown = kvctl(&context, &["member", "remove", "n9"]).await;
    unknown.fails(1, &["there is no member n9"]);
}

/// Asked through a follower; the leader dies as soon as the removal is recorded, before the epoch
/// without the member has begun. That it was before is shown by the epoch itself: it names who made
/// it. A kill that came too late shows nothing, so the next member is taken for another attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_whose_leader_is_killed_in_the_middle_is_ended_by_the_next() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let context = cluster.context_file();
    all_hold_keys(&context, cluster.folder().path()).await;
    put_secret(&context, "db/kept", "one").await;
    put_secret(&context, "db/shredded", "two").await;
    for attempt in 1..=ATTEMPTS {
        let removed = cluster.grow().await.unwrap();
        let (name, id) = (
            cluster.name(removed).to_owned(),
            cluster.id(&client, removed).await.unwrap(),
        );
        wait::until("the new node to hold the epoch", PATIENCE, || async {
            holders(&context).await.contains(&id.0).then_some(())
        })
        .await
        .unwrap();
        if attempt == 1 {
            let destroy = ["secret", "destroy", "db/shredded", "--yes"];
            kvctl(&context, &destroy).await.success();
        }
        let leader = lead_other_than(&cluster, &client, removed).await;
        let follower = (0..3).find(|node| *node != leader).unwrap();
        let through = cluster.context_file_through(follower).unwrap();
        let looking = Client::connect(&Context::load(&through).unwrap())
            .await
            .unwrap();
        let asked = tokio::spawn({
            let (through, name) = (through.clone(), name.clone());
            async move {
                let remove = ["-o", "json", "--timeout", "40s", "member", "remove", &name];
                kvctl(&through, &remove).await
            }
        });
        // What this node has applied, without asking anybody.
        wait::until("the removal to be recorded", PATIENCE, || async {
            let status = looking.cluster().status().await.ok()?;
            let mut members = status.members.iter();
            members.all(|one| one.member.id != id).then_some(())
        })
        .await
        .unwrap();
        let killed = cluster.name(leader).to_owned();
        cluster.kill(leader);

        let told: serde_json::Value = asked.await.unwrap().json();
        let again: serde_json::Value = kvctl(
            &through,
            &["-o", "json", "member", "remove", &name, "--yes"],
        )
        .await
        .json();
        for part in ["removed_at", "heard_at", "revision", "newest_held", "epoch"] {
            assert_eq!(told[part], again[part], "{part}");
        }
        let keys = |list: &serde_json::Value| -> Vec<String> {
            let named = list.as_array().unwrap().iter();
            named
                .map(|one| one["key"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(told["id"], id.0);
        assert_eq!(keys(&told["secrets"]), ["db/kept"]);
        assert_eq!(keys(&told["destroyed"]), ["db/shredded"]);
        let epoch = told["epoch"].as_u64().unwrap();
        assert!(epoch > told["newest_held"].as_u64().unwrap(), "{told}");
        let keyring = client.keyring().status().await.unwrap();
        let newest = keyring.epochs.last().unwrap();
        assert_eq!(newest.epoch, epoch, "one removal, one epoch");
        assert!(!newest.holders.contains(&id), "{newest:?}");
        let members = looking.cluster().member_list().await.unwrap().members;
        assert!(members.iter().all(|member| member.id != id), "{members:?}");
        let ended_by_another = newest.author != format!("node/{killed}");
        cluster.run(leader).unwrap();
        cluster.kill(removed);
        std::fs::remove_dir_all(cluster.dir(removed)).unwrap();
        cluster.forget_last();
        cluster.wait_until_whole().await.unwrap();
        if ended_by_another {
            return;
        }
    }
    panic!("{ATTEMPTS} leaders ended a removal before they were killed");
}

/// A leader among the first three that is not the one that is to go.
async fn lead_other_than(cluster: &Cluster, client: &Client, goes: usize) -> usize {
    let leader = cluster.leader(client).await.unwrap();
    if leader != goes {
        return leader;
    }
    let first = cluster.id(client, 0).await.unwrap();
    client.cluster().transfer_leader(Some(first)).await.unwrap();
    0
}

const ATTEMPTS: usize = 6;

/// Makes the recovery shares and shows that they work, so that secrets are taken.
async fn all_hold_keys(context: &Path, folder: &Path) {
    escrow::prove(context, &folder.join("shares"))
        .await
        .unwrap();
    // Each node tells its key by itself, and is given the epoch then.
    wait::until(
        "three nodes to hold it",
        Duration::from_secs(30),
        || async { (holders(context).await.len() == 3).then_some(()) },
    )
    .await
    .unwrap();
}

async fn put_secret(context: &Path, key: &str, value: &str) {
    kvctl_with_input(context, &["secret", "put", key, "-"], value.as_bytes())
        .await
        .success();
}

/// The members for whom the newest epoch is wrapped.
async fn holders(context: &Path) -> Vec<u64> {
    let status: serde_json::Value = kvctl(context, &["-o", "json", "keyring", "status"])
        .await
        .json();
    let holders = status["holders"].as_array().unwrap();
    let wrapped = holders.iter().filter(|holder| holder["wrapped"] == true);
    wrapped
        .map(|holder| holder["member"].as_u64().unwrap())
        .collect()
}
