//! A member whose disk may be in wrong hands is removed: the cluster's authority is rotated while
//! clients work, and what the old one signed counts for nothing afterwards.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use holdfast_client::{Client, ClientOptions, Context};
use holdfast_server::{identity::CertificateAuthority, operator::write_context};
use holdfast_tests::{
    harness::{
        Cluster, ClusterOptions,
        program::{Ran, kvctl},
        wait,
    },
    history::Event,
    load::LoadOptions,
    scenario,
};
use serde_json::Value as Json;

const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(2);

/// What whoever took a node's folder can do: a context in anybody's name, made with its key.
fn forge(cluster: &Cluster, thief: &Path, name: &str) -> PathBuf {
    let read = |file: &str| fs::read_to_string(thief.join("tls").join(file)).unwrap();
    let authority = CertificateAuthority::load(&read("ca.crt"), &read("ca.key")).unwrap();
    let endpoints = cluster.context().unwrap().endpoints;
    let folder = thief.join(format!("forged-{name}"));
    write_context(&folder, &authority, name, &endpoints, SystemTime::now()).unwrap()
}

/// The folder as it was when it was taken.
fn steal(cluster: &Cluster, node: usize) -> PathBuf {
    let to = cluster.folder().join("stolen");
    fs::create_dir_all(to.join("tls")).unwrap();
    for file in ["ca.crt", "ca.key", "node.crt", "node.key"] {
        fs::copy(
            cluster.dir(node).join("tls").join(file),
            to.join("tls").join(file),
        )
        .unwrap();
    }
    to
}

async fn remove(context: &Path, name: &str, more: &[&str]) -> Ran {
    let asked = [
        "-o",
        "json",
        "member",
        "remove",
        name,
        "--compromised",
        "--yes",
    ];
    kvctl(context, &[&asked[..], more].concat()).await
}

fn ids(json: &Json) -> Vec<u64> {
    let all = json.as_array().unwrap().iter();
    all.map(|id| id.as_u64().unwrap()).collect()
}

/// The subject of what signs for a node, as its folder has it.
fn authority_of(cluster: &Cluster, node: usize) -> String {
    fs::read_to_string(cluster.dir(node).join("tls/ca.crt")).unwrap()
}

async fn until_all_have(cluster: &Cluster, ca: &str) {
    wait::until_true("every folder to have the new authority", PATIENCE, || {
        let running = cluster.running().into_iter();
        running
            .map(|node| (node, cluster.dir(node)))
            .all(|(node, dir)| authority_of(cluster, node) == ca && !dir.join("tls/next").exists())
    })
    .await
    .unwrap();
}

