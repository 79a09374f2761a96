//! Backups that earlier versions wrote: they must open for ever.
//!
//! Each folder of `golden_backups` has the file, shares that open it, and the authority that vouches for
//! it. To add one for a new format: `cargo test -p holdfast-tests --test backup -- --ignored`, and commit
//! what it writes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use holdfast_tests::harness::{Cluster, ClusterOptions, program::kvctl, wait};

use super::{PATIENCE, asked, gathered, proven, put_secret, text};

const FILE: &str = "golden.backup";
const SHARES: &str = "shares.txt";
const AUTHORITY: &str = "ca.crt";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden_backups")
}

async fn of_one() -> Cluster {
    let options = ClusterOptions {
        nodes: 1,
        ..ClusterOptions::default()
    };
    Cluster::start_with(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes a new golden backup"]
async fn write_a_golden_backup() {
    let target = golden().join(env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(&target).unwrap();
    let cluster = of_one().await;
    let shares = proven(&cluster).await;
    let context = cluster.context_file();
    for value in ["first", "second"] {
        asked(&context, &["put", "app/mode", value]).await;
    }
    put_secret(&context, "app/password", "golden").await;
    let out = target.join(FILE);
    asked(&context, &["backup", "create", "--out", text(&out)]).await;
    gathered(&[&shares[0], &shares[2]], &target.join(SHARES));
    fs::copy(cluster.dir(0).join("tls/ca.crt"), target.join(AUTHORITY)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_earlier_versions_wrote_is_restored_with_its_history_and_its_secrets() {
    let mut cluster = of_one().await;
    let mut count = 0;
    for version in fs::read_dir(golden()).unwrap() {
        let version = version.unwrap().path();
        let file = |name| text(&version.join(name)).to_owned();
        let (from, shares, authority) = (file(FILE), file(SHARES), file(AUTHORITY));
        let arguments = ["--from", &from, "--shares-file", &shares];
        cluster.lose_everything().unwrap();
        let arguments = [&arguments[..], &["--authority", &authority]].concat();
        cluster.restore(&arguments).await.unwrap();
        let context = cluster.context_file();
        let history = asked(&context, &["history", "app/mode"]).await;
        let versions = history["versions"].as_array().unwrap();
        let values: Vec<_> = versions.iter().map(|one| &one["value"]).collect();
        assert_eq!(values, ["second", "first"], "{}", version.display());
        let opened = wait::until("the secret to open", PATIENCE, || async {
            let get = ["-o", "raw", "secret", "get", "app/password"];
            let ran = kvctl(&context, &get).await;
            (ran.code == Some(0)).then_some(ran.stdout)
        });
        assert_eq!(opened.await.unwrap(), "golden", "{}", version.display());
        count += 1;
    }
    assert!(count > 0, "there is no golden backup");
}
