//! Secrets and the keyring as a user runs them, against real nodes.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_client::{MirrorOptions, MirrorReveal};
use holdfast_tests::{
    escrow,
    harness::{
        Cluster,
        program::{asked, kvctl, kvctl_with_input},
        wait,
    },
};
use serde_json::json;

/// `kvctl secret put KEY -`.
async fn put(context: &Path, key: &str, secret: &str) {
    kvctl_with_input(context, &["secret", "put", key, "-"], secret.as_bytes())
        .await
        .success();
}

async fn opened(context: &Path, key: &str) -> String {
    kvctl(context, &["secret", "get", key]).await.success()
}

/// Makes a recovery key of 3 shares, 2 of which are enough; returns their files.
async fn init_recovery(cluster: &Cluster) -> Vec<PathBuf> {
    escrow::reveal(&cluster.context_file()).await;
    let out = cluster.folder().join("shares");
    let made = asked(
        &cluster.context_file(),
        &[
            "keyring",
            "init-recovery",
            "--shares",
            "3",
            "--threshold",
            "2",
            "--out",
            out.to_str().unwrap(),
        ],
    )
    .await;
    let files = made["files"].as_array().unwrap().iter();
    files.map(|file| file.as_str().unwrap().into()).collect()
}

async fn verify_recovery(cluster: &Cluster, files: &[PathBuf]) {
    let files: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let arguments = [&["keyring", "verify-recovery", "--share"], &files[..]].concat();
    kvctl(&cluster.context_file(), &arguments).await.success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_taken_before_the_shares_were_shown_to_work() {
    let cluster = Cluster::of(1).await.unwrap();
    let context = cluster.context_file();
    let refused = kvctl_with_input(&context, &["secret", "put", "s/a", "-"], b"hunter2").await;
    assert!(!refused.stderr.contains("hunter2"), "{refused:?}");
    refused.fails(1, &["no_keyring"]);
    let shares = init_recovery(&cluster).await;
    kvctl_with_input(&context, &["secret", "put", "s/a", "-"], b"hunter2")
        .await
        .fails(1, &["no_keyring"]);
    let one = shares[0].to_str().unwrap();
    kvctl(&context, &["keyring", "verify-recovery", "--share", one])
        .await
        .fails(1, &["nothing was proven"]);
    assert_eq!(
        asked(&context, &["keyring", "status"]).await["accepts_secrets"],
        false
    );
    verify_recovery(&cluster, &shares[1..]).await;
    let status = asked(&context, &["keyring", "status"]).await;
    assert_eq!(status["accepts_secrets"], true, "{status}");
    assert_eq!(status["recovery"]["threshold"], 2);
    put(&context, "s/a", "hunter2").await;
    assert_eq!(opened(&context, "s/a").await, "hunter2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_put_opened_compared_listed_and_destroyed() {
    let cluster = Cluster::of(3).await.unwrap();
    let context = cluster.context_file();
    let shares = init_recovery(&cluster).await;
    verify_recovery(&cluster, &shares[..2]).await;

    put(&context, "s/a", "first").await;
    let first = asked(&context, &["secret", "list"]).await["entries"][0]["revision"].to_string();
    put(&context, "s/a", "second").await;
    kvctl_with_input(
        &context,
        &["secret", "put", "s/a", "-", "--if-revision", &first],
        b"third",
    )
    .await
    .fails(1, &["nothing was written"]);
    assert_eq!(opened(&context, "s/a").await, "second");
    let older = kvctl(&context, &["secret", "get", "s/a", "--revision", &first]).await;
    assert_eq!(older.success(), "first");
    kvctl(
        &context,
        &["secret", "generate", "s/b", "--alphabet", "hex"],
    )
    .await
    .success();
    assert_eq!(opened(&context, "s/b").await.len(), 32);

    let listed = asked(&context, &["secret", "list", "s/"]).await;
    assert_eq!(listed["count"], 2, "{listed}");
    assert_eq!(listed["entries"][0]["author"], "client/admin");
    let history = asked(&context, &["secret", "history", "s/a"]).await;
    assert_eq!(
        history["versions"].as_array().unwrap().len(),
        2,
        "{history}"
    );
    let plain = asked(&context, &["list", "s/"]).await;
    assert_eq!(plain["entries"][0]["type"], "secret");
    assert_eq!(plain["entries"][0]["value"], json!(null));
    kvctl(&context, &["get", "s/a"])
        .await
        .fails(1, &["kvctl secret get s/a"]);
    kvctl(&context, &["put", "s/a", "plain"])
        .await
        .fails(1, &["--replace-secret"]);

    kvctl(
        &context,
        &["secret", "destroy", "s/a", "--revision", &first, "--yes"],
    )
    .await
    .success();
    kvctl(&context, &["secret", "get", "s/a", "--revision", &first])
        .await
        .fails(1, &[]);
    assert_eq!(opened(&context, "s/a").await, "second");
    kvctl(&context, &["secret", "destroy", "s/a", "--yes"])
        .await
        .success();
    kvctl(&context, &["secret", "get", "s/a"])
        .await
        .fails(1, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_reaches_every_version_and_all_open_after_a_failover() {
    let mut cluster = Cluster::of(3).await.unwrap();
    let context = cluster.context_file();
    let shares = init_recovery(&cluster).await;
    verify_recovery(&cluster, &shares[..2]).await;
    for number in 0..20 {
        put(
            &context,
            &format!("s/{number}"),
            &format!("secret {number}"),
        )
        .await;
    }
    let rotate = ["keyring", "rotate", "--reason", "a drill", "--wait"];
    let rotated = asked(&context, &rotate).await;
    assert_eq!(
        (&rotated["complete"], &rotated["secrets"]),
        (&json!(true), &json!(20))
    );
    let status = asked(&context, &["keyring", "status"]).await;
    let counts: Vec<_> = status["epochs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|epoch| epoch["secrets"].as_u64().unwrap())
        .collect();
    assert_eq!(counts.last(), Some(&20), "{status}");
    assert_eq!(counts.iter().sum::<u64>(), 20, "{status}");
    let client = cluster.client().await.unwrap();
    let leader = cluster.leader(&client).await.unwrap();
    cluster.kill(leader);
    for number in 0..20 {
        let revealed = client
            .secrets()
            .reveal(format!("s/{number}").as_str())
            .await
            .unwrap();
        assert_eq!(revealed.secret.text().unwrap(), format!("secret {number}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_keeps_secrets_while_every_server_is_gone() {
    let mut cluster = Cluster::of(1).await.unwrap();
    let context = cluster.context_file();
    let shares = init_recovery(&cluster).await;
    verify_recovery(&cluster, &shares[..2]).await;
    put(&context, "s/a", "first").await;
    let client = cluster.client().await.unwrap();
    let options = MirrorOptions {
        reveal: Some(MirrorReveal {
            reason: "a test".to_owned(),
        }),
        ..MirrorOptions::default()
    };
    let mirror = client.mirror_with("s/", options).await.unwrap();
    let text = || {
        mirror
            .secret("s/a")
            .map(|kept| kept.secret().text().unwrap().to_owned())
    };
    assert_eq!(text().as_deref(), Some("first"));
    put(&context, "s/a", "second").await;
    wait::until_true("the new version", Duration::from_secs(10), || {
        text().as_deref() == Some("second")
    })
    .await
    .unwrap();
    cluster.kill_all();
    assert_eq!(text().as_deref(), Some("second"));
    for file in shares {
        fs::remove_file(file).unwrap();
    }
}
