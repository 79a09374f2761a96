//! The recovery key of a test's cluster: made and proven as an operator does it, because no secret is
//! taken before.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::harness::program::kvctl;

/// Lets the operator open secrets, which an administrator may not by being one.
pub async fn reveal(context: &Path) {
    kvctl(context, &["grant", "add", "admin", "revealer"])
        .await
        .success();
}

/// Makes three shares of which two are enough, shows that two work, and says where they are: in the
/// folder `out`, which must not exist yet. From then on the operator puts secrets, and opens them.
pub async fn prove(context: &Path, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let out = out.to_str().context("a folder that can be an argument")?;
    reveal(context).await;
    let init = ["--shares", "3", "--threshold", "2", "--out", out];
    kvctl(
        context,
        &[&["keyring", "init-recovery"][..], &init].concat(),
    )
    .await
    .success();
    let mut shares = Vec::new();
    for file in fs::read_dir(out)? {
        shares.push(file?.path());
    }
    shares.sort();
    let share = |number: usize| shares[number].to_str().context("a path of ours");
    let verify = [
        "keyring",
        "verify-recovery",
        "--share",
        share(0)?,
        share(2)?,
    ];
    kvctl(context, &verify).await.success();
    Ok(shares)
}
