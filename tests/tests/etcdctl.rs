//! `etcdctl` as a user runs it, unchanged, over mutual TLS with the very files of our context.
//!
//! It is Debian's (package `etcd-client`); where it is absent the session is skipped and says so.
//! `HOLDFAST_ETCDCTL_PERF=1` adds `check perf`, which writes for a minute.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use holdfast_tests::harness::{
    Cluster, ClusterOptions, Process,
    process::is_running,
    program::{self, Ran, kvctl},
    wait,
};
use rustix::process::Signal;
use serde_json::Value;

/// Runs `etcdctl` with the papers of a cluster's operator.
struct Etcdctl {
    endpoints: String,
    papers: PathBuf,
    folder: PathBuf,
}

impl Etcdctl {
    /// None if there is no `etcdctl` here.
    fn new(cluster: &Cluster) -> Option<Self> {
        let version = Command::new("etcdctl").arg("version").output();
        if !version.is_ok_and(|output| output.status.success()) {
            println!("skipped: there is no etcdctl (Debian: apt-get install etcd-client)");
            return None;
        }
        let context = cluster.context_file();
        Some(Self {
            endpoints: cluster.etcd().unwrap().urls.join(","),
            papers: context.parent().unwrap().to_owned(),
            folder: cluster.folder().path().to_owned(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", &self.endpoints)
            .env("ETCDCTL_CACERT", self.papers.join("ca.crt"))
            .env("ETCDCTL_CERT", self.papers.join("admin.crt"))
            .env("ETCDCTL_KEY", self.papers.join("admin.key"))
            // A debug build on a busy machine.
            .args(["--dial-timeout", "20s", "--command-timeout", "20s"])
            .args(arguments);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        program::run(&mut self.command(arguments).into()).await
    }

    async fn says(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.success()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["-w", "json"]].concat())
            .await
            .json()
    }

    async fn with_input(&self, arguments: &[&str], input: &str) -> String {
        let file = self.folder.join("input");
        fs::write(&file, input).unwrap();
        let mut command = self.command(arguments);
        command.stdin(Stdio::from(fs::File::open(file).unwrap()));
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// One that goes on; its lines can be read.
    fn start(&self, arguments: &[&str]) -> (Process, impl Iterator<Item = String> + use<>) {
        let log = self.folder.join("etcdctl.log");
        let mut process = Process::spawn_piped(&mut self.command(arguments), &log).unwrap();
        let lines = BufReader::new(process.stdout().unwrap()).lines();
        (process, lines.map(Result::unwrap))
    }
}

async fn cluster() -> Cluster {
    let options = ClusterOptions {
        etcd: true,
        ..ClusterOptions::default()
    };
    Cluster::start_with(options).await.unwrap()
}

fn text(value: &Value) -> String {
    let bytes = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_etcdctl_goes_as_with_etcd() {
    let cluster = cluster().await;
    let Some(etcdctl) = Etcdctl::new(&cluster) else {
        return;
    };
    keys(&etcdctl).await;
    transactions(&etcdctl).await;
    watching(&etcdctl).await;
    leases(&etcdctl).await;
    locks_and_elections(&etcdctl).await;
    the_cluster(&etcdctl, cluster.len()).await;
    a_snapshot(&etcdctl).await;
    both_languages(&etcdctl, &cluster).await;
    compaction(&etcdctl).await;
    if std::env::var_os("HOLDFAST_ETCDCTL_PERF").is_some() {
        // How fast is this machine's affair; that it comes to an end is ours.
        let Ran { stdout, stderr, .. } = program::run_for(
            &mut etcdctl.command(&["check", "perf", "--load", "s"]).into(),
            Duration::from_secs(180),
        )
        .await;
        assert!(stdout.contains("Throughput"), "{stdout} {stderr}");
    }
}

async fn keys(etcdctl: &Etcdctl) {
    assert_eq!(etcdctl.says(&["put", "app/a", "one"]).await, "OK\n");
    let first = etcdctl.json(&["get", "app/a"]).await;
    let pair = &first["kvs"][0];
    assert_eq!(text(&pair["key"]), "app/a");
    assert_eq!(text(&pair["value"]), "one");
    assert_eq!(pair["version"], 1);
    assert_eq!(pair["create_revision"], pair["mod_revision"]);
    assert_eq!(first["header"]["revision"], pair["mod_revision"]);
    let old = pair["mod_revision"].to_string();

    let before = etcdctl.says(&["put", "--prev-kv", "app/a", "two"]).await;
    assert_eq!(before, "OK\napp/a\none\n");
    etcdctl.says(&["put", "app/b", "three"]).await;
    let listed = etcdctl.says(&["get", "--prefix", "app/"]).await;
    assert_eq!(listed, "app/a\ntwo\napp/b\nthree\n");
    let sorted = [
        "get",
        "--prefix",
        "app/",
        "--order",
        "DESCEND",
        "--keys-only",
        "--limit",
        "1",
    ];
    assert_eq!(etcdctl.says(&sorted).await.trim(), "app/b");
    let then = etcdctl
        .says(&["get", "app/a", "--rev", &old, "--print-value-only"])
        .await;
    assert_eq!(then, "one\n");
    let nobody = etcdctl.says(&["get", "app/none"]).await;
    assert_eq!(nobody, "");
    assert_eq!(etcdctl.says(&["del", "app/b"]).await, "1\n");
    assert_eq!(etcdctl.says(&["del", "app/b"]).await, "0\n");
    let future = etcdctl.run(&["get", "app/a", "--rev", "1000000"]).await;
    future.fails(1, &["required revision is a future revision"]);
}

async fn transactions(etcdctl: &Etcdctl) {
    let asked = "value(\"app/a\") = \"two\"\n\nput app/c yes\nget app/a\n\nput app/c no\n\n";
    let said = etcdctl.with_input(&["txn", "-i"], asked).await;
    assert!(said.contains("SUCCESS\n\nOK\n\napp/a\ntwo\n"), "{said}");
    let said = etcdctl
        .with_input(&["txn"], &asked.replace("= \"two\"", "= \"no\""))
        .await;
    assert!(said.contains("FAILURE\n\nOK\n"), "{said}");
    assert_eq!(
        etcdctl.says(&["get", "app/c", "--print-value-only"]).await,
        "no\n"
    );
}

async fn watching(etcdctl: &Etcdctl) {
    let start = etcdctl.json(&["get", "app/a"]).await["header"]["revision"]
        .as_i64()
        .unwrap()
        + 1;
    let start = start.to_string();
    let (mut watch, mut lines) =
        etcdctl.start(&["watch", "--prefix", "seen/", "--rev", &start, "--prev-kv"]);
    etcdctl.says(&["put", "seen/x", "1"]).await;
    etcdctl.says(&["put", "other", "1"]).await;
    etcdctl.says(&["del", "seen/x"]).await;
    let mut next = || lines.next().unwrap();
    let seen: Vec<String> = (0..8).map(|_| next()).collect();
    assert_eq!(
        seen,
        ["PUT", "seen/x", "1", "DELETE", "seen/x", "1", "seen/x", ""]
    );
    watch.kill();
}

async fn leases(etcdctl: &Etcdctl) {
    let granted = etcdctl.says(&["lease", "grant", "1000"]).await;
    let id = granted.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(1000s)\n"));
    etcdctl.says(&["put", "leased", "x", "--lease", &id]).await;
    let kept = etcdctl.says(&["lease", "keep-alive", "--once", &id]).await;
    assert_eq!(kept, format!("lease {id} keepalived with TTL(1000)\n"));
    let left = etcdctl.says(&["lease", "timetolive", "--keys", &id]).await;
    assert!(
        left.starts_with(&format!("lease {id} granted with TTL(1000s), remaining(")),
        "{left}"
    );
    assert!(left.contains("attached keys([leased])"), "{left}");
    assert!(etcdctl.says(&["lease", "list"]).await.contains(&id));
    let revoked = etcdctl.says(&["lease", "revoke", &id]).await;
    assert_eq!(revoked, format!("lease {id} revoked\n"));
    assert_eq!(etcdctl.says(&["get", "leased"]).await, "");
    let gone = etcdctl.says(&["lease", "timetolive", &id]).await;
    assert_eq!(gone, format!("lease {id} already expired\n"));
    let unknown = etcdctl.run(&["lease", "revoke", &id]).await;
    unknown.fails(1, &["requested lease not found"]);
}

async fn locks_and_elections(etcdctl: &Etcdctl) {
    let done = etcdctl.says(&["lock", "nightly", "echo", "held"]).await;
    assert_eq!(done, "held\n");

    let (mut first, mut lines) = etcdctl.start(&["lock", "nightly"]);
    let held = lines.next().unwrap();
    assert!(held.starts_with("nightly/"), "{held}");
    let (mut second, mut others) = etcdctl.start(&["lock", "nightly"]);
    // It stands in the line, behind the holder.
    let waits = || async {
        let line = etcdctl
            .says(&["get", "--prefix", "nightly/", "--keys-only"])
            .await;
        (line.split_whitespace().count() == 2).then_some(())
    };
    wait::until("the second to wait", LIMIT, waits)
        .await
        .unwrap();
    first.signal(Signal::INT);
    let next = others.next().unwrap();
    assert!(
        next.starts_with("nightly/") && next != held,
        "{next} after {held}"
    );
    second.signal(Signal::INT);
    assert!(first.wait(LIMIT).is_ok() && second.wait(LIMIT).is_ok());

    let (mut leader, mut lines) = etcdctl.start(&["elect", "chair", "ann"]);
    let (key, value) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(key.starts_with("chair/"), "{key}");
    assert_eq!(value, "ann");
    let (mut observer, mut seen) = etcdctl.start(&["elect", "--listen", "chair"]);
    assert_eq!(
        (seen.next().unwrap(), seen.next().unwrap()),
        (key, "ann".to_owned())
    );
    assert!(is_running(observer.pid()));
    observer.kill();
    leader.signal(Signal::INT);
    leader.wait(LIMIT).unwrap();
}

async fn the_cluster(etcdctl: &Etcdctl, nodes: usize) {
    let members = etcdctl.json(&["member", "list"]).await;
    let members = members["members"].as_array().unwrap();
    assert_eq!(members.len(), nodes);
    assert!(members.iter().all(|member| {
        let url = member["clientURLs"][0].as_str().unwrap();
        etcdctl.endpoints.contains(url)
    }));

    let statuses = etcdctl.json(&["endpoint", "status"]).await;
    let statuses = statuses.as_array().unwrap();
    assert_eq!(statuses.len(), nodes);
    let leads =
        |status: &&Value| status["Status"]["leader"] == status["Status"]["header"]["member_id"];
    assert_eq!(statuses.iter().filter(leads).count(), 1, "{statuses:?}");
    let of = |name: &str| -> Vec<&Value> {
        let values = statuses
            .iter()
            .map(|status| &status["Status"]["header"][name]);
        values.collect()
    };
    assert!(of("cluster_id").windows(2).all(|pair| pair[0] == pair[1]));
    assert!(of("member_id").windows(2).all(|pair| pair[0] != pair[1]));

    let health = etcdctl.run(&["endpoint", "health"]).await;
    let said = health.stdout.clone() + &health.stderr;
    health.success();
    assert_eq!(said.matches("is healthy").count(), nodes, "{said}");
    assert_eq!(etcdctl.says(&["alarm", "list"]).await, "");
    let users = etcdctl.run(&["user", "list"]).await;
    users.fails(1, &["the certificate says who calls"]);
}

/// etcdctl looks for etcd's checksum at the end, and keeps no file without one.
async fn a_snapshot(etcdctl: &Etcdctl) {
    let file = etcdctl.folder.join("snapshot");
    let endpoint = etcdctl.endpoints.split(',').next().unwrap();
    let path = file.to_str().unwrap();
    let mut save = etcdctl.command(&["snapshot", "save", path]);
    save.env("ETCDCTL_ENDPOINTS", endpoint);
    let saved = program::run(&mut save.into()).await;
    let said = saved.stdout.clone() + &saved.stderr;
    saved.success();
    assert!(said.contains("Snapshot saved"), "{said}");
    let archive = fs::read(file).unwrap();
    assert_eq!(archive.len() % 512, 32);
    assert!(
        archive.starts_with(b"HOLDARCH"),
        "our format, and none else"
    );
}

async fn both_languages(etcdctl: &Etcdctl, cluster: &Cluster) {
    let context = cluster.context_file();
    kvctl(&context, &["put", "svc/limit", "5", "--type", "integer"])
        .await
        .success();
    assert_eq!(etcdctl.says(&["get", "svc/limit"]).await, "svc/limit\n5\n");
    etcdctl.says(&["put", "svc/raw", "from etcd"]).await;
    let read = kvctl(&context, &["-o", "raw", "get", "svc/raw"])
        .await
        .success();
    assert_eq!(read, "from etcd");
}

async fn compaction(etcdctl: &Etcdctl) {
    let now = etcdctl.json(&["get", "app/a"]).await["header"]["revision"].to_string();
    let said = etcdctl.says(&["compaction", &now]).await;
    assert_eq!(said, format!("compacted revision {now}\n"));
    let old = etcdctl.run(&["get", "app/a", "--rev", "1"]).await;
    old.fails(1, &["required revision has been compacted"]);
    let again = etcdctl.run(&["compaction", &now]).await;
    again.fails(1, &["required revision has been compacted"]);
}

const LIMIT: Duration = Duration::from_secs(30);