/// Every node that runs refuses a context, and says why.
async fn refused_everywhere(cluster: &Cluster, context: &Path) {
    for node in cluster.running() {
        let mut context = Context::load(context).unwrap();
        // It trusts the nodes as they are now: it is they who refuse it.
        context.ca = authority_of(cluster, node).into_bytes();
        context.file = None;
        context.endpoints = vec![cluster.address(node).to_owned()];
        let client = Client::lazy(&context, ClientOptions::default()).unwrap();
        let said = client.get("k").await.unwrap_err().to_string();
        assert!(said.contains("is trusted no more"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_is_rotated_under_load_and_nothing_of_the_old_one_counts_any_more() {
    let options = ClusterOptions {
        nodes: 4,
        ..ClusterOptions::default()
    };
    let load = LoadOptions {
        lockers: 0,
        ..LoadOptions::default()
    };
    let history = scenario::run(options, load, async |scene| {
        let last = scene.cluster.len() - 1;
        let name = scene.cluster.name(last).to_owned();
        let context = scene.cluster.context_file();
        let stolen = steal(&scene.cluster, last);
        let old = authority_of(&scene.cluster, 0);
        let forged = forge(&scene.cluster, &stolen, "admin");
        let forger = Client::connect(&Context::load(&forged)?).await?;
        forger.get("k").await?;

        scene.fault(format!("{name} is removed as compromised"));
        let report: Json = remove(&context, &name, &[]).await.json();
        anyhow::ensure!(report["rotation"]["retired_at"].is_string(), "{report}");
        anyhow::ensure!(report["rotation"]["generation"] == 2, "{report}");
        anyhow::ensure!(ids(&report["rotation"]["taken"]) == [1, 2, 3], "{report}");
        scene.load.progress(200).await?;

        let new = fs::read_to_string(context.with_file_name("ca.crt"))?;
        anyhow::ensure!(new != old, "the context has the authority that it had");
        scene.cluster.kill(last);
        fs::remove_dir_all(scene.cluster.dir(last))?;
        scene.cluster.forget_last();
        until_all_have(&scene.cluster, &new).await;
        // Made with the stolen key, before and after: neither an open connection nor a new one.
        anyhow::ensure!(
            forger.with_timeout(SOON).get("k").await.is_err(),
            "it stayed in"
        );
        for name in ["admin", "somebody"] {
            let forged = forge(&scene.cluster, &stolen, name);
            refused_everywhere(&scene.cluster, &forged).await;
        }
        let again: Json = remove(&context, &name, &[]).await.json();
        anyhow::ensure!(
            again["rotation"]["retired_at"] == report["rotation"]["retired_at"],
            "{again}"
        );
        anyhow::ensure!(
            again["rotation"]["generation"] == 2,
            "asking twice rotates once"
        );
        // A node joins by the new authority, and all start again with their new papers.
        let joined = scene.cluster.grow().await?;
        // The client learns where it is.
        scene.cluster.id(&scene.client, joined).await?;
        scene.load.progress(100).await?;
        Ok(())
    })
    .await;
    for line in &history.lines {
        if let Event::Fail { why, .. } | Event::Unknown { why, .. } = &line.event {
            panic!("a request of process {} failed: {why}", line.process);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_is_let_in_by_its_key_and_takes_the_new_authority() {
    let options = ClusterOptions {
        nodes: 4,
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    let context = cluster.context_file();
    let first = cluster.id(&client, 0).await.unwrap();
    client.cluster().transfer_leader(Some(first)).await.unwrap();
    let (away, gone) = (2, 3);
    let away_id = cluster.id(&client, away).await.unwrap();
    let gone_name = cluster.name(gone).to_owned();
    cluster.kill(away);
    let report: Json = remove(&context, &gone_name, &[]).await.json();
    assert_eq!(ids(&report["rotation"]["away"]), [away_id.0], "{report}");
    assert!(report["rotation"]["retired_at"].is_string(), "{report}");
    cluster.kill(gone);
    cluster.forget_last();
    let new = fs::read_to_string(context.with_file_name("ca.crt")).unwrap();
    assert_ne!(authority_of(&cluster, away), new);
    cluster.run(away).unwrap();
    until_all_have(&cluster, &new).await;
    cluster.wait_until_whole().await.unwrap();
    // It votes, lets nodes in, and serves who knows the new authority alone.
    let client = cluster.client().await.unwrap();
    client
        .cluster()
        .transfer_leader(Some(away_id))
        .await
        .unwrap();
    client.put("k", "v").await.unwrap();
    let through = Context::load(cluster.context_file_through(away).unwrap()).unwrap();
    let through = Client::connect(&through).await.unwrap();
    through.put("k", "w").await.unwrap();
}

/// The leader dies as soon as it has made the next authority: whether the others have heard of that or
/// not, they end the rotation, and it takes what they took when it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_whose_leader_is_killed_with_the_new_key_is_ended_by_the_next() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let removed = cluster.grow().await.unwrap();
    let name = cluster.name(removed).to_owned();
    let first = cluster.id(&client, 0).await.unwrap();
    client.cluster().transfer_leader(Some(first)).await.unwrap();
    let through = cluster.context_file_through(1).unwrap();
    let asked = tokio::spawn({
        let (through, name) = (through.clone(), name.clone());
        async move { remove(&through, &name, &["--timeout", "90s"]).await }
    });
    let made = cluster.dir(0).join("tls/next/ca.key");
    while !made.exists() {
        assert!(!asked.is_finished(), "it ended without a key");
        tokio::task::yield_now().await;
    }
    cluster.kill(0);
    let report: Json = asked.await.unwrap().json();
    assert!(report["rotation"]["retired_at"].is_string(), "{report}");
    assert_eq!(ids(&report["rotation"]["away"]), [first.0], "{report}");
    let new = fs::read_to_string(through.with_file_name("ca.crt")).unwrap();
    cluster.kill(removed);
    cluster.forget_last();
    until_all_have(&cluster, &new).await;
    cluster.run(0).unwrap();
    until_all_have(&cluster, &new).await;
    cluster.wait_until_whole().await.unwrap();
}

/// Services with contexts of their own are not cut off unless that is said; until then the cluster
/// tells that both authorities are trusted, and certificates of the old one earn no new ones. A service
/// that was given its new files by then goes on without a failed request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_did_not_renew_are_named_and_cut_off_only_when_that_is_said() {
    let mut cluster = Cluster::start().await.unwrap();
    let context = cluster.context_file();
    let removed = cluster.grow().await.unwrap();
    let name = cluster.name(removed).to_owned();
    let stolen = steal(&cluster, removed);
    let grant = ["grant", "add", "billing", "operator", "admin"];
    kvctl(&context, &grant).await.success();
    let service = issue(&cluster, "before").await;
    let forged = forge(&cluster, &stolen, "billing");
    let endless = Arc::new(AtomicBool::new(true));
    let working = tokio::spawn({
        let mut service = Context::load(&service).unwrap();
        service.endpoints = cluster.context().unwrap().endpoints;
        let goes_on = endless.clone();
        async move {
            let serving = Client::connect(&service).await.unwrap();
            let mut done = 0;
            while goes_on.load(Relaxed) {
                serving.put("billing", "on").await.unwrap();
                done += 1;
            }
            done
        }
    });
    let seen_by = cluster.client().await.unwrap();
    wait::until("the service to work", PATIENCE, || async {
        seen_by.get("billing").await.unwrap()
    })
    .await
    .unwrap();
    let waits = remove(&context, &name, &[]).await;
    let report: Json = serde_json::from_str(&waits.stdout).unwrap();
    waits.clone().fails(1, &["still trusted", "1 client"]);
    assert_eq!(report["rotation"]["retired_at"], Json::Null);
    let seen = report["rotation"]["clients_to_renew"].as_array().unwrap();
    assert!(seen.contains(&"client/billing".into()), "{report}");
    let status = kvctl(&context, &["status"]).await.success();
    assert!(
        status.contains("the authority is being replaced"),
        "{status}"
    );
    let anybody = cluster.folder().join("anybody");
    for asked in [
        &["member", "token"][..],
        &["member", "remove", "n2", "--compromised", "--yes"],
        &[
            "identity",
            "issue",
            "anybody",
            "--out",
            anybody.to_str().unwrap(),
        ],
        &["grant", "add", "anybody", "admin"],
    ] {
        let refused = kvctl(&forged, asked).await;
        refused.fails(1, &["needs a certificate of the new authority"]);
    }
    let joins = kvctl(&context, &["member", "token"]).await;
    joins.fails(1, &["no node can join until that has ended"]);

    // Whoever leads ends it, and a node that starts again in between has both certificates.
    let leader = cluster.leader(&seen_by).await.unwrap();
    cluster.kill(leader);
    let started_again = (0..3).find(|node| *node != leader).unwrap();
    cluster.run(leader).unwrap();
    cluster.leader(&seen_by).await.unwrap();
    cluster.kill(started_again);
    cluster.run(started_again).unwrap();
    cluster.leader(&seen_by).await.unwrap();

    // The service is given its new files, and goes on.
    let renewed = issue(&cluster, "after").await;
    for file in ["billing.key", "billing.crt", "ca.crt"] {
        fs::rename(renewed.with_file_name(file), service.with_file_name(file)).unwrap();
    }
    let ended: Json = remove(&context, &name, &["--cut-off-clients"]).await.json();
    assert!(ended["rotation"]["retired_at"].is_string(), "{ended}");
    cluster.kill(removed);
    cluster.forget_last();
    let new = fs::read_to_string(context.with_file_name("ca.crt")).unwrap();
    until_all_have(&cluster, &new).await;
    let version = || async { seen_by.get("billing").await.unwrap().unwrap().entry.version };
    let before = version().await;
    wait::until("the service to go on", PATIENCE, || async {
        (version().await > before + 10).then_some(())
    })
    .await
    .unwrap();
    endless.store(false, Relaxed);
    assert!(working.await.unwrap() > 10);
    refused_everywhere(&cluster, &forged).await;
}

/// A context of the service, in a folder of this name.
async fn issue(cluster: &Cluster, folder: &str) -> PathBuf {
    let out = cluster.folder().join(folder);
    let asked = ["identity", "issue", "billing", "--out"];
    let arguments = [&asked[..], &[out.to_str().unwrap()]].concat();
    kvctl(&cluster.context_file(), &arguments).await.success();
    out.join("billing.toml")
}
