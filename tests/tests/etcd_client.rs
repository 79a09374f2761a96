//! The tests that ship in the package of the `etcd-client` crate, against a plaintext `kvd dev`.
//!
//! They are built from a copy of the package that the lock file names, so nothing of them is here.
//! That takes a minute or two, so only `HOLDFAST_ETCD_CLIENT_TESTS=1` does it (`.ci/run` sets it).
//! Left out are those of users and roles, which have no counterpart here; and the package itself
//! ignores two of `RangeStream`, of etcd 3.7 alone, and one that wants a machine `node4`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use holdfast_tests::harness::{Folder, Process, Turn, binaries, cluster::succeed, wait};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tests_of_the_etcd_client_crate_pass() -> anyhow::Result<()> {
    if std::env::var_os("HOLDFAST_ETCD_CLIENT_TESTS").is_none() {
        println!("skipped: HOLDFAST_ETCD_CLIENT_TESTS is not set");
        return Ok(());
    }
    let folder = Folder::new()?;
    let copy = folder.join("etcd-client");
    copy_of_the_package(&copy)?;
    // All but where they connect to, so that the build keeps nobody waiting.
    succeed(cargo_test(&copy).arg("--no-run"))?;

    let _turn = Turn::take()?;
    let dir = folder.join("dev");
    let mut command = Command::new(binaries::kvd());
    command.arg("dev").arg("--dir").arg(&dir);
    command.args(["--base-port", "0", "--etcd-plaintext"]);
    let mut dev = Process::spawn(&mut command, &folder.join("dev.log"))?;
    let up = || dir.join("dev.json").exists();
    wait::until_true("dev.json", Duration::from_secs(60), up).await?;
    let described: Value = serde_json::from_slice(&fs::read(dir.join("dev.json"))?)?;
    let etcd = described["nodes"][0]["etcd"]
        .as_str()
        .context("nodes[0].etcd")?;

    let testing = copy.join("tests/testing.rs");
    let source = fs::read_to_string(&testing)?;
    ensure!(
        source.contains(THEIR_ENDPOINT),
        "the package names its endpoint otherwise"
    );
    fs::write(
        &testing,
        source.replace(THEIR_ENDPOINT, &format!("{etcd:?}")),
    )?;

    let mut tests = cargo_test(&copy);
    tests.args(["--", "--skip", "auth", "--skip", "role", "--skip", "user"]);
    let said = succeed(&mut tests)?;
    for line in said.lines().filter(|line| line.starts_with("test ")) {
        println!("{line}");
    }
    let passed = said.lines().filter(|line| line.ends_with("... ok")).count();
    ensure!(passed >= THEIR_TESTS, "only {passed} tests ran:\n{said}");

    dev.signal(rustix::process::Signal::TERM);
    let ended = dev.wait(Duration::from_secs(30))?;
    ensure!(ended.success(), "kvd dev ended with {ended}");
    Ok(())
}

fn cargo_test(copy: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(copy)
        .env("PROTOC", workspace().join(".cargo/protoc"))
        .args(["test", "--test", "client", "--test", "namespace"])
        .arg("--target-dir")
        .arg(binaries::profile_folder().join("../etcd-client-tests"));
    command
}

/// With our lock file, so that it is built from what this machine has already.
fn copy_of_the_package(to: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["metadata", "--format-version", "1", "--locked"])
        .arg("--manifest-path")
        .arg(workspace().join("Cargo.toml"));
    let metadata: Value = serde_json::from_str(&succeed(&mut command)?)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let package = packages
        .iter()
        .find(|package| package["name"] == "etcd-client")
        .context("the lock file has etcd-client")?;
    let manifest = package["manifest_path"].as_str().context("its manifest")?;
    let from = Path::new(manifest).parent().context("its folder")?;
    succeed(Command::new("cp").arg("-r").arg(from).arg(to))?;
    fs::copy(workspace().join("Cargo.lock"), to.join("Cargo.lock"))?;
    let manifest = to.join("Cargo.toml");
    let alone = fs::read_to_string(&manifest)? + "\n[workspace]\n";
    Ok(fs::write(&manifest, alone)?)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const THEIR_ENDPOINT: &str = "\"localhost:2379\"";
/// Of 0.21.1, without those that are left out.
const THEIR_TESTS: usize = 21;
