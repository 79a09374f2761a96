//! Backups that a cluster makes by itself, and those that somebody asks for.

use std::{fs, path::PathBuf};

use holdfast_tests::harness::{
    Cluster, ClusterOptions, http,
    program::{kvctl, kvd},
    wait,
};

use super::{PATIENCE, asked, text};

async fn cluster_that_makes_one_a_second() -> Cluster {
    let options = ClusterOptions {
        settings: vec![("backup", "{ every_seconds = 1, keep = 2 }".to_owned())],
        ..ClusterOptions::default()
    };
    Cluster::start_with(options).await.unwrap()
}

/// The files in a node's folder of backups, the newest first.
fn backups(cluster: &Cluster, node: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(cluster.dir(node).join("backups"));
    let entries = entries.into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "backup"));
    files.sort_unstable_by(|a, b| b.cmp(a));
    files
}

/// Waits until a node has made `more` that are not there yet.
async fn makes(cluster: &Cluster, node: usize, more: usize) {
    let mut seen = backups(cluster, node);
    let before = seen.len();
    wait::until("backups to be made", PATIENCE, || {
        for file in backups(cluster, node) {
            if !seen.contains(&file) {
                seen.push(file);
            }
        }
        std::future::ready((seen.len() >= before + more).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_makes_them_keeps_as_many_as_told_and_another_goes_on_after_it() {
    let mut cluster = cluster_that_makes_one_a_second().await;
    let (context, client) = (cluster.context_file(), cluster.client().await.unwrap());
    client.put("a", "1").await.unwrap();
    let leader = cluster.leader(&client).await.unwrap();
    let follower = cluster.follower(&client).await.unwrap();
    makes(&cluster, leader, 4).await;
    let few = || (backups(&cluster, leader).len() <= 2).then_some(());
    wait::until("old ones to go", PATIENCE, || std::future::ready(few()))
        .await
        .unwrap();
    assert!(
        backups(&cluster, follower).is_empty(),
        "a follower made one"
    );

    // One that was asked for stays, however many come after it.
    let name = cluster.name(leader).to_owned();
    let made = asked(&context, &["backup", "create", "--node", &name]).await;
    let asked_for = made["name"].as_str().unwrap();
    makes(&cluster, leader, 3).await;
    let listed = asked(&context, &["backup", "list"]).await;
    let listed = listed["backups"].as_array().unwrap();
    let it = listed.iter().find(|one| one["name"] == asked_for).unwrap();
    assert_eq!(it["scheduled"], false, "{it}");
    assert!(listed.iter().any(|one| one["scheduled"] == true));

    // Through a node that does not have it.
    let elsewhere = cluster.context_file_through(follower).unwrap();
    for check in ["verify", "drill"] {
        let found = asked(&elsewhere, &["backup", check, asked_for]).await;
        assert_eq!(found["state_hash"], made["state_hash"], "{found}");
        assert_eq!(found["keys"], 1, "{found}");
    }
    let left = fs::read_dir(cluster.dir(leader).join("backups")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
    let scratch = left.iter().filter(|path| path.is_dir()).count();
    assert_eq!(scratch, 0, "a drill left something: {left:?}");
    let copy = cluster.folder().join("copy.backup");
    let fetch = ["backup", "fetch", asked_for, "--out", text(&copy)];
    asked(&elsewhere, &fetch).await;
    kvctl(&elsewhere, &fetch).await.fails(1, &["exists"]);
    kvd(&["verify-backup", text(&copy)]).await.success();

    let path = cluster.dir(leader).join("backups").join(asked_for);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&path).unwrap());
    let mut changed = fs::read(&path).unwrap();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&path, changed).unwrap();
    kvctl(&elsewhere, &["backup", "verify", asked_for])
        .await
        .fails(1, &["something was changed after it was made"]);
    kvctl(&elsewhere, &["backup", "verify", "../../node.toml"])
        .await
        .fails(1, &["there is no backup"]);

    cluster.kill(leader);
    let next = cluster.leader(&client).await.unwrap();
    makes(&cluster, next, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_could_not_be_made_is_told_by_the_status_until_one_is() {
    let cluster = cluster_that_makes_one_a_second().await;
    let (context, client) = (cluster.context_file(), cluster.client().await.unwrap());
    client.put("a", "1").await.unwrap();
    let leader = cluster.leader(&client).await.unwrap();
    makes(&cluster, leader, 1).await;
    // Nothing can be written there.
    let folder = cluster.dir(leader).join("backups");
    let away = cluster.dir(leader).join("away");
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "no folder").unwrap();
    let elsewhere = cluster.follower(&client).await.unwrap();
    let elsewhere = cluster.context_file_through(elsewhere).unwrap();
    let problems = async || asked(&elsewhere, &["status"]).await["problems"].to_string();
    wait::until("the problem to be told", PATIENCE, || async {
        let told = problems().await;
        let is_told = told.contains("the backup that was due was not made");
        assert!(!told.contains(text(&folder)), "a path is told: {told}");
        is_told.then_some(())
    })
    .await
    .unwrap();
    kvctl(
        &context,
        &["backup", "create", "--node", cluster.name(leader)],
    )
    .await
    .fails(1, &["folder of backups"]);

    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    wait::until("the problem to go", PATIENCE, || async {
        let gone = !problems().await.contains("backup");
        gone.then_some(())
    })
    .await
    .unwrap();
    makes(&cluster, leader, 1).await;
    let status = asked(&context, &["status"]).await;
    let members = status["members"].as_array().unwrap();
    let name = cluster.name(leader);
    let member = members.iter().find(|one| one["name"] == name).unwrap();
    assert!(member["backup_at"].is_string(), "{member}");
    let metrics = http::page(cluster.http(leader), "/metrics").await.unwrap();
    for metric in [
        "holdfast_backup_newest_timestamp_seconds",
        "holdfast_backups_total{result=\"made\"}",
        "holdfast_backups_total{result=\"failed\"}",
    ] {
        let line = metrics.lines().find(|line| line.starts_with(metric));
        let line = line.unwrap_or_else(|| panic!("there is no {metric}: {metrics}"));
        assert!(!line.ends_with(" 0"), "{line}");
    }
}
