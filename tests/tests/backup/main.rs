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
    escrow,
    harness::{
        Cluster,
        program::{asked, kvctl_with_input},
    },
};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn put_secret(context: &Path, key: &str, secret: &str) {
    let arguments = ["secret", "put", key, "-"];
    let ran = kvctl_with_input(context, &arguments, secret.as_bytes());
    ran.await.success();
}

/// Makes a recovery key of 3 shares, any 2 of which are enough, and shows that they work.
async fn proven(cluster: &Cluster) -> Vec<PathBuf> {
    let out = cluster.folder().join("shares");
    escrow::prove(&cluster.context_file(), &out).await.unwrap()
}

/// Some of the shares in one file, as `--shares-file` takes them.
fn gathered(shares: &[&PathBuf], into: &Path) {
    let texts: Vec<_> = shares.iter().map(|file| fs::read(file).unwrap()).collect();
    fs::write(into, texts.concat()).unwrap();
}

/// Debug builds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
