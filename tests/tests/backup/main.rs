//! Backups of real clusters, as an operator makes, checks and restores them.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod golden;
mod restored;
mod scheduled;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_tests::{
    escrow as revealing,
    harness::{
        Cluster,
        program::{kvctl, kvctl_with_input},
    },
};
use serde_json::Value;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `kvctl -o json …`, which must succeed.
async fn asked(context: &Path, arguments: &[&str]) -> Value {
    kvctl(context, &[&["-o", "json"], arguments].concat())
        .await
        .json()
}

async fn put_secret(context: &Path, key: &str, secret: &str) {
    let arguments = ["secret", "put", key, "-"];
    let ran = kvctl_with_input(context, &arguments, secret.as_bytes());
    ran.await.success();
}

/// Makes a recovery key of 3 shares, any 2 of which are enough, and shows that they work.
async fn escrow(cluster: &Cluster) -> Vec<PathBuf> {
    let (context, out) = (cluster.context_file(), cluster.folder().join("shares"));
    revealing::reveal(&context).await;
    let init = ["keyring", "init-recovery", "--shares", "3"];
    let init = [&init[..], &["--threshold", "2", "--out", text(&out)]].concat();
    let made = asked(&context, &init).await;
    let files = made["files"].as_array().unwrap().iter();
    let files: Vec<PathBuf> = files.map(|file| file.as_str().unwrap().into()).collect();
    let verify = ["keyring", "verify-recovery", "--share"];
    let verify = [&verify[..], &[text(&files[0]), text(&files[1])]].concat();
    kvctl(&context, &verify).await.success();
    files
}

/// Some of the shares in one file, as `--shares-file` takes them.
fn gathered(shares: &[&PathBuf], into: &Path) {
    let texts: Vec<_> = shares.iter().map(|file| fs::read(file).unwrap()).collect();
    fs::write(into, texts.concat()).unwrap();
}

/// Debug builds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
