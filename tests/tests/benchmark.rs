//! The benchmark beside etcd, run as its user runs it, with the briefest of its subjects: its figures
//! mean nothing here.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use holdfast_tests::harness::{binaries, program};
use serde_json::{Value, json};
use tokio::process::Command;

/// What it wrote about the fan-out.
async fn fanout(folder: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
    let file = folder.join("figures.json");
    let mut command = side_by_side();
    command
        .args(["fanout", "--rounds", "1", "--json"])
        .arg(&file);
    program::run_for(command.args(arguments), PATIENCE)
        .await
        .success();
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

fn side_by_side() -> Command {
    Command::new(env!("CARGO_BIN_EXE_side_by_side"))
}

/// Its rows, each of which has figures of both sides.
fn rows(figures: &Value) -> &[Value] {
    let rows = figures["rows"].as_array().map_or(&[][..], Vec::as_slice);
    assert!(!rows.is_empty(), "{figures}");
    for row in rows {
        for side in ["etcd", "holdfast", "ratio"] {
            let figure = row[side].as_f64();
            assert!(figure.is_some_and(|figure| figure > 0.0), "{row}");
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_builds_of_kvd_are_compared_and_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let (other, started) = (folder.path().join("other"), folder.path().join("started"));
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nexec {} \"$@\"\n",
        started.display(),
        binaries::kvd().display()
    );
    fs::write(&other, script).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();

    let figures = fanout(folder.path(), &["--against", other.to_str().unwrap()])
        .await
        .unwrap();
    assert_eq!(figures["sides"], json!(["that kvd", "this kvd"]));
    for row in rows(&figures) {
        assert!(row["met"].is_null(), "{row}");
    }
    let started = fs::read_to_string(started).unwrap();
    let runs = started.lines().filter(|line| line.starts_with("run "));
    assert_eq!(runs.count(), 3, "its own three nodes: {started}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_do_nothing_take_the_place_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let figures = fanout(folder.path(), &["--ceiling"]).await.unwrap();
    assert_eq!(figures["sides"], json!(["etcd", "ceiling"]));
    rows(&figures);
}

#[tokio::test]
async fn what_cannot_be_measured_is_said_at_once() {
    let nowhere = ["--against", "/nowhere/kvd"];
    let ran = program::run(side_by_side().args(nowhere)).await;
    ran.fails(1, &["/nowhere/kvd", "give the file"]);
    let idle = ["failover", "--ceiling"];
    let ran = program::run(side_by_side().args(idle)).await;
    ran.fails(1, &["no failover", "do nothing"]);
}

/// Other tests may have their turn first.
const PATIENCE: Duration = Duration::from_secs(300);
