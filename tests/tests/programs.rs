//! `kvd dev` and `kvd demo` as a newcomer runs them: they show what they promise, and leave
//! nothing behind, however they end.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use holdfast_tests::harness::{
    Folder, Process, Turn, binaries,
    process::is_running,
    program::{kvctl, run},
    wait,
};
use rustix::process::Signal;
use serde::Deserialize;

/// `dev.json`, as tests and tools rely on it.
#[derive(Debug, Deserialize)]
struct Dev {
    context: PathBuf,
    nodes: Vec<DevNode>,
}

#[derive(Debug, Deserialize)]
struct DevNode {
    name: String,
    pid: u32,
    listen: String,
    http: String,
    dir: PathBuf,
}

/// Starts `kvd dev` with its temporary files in `folder`, and waits until it serves.
async fn dev(folder: &Folder, arguments: &[&str]) -> (Process, Dev) {
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(binaries::kvd());
    command
        .arg("dev")
        .args(arguments)
        .env("TMPDIR", &temporary)
        .env("NO_COLOR", "1");
    let process = Process::spawn(&mut command, &folder.join("dev.log")).unwrap();
    let path = wait::until("dev.json", Duration::from_secs(60), || async {
        find(folder.path(), "dev.json")
    })
    .await
    .unwrap_or_else(|error| panic!("{error}: {}", said(folder)));
    let dev = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    (process, dev)
}

fn said(folder: &Folder) -> String {
    fs::read_to_string(folder.join("dev.log")).unwrap_or_default()
}

/// The first file of this name, two folders deep at most.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect()
    };
    let mut candidates = below(folder);
    for _ in 0..2 {
        let deeper: Vec<_> = candidates.iter().flat_map(|path| below(path)).collect();
        candidates.extend(deeper);
    }
    candidates
        .into_iter()
        .find(|path| path.file_name().is_some_and(|found| found == name))
}

async fn all_gone(pids: &[u32]) {
    let gone = || pids.iter().all(|pid| !is_running(*pid));
    wait::until_true("every node to end", Duration::from_secs(20), gone)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_serves_says_what_to_try_and_leaves_nothing_after_ctrl_c() {
    let _turn = Turn::take().unwrap();
    let folder = Folder::new().unwrap();
    let (mut process, dev) = dev(&folder, &["--base-port", "0"]).await;
    assert_eq!(dev.nodes.len(), 3);
    for node in &dev.nodes {
        assert!(is_running(node.pid), "{node:?}");
        assert!(node.dir.is_dir() && node.listen.contains(':') && node.http.contains(':'));
        assert!(node.name.starts_with('n'));
    }
    let shown = said(&folder);
    assert!(
        shown.matches("kvctl").count() >= 3,
        "three commands worth trying: {shown}"
    );

    kvctl(&dev.context, &["put", "greeting", "hello"])
        .await
        .success();
    let raw = kvctl(&dev.context, &["-o", "raw", "get", "greeting"])
        .await
        .success();
    assert_eq!(raw.trim_end(), "hello");

    process.signal(Signal::INT);
    let status = process.wait(Duration::from_secs(30)).unwrap();
    assert!(status.success(), "{status}: {}", said(&folder));
    all_gone(&dev.nodes.iter().map(|node| node.pid).collect::<Vec<_>>()).await;
    let left: Vec<_> = fs::read_dir(folder.join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_goes_on_where_it_was_in_a_folder_of_ones_own() {
    let _turn = Turn::take().unwrap();
    let folder = Folder::new().unwrap();
    let dir = folder.join("kept");
    let arguments = ["--dir", dir.to_str().unwrap(), "--base-port", "0"];
    let (mut process, first) = dev(&folder, &arguments).await;
    kvctl(&first.context, &["put", "kept", "yes"])
        .await
        .success();
    process.signal(Signal::INT);
    process.wait(Duration::from_secs(30)).unwrap();
    assert!(
        !dir.join("dev.json").exists(),
        "it says that a cluster serves, and none does"
    );

    let (mut process, second) = dev(&folder, &arguments).await;
    let raw = kvctl(&second.context, &["-o", "raw", "get", "kept"])
        .await
        .success();
    assert_eq!(raw.trim_end(), "yes");
    process.signal(Signal::TERM);
    process.wait(Duration::from_secs(30)).unwrap();
    all_gone(&second.nodes.iter().map(|node| node.pid).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_end_with_a_dev_that_was_killed() {
    let _turn = Turn::take().unwrap();
    let folder = Folder::new().unwrap();
    let (mut process, dev) = dev(&folder, &["--base-port", "0"]).await;
    let pids: Vec<_> = dev.nodes.iter().map(|node| node.pid).collect();
    assert!(pids.iter().all(|pid| is_running(*pid)));
    process.kill();
    all_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_keeps_its_promises_and_leaves_nothing() {
    let _turn = Turn::take().unwrap();
    let folder = Folder::new().unwrap();
    let mut command = tokio::process::Command::new(binaries::kvd());
    let ran = run(command.arg("demo").env("TMPDIR", folder.path())).await;
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    ran.success();
    for promise in ["reads failed", "gap", "leader", "lost", "hash"] {
        assert!(
            shown.to_lowercase().contains(promise),
            "nothing about {promise:?}: {shown}"
        );
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let marker = folder.path().to_str().unwrap().to_owned();
    let ours = move || !processes().any(|line| line.contains(&marker));
    wait::until_true("every process to end", Duration::from_secs(20), ours)
        .await
        .unwrap();
}

/// The command lines of all processes.
fn processes() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    })
}
