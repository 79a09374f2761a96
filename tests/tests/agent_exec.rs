//! `kvagent exec`: a command with what lies under prefixes in its environment, against a real cluster.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::PathBuf,
    time::Duration,
};

use holdfast_client::{Client, FleetEntry, Key, Operation, Standing, Transaction, Value};
use holdfast_tests::{
    escrow,
    harness::{
        Cluster, ClusterOptions, Process, binaries,
        process::is_running,
        program::{Ran, run},
        wait,
    },
};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(30);

/// Writes down what it is told, and ends when its parent does.
const SERVICE: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
mkdir running || echo "two at once" >> wrong
trap 'sleep 0.1; rmdir running; exit 42' TERM
for signal in INT HUP USR1 USR2 QUIT WINCH; do trap "echo $signal >> heard" $signal; done
(trap 'echo >> asked; exit' TERM; while kill -0 $PPID 2>/dev/null; do sleep 0.2; done) &
echo $! >> others
echo "$$ $greeting" >> started
while kill -0 $PPID 2>/dev/null; do sleep 0.02; done
"#;

/// Does not end when it is asked to.
const STUBBORN: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
trap '' TERM
echo "$$ $greeting" >> started
while kill -0 $PPID 2>/dev/null; do sleep 0.02; done
"#;

/// Ends at once, and leaves a worker that has something to do yet.
const DRAINING: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
(trap 'echo >> asked; sleep 1; echo >> drained; exit' TERM
 while kill -0 $PPID 2>/dev/null; do sleep 0.02; done) &
trap 'exit 42' TERM
echo "$$ $greeting" >> started
while kill -0 $PPID 2>/dev/null; do sleep 0.02; done
"#;

