//! Folders of nodes that earlier versions wrote: they must load for ever.
//!
//! Each `golden/VERSION` holds what a node of that version left on a clean stop (log and archive;
//! the past is rebuilt from them), and `expected.json`, what was in it. To add one for a new
//! format: `cargo test -p holdfast-tests --test golden -- --ignored`, and commit what it writes.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use holdfast_client::{
    Client, Context, HistoryOptions, KeyRange, PutOptions, RangeOptions, Revision, Value,
};
use holdfast_tests::harness::{
    Cluster, ClusterOptions, Folder, Process, Turn, binaries, cluster::succeed, ports, wait,
};
use serde::{Deserialize, Serialize};

/// What the golden node held.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Expected {
    /// The newest revision.
    revision: u64,
    /// Each key with its value's kind and canonical bytes in hex, and its revision.
    keys: BTreeMap<String, (String, String, u64)>,
    /// Every version of one key: revision, value and note, oldest first.
    history: Vec<(u64, String, String)>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

async fn look(client: &Client) -> Expected {
    let page = client
        .range_all(KeyRange::all(), RangeOptions::default())
        .await
        .unwrap();
    let keys = page.entries.iter().map(|entry| {
        let value = entry.value.as_ref().unwrap();
        let bytes = hex::encode(value.to_canonical());
        (
            entry.key.to_string(),
            (value.kind().to_string(), bytes, entry.modified.get()),
        )
    });
    let keys = keys.collect();
    let options = HistoryOptions {
        values: true,
        ..HistoryOptions::default()
    };
    let versions = client
        .history("history/key", options)
        .await
        .unwrap()
        .versions;
    let history = versions.iter().rev().map(|version| {
        let value = version
            .entry
            .value
            .as_ref()
            .map(Value::to_canonical)
            .unwrap_or_default();
        let value = String::from_utf8_lossy(&value).into_owned();
        (
            version.entry.modified.get(),
            value,
            version.entry.note.clone(),
        )
    });
    Expected {
        revision: page.revision,
        keys,
        history: history.collect(),
    }
}

/// What a user might have there: every kind of value, history, a lease, a deletion, a lock.
async fn furnish(client: &Client, from: u64) {
    let values: [Value; 7] = [
        "text, with ü".into(),
        Value::Integer(-42),
        Value::Float(0.1),
        Value::Boolean(true),
        Value::Json(r#"{"a": [1, null]}"#.into()),
        Value::Bytes(vec![0, 255, 7].into()),
        Value::List(vec!["one".into(), String::new()]),
    ];
    for (place, value) in values.into_iter().enumerate() {
        client
            .put(format!("{from}/value/{place}").as_str(), value)
            .await
            .unwrap();
    }
    client
        .put(format!("{from}/gone").as_str(), "soon")
        .await
        .unwrap();
    client
        .delete(format!("{from}/gone").as_str())
        .await
        .unwrap();
    for number in 0..25 {
        let note = format!("note {number}");
        let options = PutOptions {
            note,
            ..PutOptions::default()
        };
        client
            .put_with("history/key", format!("{from}.{number}"), options)
            .await
            .unwrap();
    }
    // Enough that an archive is due.
    for number in 0..120 {
        let key = format!("{from}/large/{}", number % 4);
        client.put(key.as_str(), "x".repeat(1_000)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes a new golden folder"]
async fn write_a_golden_folder() {
    let settings = vec![("archive_after_bytes", (64 << 10).to_string())];
    let options = ClusterOptions {
        nodes: 1,
        settings,
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    furnish(&client, 1).await;
    let archived = || async {
        let snapshot = client.cluster().status().await.ok()?.snapshot;
        client.put("tick", "tock").await.ok()?;
        (snapshot > 0).then_some(())
    };
    wait::until("an archive", Duration::from_secs(30), archived)
        .await
        .unwrap();
    furnish(&client, 2).await;
    let expected = look(&client).await;
    cluster.stop(0).unwrap();

    let target = golden().join(env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(&target).unwrap();
    let copy = |what: &str| {
        succeed(
            Command::new("cp")
                .arg("-a")
                .arg(cluster.dir(0).join(what))
                .arg(&target),
        )
        .unwrap();
    };
    copy("data");
    fs::remove_dir_all(target.join("data/past")).unwrap();
    fs::write(
        target.join("expected.json"),
        serde_json::to_vec_pretty(&expected).unwrap(),
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_earlier_versions_wrote_loads_with_every_value_and_its_history() {
    let _turn = Turn::take().unwrap();
    let mut count = 0;
    for version in fs::read_dir(golden()).unwrap() {
        let version = version.unwrap().path();
        loads(&version).await;
        count += 1;
    }
    assert!(count > 0, "there is no golden folder");
}

/// Runs the golden data under keys made today: certificates end, data does not.
async fn loads(version: &Path) {
    let folder = Folder::new().unwrap();
    let dir = folder.join("node");
    let [port] = ports::free();
    let listen = format!("127.0.0.1:{port}");
    let init = ["init", "--cluster", "test", "--listen", &listen, "--dir"];
    succeed(Command::new(binaries::kvd()).args(init).arg(&dir)).unwrap();

    // The mark that says whose data this is goes with today's keys.
    for what in ["log", "archive"] {
        let (from, to) = (version.join("data").join(what), dir.join("data"));
        succeed(Command::new("cp").arg("-a").arg(from).arg(to)).unwrap();
    }
    fs::copy(version.join("data/started"), dir.join("data/started")).unwrap();

    let log = folder.join("node.log");
    let mut command = Command::new(binaries::kvd());
    let _node = Process::spawn(command.arg("run").arg("--dir").arg(&dir), &log).unwrap();
    let context = Context::load(dir.join("context/admin.toml")).unwrap();
    let client = Client::connect(&context).await.unwrap();
    let rebuilt = || async {
        let options = HistoryOptions {
            values: true,
            ..HistoryOptions::default()
        };
        client.history("history/key", options).await.ok().map(drop)
    };
    wait::until("the past to be rebuilt", Duration::from_secs(30), rebuilt)
        .await
        .unwrap();
    let expected = fs::read(version.join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&expected).unwrap();
    assert_eq!(look(&client).await, expected, "{}", version.display());
    let written = client.put("new", "value").await.unwrap();
    assert_eq!(Some(written.revision), Revision::new(expected.revision + 1));
}
