//! The examples do what they say: each is run as its first line tells, against a real cluster.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{fs, path::PathBuf, process::Command, time::Duration};

use holdfast_client::{Client, LockOptions, Value};
use holdfast_tests::harness::{
    Cluster, ClusterOptions, Folder, Process, binaries, ports, program::run, wait,
};

const LIMIT: Duration = Duration::from_secs(60);

struct Bench {
    cluster: Cluster,
    client: Client,
}

impl Bench {
    async fn set_up() -> Self {
        let options = ClusterOptions {
            nodes: 1,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start_with(options).await.unwrap();
        let client = cluster.client().await.unwrap();
        Self { cluster, client }
    }

    fn example(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binaries::example(name));
        command
            .env("HOLDFAST_CONTEXT", self.cluster.context_file())
            .args(arguments);
        command
    }

    /// Starts an example that goes on until it is killed.
    fn start(&self, name: &str, arguments: &[&str]) -> Running {
        let output = self.cluster.folder().join(format!("{name}.log"));
        let process = Process::spawn(&mut self.example(name, arguments), &output).unwrap();
        Running {
            _process: process,
            output,
        }
    }

    /// Runs an example to its end; its output.
    async fn end_of(&self, name: &str) -> String {
        run(&mut self.example(name, &[]).into()).await.success()
    }
}

struct Running {
    _process: Process,
    output: PathBuf,
}

impl Running {
    async fn says(&self, line: &str) {
        let said = || fs::read_to_string(&self.output).unwrap();
        let heard = || said().lines().any(|one| one.starts_with(line));
        let heard = wait::until_true(format!("{line:?}"), LIMIT, heard).await;
        heard.unwrap_or_else(|error| panic!("{error}; it said: {}", said()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_takes_what_fits_and_starts_again_without_a_server() {
    let mut bench = Bench::set_up().await;
    bench.client.put("shop/greeting", "hello").await.unwrap();
    let seconds = Value::Integer(1);
    bench.client.put("shop/seconds", seconds).await.unwrap();
    let cache = bench.cluster.folder().join("cache");
    let cache = cache.to_str().unwrap();
    let running = bench.start("config", &[cache]);
    running.says("hello (revision 2, Cache)").await;
    bench.client.put("shop/greeting", "good day").await.unwrap();
    running.says("good day (revision 3, Cache)").await;
    let never = Value::Integer(0);
    bench.client.put("shop/seconds", never).await.unwrap();
    running
        .says("not taken: revision 4: it was not accepted")
        .await;
    drop(running);
    bench.cluster.kill_all();
    let again = bench.start("config", &[cache]);
    again.says("good day (revision 3, Disk)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_prefix_shows_what_is_there_and_then_what_comes() {
    let bench = Bench::set_up().await;
    bench.client.put("shop/a", "1").await.unwrap();
    bench.client.put("other", "1").await.unwrap();
    let last = bench.client.put("shop/b", "1").await.unwrap().revision;
    let running = bench.start("read_prefix", &["shop/"]);
    running.says(&format!("2 keys at revision {last}")).await;
    running.says("shop/a by client/admin").await;
    running.says("shop/b by client/admin").await;
    running.says("2 keys, ").await;
    bench.client.put("shop/c", "1").await.unwrap();
    running.says("3 keys, ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_prints_each_change() {
    let bench = Bench::set_up().await;
    bench.client.put("shop/a", "1").await.unwrap();
    let running = bench.start("watch", &["shop/"]);
    running.says("1 keys at revision 1").await;
    let put = bench.client.put("shop/b", "1").await.unwrap().revision;
    running.says(&format!("{put}: put shop/b")).await;
    let deleted = bench.client.delete("shop/a").await.unwrap().revision;
    let deleted = deleted.unwrap();
    running.says(&format!("{deleted}: deleted shop/a")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_is_held_by_one_of_two_at_a_time() {
    let bench = Bench::set_up().await;
    let (one, other) = tokio::join!(bench.end_of("lock"), bench.end_of("lock"));
    let token = |said: &str| -> u64 {
        let rest = said.strip_prefix("held, fencing token ").unwrap();
        let (token, rest) = rest.split_once('\n').unwrap();
        assert_eq!(rest, "done\n", "{said}");
        token.parse().unwrap()
    };
    assert_ne!(token(&one), token(&other));
    let at_once = LockOptions {
        wait: Some(Duration::ZERO),
        ..LockOptions::default()
    };
    let name = "examples/nightly-job";
    bench.client.lock(name, at_once).await.expect("given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compare_and_set_loses_no_count() {
    let bench = Bench::set_up().await;
    let said = bench.end_of("compare_and_set").await;
    let mut counted: Vec<_> = said.lines().collect();
    counted.sort_unstable();
    let all: Vec<_> = (1..=8).map(|number| format!("counted {number}")).collect();
    assert_eq!(counted, all);
    let found = bench.client.get("examples/counter").await.unwrap();
    assert_eq!(found.unwrap().value(), &8i64.into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embed_replica_needs_no_other_process_and_leaves_nothing() {
    let folder = Folder::new().unwrap();
    let [port] = ports::free();
    let mut command = Command::new(binaries::example("embed_replica"));
    command
        .arg(format!("127.0.0.1:{port}"))
        .env("TMPDIR", folder.path());
    let said = run(&mut command.into()).await.success();
    assert_eq!(said, "hello, written at revision 1\n");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
