//! The tests that ship in the package of the `etcd-client` crate, against a plaintext `kvd dev`.
//!
//! `build.rs` takes them out of the package. Left out are those of users and roles, which have no counterpart
//! here; and the package itself ignores two of `RangeStream`, of etcd 3.7 alone, and one that wants a machine
//! `node4`.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use holdfast_tests::harness::{Folder, Process, Turn, binaries, cluster::succeed, wait};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tests_of_the_etcd_client_crate_pass() -> anyhow::Result<()> {
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
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

    let mut tests = Command::new(std::env::current_exe()?);
    tests.env("HOLDFAST_ETCD_ENDPOINT", etcd).args([
        "theirs::",
        "--ignored",
        "--test-threads",
        "1",
    ]);
    for name in LEFT_OUT {
        tests.args(["--skip", name]);
    }
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

#[allow(warnings, clippy::all, clippy::unwrap_used, reason = "another's code")]
mod theirs {
    include!(concat!(env!("OUT_DIR"), "/etcd_client_tests.rs"));
}

const LEFT_OUT: [&str; 5] = ["auth", "role", "user", "get_stream", "test_cluster"];
/// Of 0.21.1, without those that are left out.
const THEIR_TESTS: usize = 21;