async fn one_node() -> (Cluster, Client) {
    let options = ClusterOptions {
        nodes: 1,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    (cluster, client)
}

/// Puts all of them in one revision.
async fn put(client: &Client, values: &[(&str, Value)]) -> u64 {
    let mut transaction = Transaction::new();
    for (key, value) in values {
        let key = Key::try_from(*key).unwrap();
        transaction = transaction.then(Operation::put(&key, value.clone()));
    }
    client.transact(transaction, "").await.unwrap().revision
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

async fn greet(client: &Client, greeting: &str) -> u64 {
    put(client, &[("app/greeting", text(greeting))]).await
}

/// Runs `kvagent exec` to its end.
async fn exec(cluster: &Cluster, options: &[&str], command: &[&str]) -> Ran {
    let mut agent = tokio::process::Command::new(binaries::kvagent());
    agent
        .env("name", "inherited")
        .env("other", "inherited")
        .arg("exec")
        .arg("--context")
        .arg(cluster.context_file())
        .args(options)
        .arg("--")
        .args(command);
    run(&mut agent).await
}

/// A service that runs under `kvagent exec --prefix app/`, in a folder of its own.
struct Service {
    folder: PathBuf,
    agent: Process,
}

impl Service {
    fn start(cluster: &Cluster, name: &str, script: &str, options: &[&str]) -> Self {
        let folder = cluster.folder().join(name);
        fs::create_dir(&folder).unwrap();
        let program = folder.join(name);
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = std::process::Command::new(binaries::kvagent());
        command
            .args(["exec", "--prefix", "app/", "--node", "n1", "--role", "web"])
            .arg("--context")
            .arg(cluster.context_file())
            .args(options)
            .arg("--")
            .arg(&program)
            .env_remove("HOLDFAST_LOG");
        let agent = Process::spawn(&mut command, &folder.join("log")).unwrap();
        Self { folder, agent }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// What it was greeted with, at each start.
    fn greetings(&self) -> Vec<String> {
        let started = self.read("started");
        let greeting = |line: &str| line.split_once(' ').unwrap().1.to_owned();
        started.lines().map(greeting).collect()
    }

    /// The number of its newest process.
    fn pid(&self) -> u32 {
        let started = self.read("started");
        let (pid, _) = started.lines().last().unwrap().split_once(' ').unwrap();
        pid.parse().unwrap()
    }

    async fn until_greeted(&self, greetings: &[&str]) {
        let what = format!("greetings {greetings:?}; {}", self.folder.display());
        until(&what, || self.greetings() == greetings).await;
    }

    fn signal(&mut self, signal: Signal) {
        self.agent.signal(signal);
    }

    /// As a shell tells it.
    fn code(&mut self) -> i32 {
        let status = self.agent.wait(LIMIT).unwrap();
        status
            .code()
            .unwrap_or_else(|| panic!("{status:?}, signal {:?}", status.signal()))
    }
}

async fn until(what: &str, is_so: impl FnMut() -> bool) {
    wait::until_true(what, LIMIT, is_so).await.unwrap();
}

/// What the fleet knows of an instance, once that is as it should be.
async fn listed(client: &Client, instance: &str, is: impl Fn(&FleetEntry) -> bool) -> FleetEntry {
    wait::until(format!("what {instance} reports"), LIMIT, || async {
        let fleet = client.fleet().list("app/").await.ok()?;
        let entry = fleet
            .entries
            .into_iter()
            .find(|entry| entry.instance == instance)?;
        is(&entry).then_some(entry)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_finds_what_counts_on_its_node_and_its_exit_code_comes_back() {
    let (cluster, client) = one_node().await;
    let values = [
        ("app/name", text("the app")),
        ("app/db/port", Value::Integer(5432)),
        ("app/limit", Value::Integer(1)),
        ("app/limit@role:web", Value::Integer(2)),
        ("app/limit@node:n1", Value::Integer(3)),
        ("app/only@node:n2", text("elsewhere")),
        ("app/shell", text("$(false) `x` \"y\"")),
        (
            "shared/tags",
            Value::List(vec!["a".to_owned(), "b".to_owned()]),
        ),
    ];
    put(&client, &values).await;
    let script = r#"printf '%s|' "$1" "$name" "$other" "$db__port" "$limit" "${only-none}" "$shell" "$tags"; exit 7"#;
    let command = ["sh", "-c", script, "sh", "$(no shell) ; *"];
    let prefixes = ["--prefix", "app/", "--prefix", "shared/"];
    let ran = exec(
        &cluster,
        &[&prefixes[..], &["--node", "n1", "--role", "web"]].concat(),
        &command,
    )
    .await;
    assert_eq!(ran.code, Some(7), "{ran:?}");
    let expected = "$(no shell) ; *|the app|inherited|5432|3|none|$(false) `x` \"y\"|a\nb|";
    assert_eq!(ran.stdout, expected);
    let elsewhere = exec(
        &cluster,
        &[&prefixes[..], &["--node", "n2", "--role", "web"]].concat(),
        &command,
    )
    .await;
    let expected = "$(no shell) ; *|the app|inherited|5432|2|elsewhere|$(false) `x` \"y\"|a\nb|";
    assert_eq!(elsewhere.stdout, expected);

    let killed = exec(&cluster, &prefixes, &["sh", "-c", "kill -9 $$"]).await;
    assert_eq!(killed.code, Some(128 + 9));
    let unknown = exec(&cluster, &prefixes, &["no-such-program"]).await;
    unknown.fails(127, &["no-such-program", "could not be started"]);
    let no_program = cluster.context_file();
    let no_program = exec(&cluster, &prefixes, &[no_program.to_str().unwrap()]).await;
    no_program.fails(126, &["could not be started"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_an_environment_starts_nothing() {
    let (mut cluster, client) = one_node().await;
    let shares = cluster.folder().join("shares");
    escrow::prove(&cluster.context_file(), &shares)
        .await
        .unwrap();
    let mark = cluster.folder().join("started");
    let touch = ["touch", mark.to_str().unwrap()];
    let empty = exec(&cluster, &["--prefix", "app/"], &touch).await;
    empty.fails(1, &["not started", "there is no key under app/"]);

    put(
        &client,
        &[
            ("app/name", text("the app")),
            ("clash/a/b", text("1")),
            ("clash/a__b", text("2")),
        ],
    )
    .await;
    let half = exec(&cluster, &["--prefix", "app/", "--prefix", "none/"], &touch).await;
    half.fails(1, &["there is no key under none/"]);
    // A key that counts elsewhere only is none here.
    put(&client, &[("far/name@node:n9", text("far"))]).await;
    let far = exec(&cluster, &["--prefix", "far/"], &touch).await;
    far.fails(1, &["there is no key under far/"]);
    let clash = exec(&cluster, &["--prefix", "clash/"], &touch).await;
    clash.fails(1, &["clash/a/b", "clash/a__b", "rename"]);
    let within = exec(
        &cluster,
        &["--prefix", "app/", "--prefix", "app/db/"],
        &touch,
    )
    .await;
    within.fails(2, &["app/db/", "lies within"]);
    let node = exec(&cluster, &["--prefix", "app/", "--node", "a@b"], &touch).await;
    node.fails(2, &["--node"]);

    wait::until("a secret to be taken", LIMIT, || async {
        let secrets = client.secrets();
        secrets
            .put("app/password", "hunter2-of-the-app".to_owned())
            .await
            .ok()
    })
    .await
    .unwrap();
    let closed = exec(&cluster, &["--prefix", "app/"], &touch).await;
    assert!(!closed.stderr.contains("hunter2"));
    closed.fails(1, &["app/password is a secret", "--reveal", "not started"]);
    assert!(!mark.exists(), "a command was started all the same");
    let print = ["sh", "-c", "printf %s \"$password\""];
    let open = exec(&cluster, &["--prefix", "app/", "--reveal"], &print).await;
    assert!(
        open.stderr.is_empty() || !open.stderr.contains("hunter2"),
        "{open:?}"
    );
    assert_eq!(open.success(), "hunter2-of-the-app");

    cluster.kill_all();
    let alone = exec(&cluster, &["--prefix", "app/"], &touch).await;
    alone.fails(4, &["not started", "no server"]);
    assert!(!mark.exists(), "a command was started all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_reach_the_command_and_its_end_comes_back() {
    let (cluster, client) = one_node().await;
    greet(&client, "hello").await;
    let mut service = Service::start(&cluster, "service", SERVICE, &[]);
    service.until_greeted(&["hello"]).await;
    let passed = [
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
    ];
    let mut told = String::new();
    for (signal, name) in passed {
        service.signal(signal);
        told += &format!("{name}\n");
        until(name, || service.read("heard") == told).await;
    }
    service.signal(Signal::TERM);
    assert_eq!(service.code(), 42);
    let other = service.read("others").trim().parse().unwrap();
    assert!(
        !is_running(service.pid()) && !is_running(other),
        "something runs on"
    );

    // One that will not end is killed, and so is all that it started.
    let mut service = Service::start(&cluster, "stubborn", STUBBORN, &["--grace", "200ms"]);
    service.until_greeted(&["hello"]).await;
    service.signal(Signal::TERM);
    assert_eq!(service.code(), 128 + 9);
    assert!(!is_running(service.pid()));

    // What is ignored by whoever started the agent is not for the command either.
    let script = format!(
        "trap '' HUP; exec {} exec --prefix app/ --context {} -- grep SigIgn /proc/self/status",
        binaries::kvagent().display(),
        cluster.context_file().display()
    );
    let ran = run(tokio::process::Command::new("sh").args(["-c", &script])).await;
    let mask = ran.success();
    let mask = mask.trim().rsplit('\t').next().unwrap();
    assert_eq!(u64::from_str_radix(mask, 16).unwrap() & 1, 1, "{mask}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_starts_it_anew_and_one_that_makes_no_difference_does_not() {
    let (mut cluster, client) = one_node().await;
    let first = greet(&client, "hello").await;
    let options = ["--on-change", "restart", "--settle", "50ms"];
    let mut service = Service::start(&cluster, "service", SERVICE, &options);
    service.until_greeted(&["hello"]).await;
    let before = service.pid();
    let other: u32 = service.read("others").trim().parse().unwrap();
    let applied = |revision| {
        move |entry: &FleetEntry| {
            entry.standing() == Standing::Applied && entry.report.revision >= revision
        }
    };
    let entry = listed(&client, "n1/service", applied(first)).await;
    assert_eq!(entry.report.roles, ["web"]);

    // The same again, and what counts elsewhere.
    greet(&client, "hello").await;
    let equal = put(&client, &[("app/greeting@node:n2", text("far"))]).await;
    listed(&client, "n1/service", applied(equal)).await;
    assert_eq!(service.pid(), before);
    let second = greet(&client, "hi").await;
    service.until_greeted(&["hello", "hi"]).await;
    assert!(
        !is_running(before) && !is_running(other),
        "what it started runs on"
    );
    assert_eq!(
        service.read("asked"),
        "\n",
        "it was killed before it was asked"
    );
    assert_eq!(service.read("wrong"), "");
    listed(&client, "n1/service", applied(second)).await;

    // None is no environment: the command goes on with what it has, and the fleet shows why.
    let running = service.pid();
    client.delete("app/greeting").await.unwrap();
    let refused = |entry: &FleetEntry| {
        entry.standing() == Standing::Rejected && entry.report.detail.contains("no key under app/")
    };
    listed(&client, "n1/service", refused).await;
    assert!(is_running(running));
    // Nor does it need a server to go on.
    cluster.kill_all();
    cluster.run(0).unwrap();
    greet(&client, "back").await;
    service.until_greeted(&["hello", "hi", "back"]).await;
    service.signal(Signal::TERM);
    assert_eq!(service.code(), 42);
    assert_eq!(service.read("wrong"), "");

    let options = [&options[..], &["--grace", "200ms"]].concat();
    let mut service = Service::start(&cluster, "stubborn", STUBBORN, &options);
    service.until_greeted(&["back"]).await;
    let before = service.pid();
    greet(&client, "last").await;
    service.until_greeted(&["back", "last"]).await;
    assert!(!is_running(before), "it was to be killed");
    let left = service.pid();
    service.agent.kill();
    until("it ends with its parent", || !is_running(left)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_outlives_a_quit_is_started_anew_for_a_change() {
    let (cluster, client) = one_node().await;
    greet(&client, "hello").await;
    let options = ["--on-change", "restart", "--settle", "50ms", "--grace"];
    let options = [&options[..], &["1s"]].concat();
    let mut service = Service::start(&cluster, "service", SERVICE, &options);
    service.until_greeted(&["hello"]).await;
    service.signal(Signal::QUIT);
    until("QUIT", || service.read("heard") == "QUIT\n").await;
    // While it may yet end of it.
    greet(&client, "hi").await;
    service.until_greeted(&["hello", "hi"]).await;
    service.signal(Signal::INT);
    service.signal(Signal::TERM);
    assert_eq!(service.code(), 42);
    assert_eq!(service.read("wrong"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_drains_has_its_grace_also_if_no_other_is_to_be_started() {
    let (cluster, client) = one_node().await;
    greet(&client, "hello").await;
    let options = ["--on-change", "restart", "--settle", "50ms"];
    let mut service = Service::start(&cluster, "draining", DRAINING, &options);
    service.until_greeted(&["hello"]).await;
    greet(&client, "hi").await;
    until("it is drained", || service.read("asked") == "\n").await;
    service.signal(Signal::TERM);
    assert_eq!(service.code(), 42);
    assert_eq!(service.read("drained"), "\n");
    assert_eq!(service.greetings(), ["hello"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_not_started_anew_is_told_or_left_alone_and_the_fleet_shows_it() {
    let (cluster, client) = one_node().await;
    let first = greet(&client, "hello").await;
    let told = ["--on-change", "signal=USR1", "--settle", "50ms"];
    let mut told = Service::start(&cluster, "told", SERVICE, &told);
    let left = ["--settle", "50ms", "--instance", "mine"];
    let mut left = Service::start(&cluster, "left", SERVICE, &left);
    for service in [&told, &left] {
        service.until_greeted(&["hello"]).await;
    }
    let equal = greet(&client, "hello").await;
    listed(&client, "n1/told", |entry| entry.report.revision >= equal).await;
    assert_eq!(told.read("heard"), "", "nothing changed");
    let second = greet(&client, "hi").await;
    until("a signal", || told.read("heard") == "USR1\n").await;
    for (instance, word) in [
        ("n1/told", "was sent a signal"),
        ("mine", "keeps the environment"),
    ] {
        let pending = |entry: &FleetEntry| entry.standing() == Standing::Pending;
        let report = listed(&client, instance, pending).await.report;
        assert!(
            report.revision >= first && report.revision < second,
            "{report:?}"
        );
        assert!(report.offered >= second, "{report:?}");
        assert!(report.detail.contains(word), "{report:?}");
    }
    // Back to what it has: nothing is pending, and it is told of the change.
    greet(&client, "hello").await;
    until("another signal", || told.read("heard") == "USR1\nUSR1\n").await;
    for instance in ["n1/told", "mine"] {
        listed(&client, instance, |entry| {
            entry.standing() == Standing::Applied
        })
        .await;
    }
    assert_eq!(left.read("heard"), "");
    for service in [&mut told, &mut left] {
        assert_eq!(service.greetings(), ["hello"]);
        service.signal(Signal::TERM);
        assert_eq!(service.code(), 42);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_server_down_it_starts_with_what_it_had_and_not_with_what_it_had_not() {
    let (mut cluster, client) = one_node().await;
    let shares = cluster.folder().join("shares");
    escrow::prove(&cluster.context_file(), &shares)
        .await
        .unwrap();
    greet(&client, "hello").await;
    wait::until("a secret to be taken", LIMIT, || async {
        let secrets = client.secrets();
        let put = secrets.put("app/password", "hunter2-of-the-app".to_owned());
        put.await.ok()
    })
    .await
    .unwrap();
    let state = cluster.folder().join("state");
    let state = state.to_str().unwrap();
    let options = ["--prefix", "app/", "--reveal", "--state", state];
    let print = ["sh", "-c", "printf '%s|%s' \"$greeting\" \"$password\""];
    let all = "hello|hunter2-of-the-app";
    // However soon it is done.
    assert_eq!(exec(&cluster, &options, &print).await.success(), all);
    cluster.kill_all();
    assert_eq!(exec(&cluster, &options, &print).await.success(), all);

    let more = [&options[..], &["--prefix", "other/"]].concat();
    let other = exec(&cluster, &more, &print).await;
    other.fails(4, &["not started", "no server"]);
    let closed = exec(&cluster, &["--prefix", "app/", "--state", state], &print).await;
    assert!(
        closed.code == Some(4) && closed.stdout.is_empty(),
        "{closed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_process_of_a_container_leaves_no_zombies() {
    let first = ["--pid", "--fork", "--mount-proc"];
    let mut probe = tokio::process::Command::new("unshare");
    let may = probe.args(first).arg("true").output().await;
    if !may.is_ok_and(|ran| ran.status.success()) {
        eprintln!("skipped: no namespace of processes can be made here");
        return;
    }
    let (cluster, client) = one_node().await;
    greet(&client, "hello").await;
    // Its parent ends before it does.
    let script = "(sh -c 'echo $$ > \"$1\"; exec sleep 0.2' sh \"$1\" &); \
                  for try in $(seq 200); do sleep 0.05; test -s \"$1\" || continue; \
                  test -e /proc/$(cat \"$1\") || exit 7; done; exit 9";
    let mut agent = tokio::process::Command::new("unshare");
    agent
        .args(first)
        .arg(binaries::kvagent())
        .args(["exec", "--prefix", "app/", "--context"])
        .arg(cluster.context_file())
        .args(["--", "sh", "-c", script, "sh"])
        .arg(cluster.folder().join("orphan"));
    assert_eq!(run(&mut agent).await.code, Some(7));
}
