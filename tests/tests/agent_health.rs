//! What `kvagent run` tells those who look after it: over HTTP, and systemd.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{fs, os::unix::net::UnixDatagram, path::Path, time::Duration};

use holdfast_client::Client;
use holdfast_tests::harness::{
    Agent, Cluster, ClusterOptions, binaries, http, ports, program::run, wait,
};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(30);

const SETTINGS: &str = r#"
[http]
listen = "LISTEN"
[[set]]
name = "web"
folder = "web"
prefixes = ["web/"]
settle = "10ms"
inspect = "50ms"
[[set.file]]
path = "file"
format = "raw"
key = "web/text"
[set.hook]
exec = ["sh", "-c", "test ! -e @DIR@/broken || exit 7"]
backoff = "20ms"
longest_backoff = "20ms"
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

/// An agent with these settings, and where it is to listen.
fn agent(cluster: &Cluster, settings: &str) -> (Agent, String) {
    let listen = format!("127.0.0.1:{}", ports::free::<1>()[0]);
    let settings = settings.replace("LISTEN", &listen);
    (Agent::new(cluster, "agent", &settings).unwrap(), listen)
}

/// A page, once it is as it should be. No page tells a value.
async fn page(address: &str, path: &str, words: &[&str]) -> String {
    let mut last = String::new();
    let found = wait::until(format!("{words:?} in {path}"), LIMIT, || async {
        let page = http::page(address, path).await.ok()?;
        assert!(!page.contains("the-value"), "{page}");
        words.iter().all(|word| page.contains(word)).then_some(page)
    })
    .await;
    if found.is_err() {
        last = http::page(address, path).await.unwrap_or_default();
    }
    found.unwrap_or_else(|error| panic!("{error}; it says {last}"))
}

/// What a metric of the set says.
async fn metric(address: &str, name: &str) -> f64 {
    let page = http::page(address, "/metrics").await.unwrap();
    let start = format!("holdfast_agent_set_{name}{{set=\"web\"}} ");
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(&start));
    value
        .unwrap_or_else(|| panic!("no {name} in {page}"))
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_readiness_and_metrics_tell_how_the_sets_are() {
    let (cluster, client) = one_node().await;
    let (mut agent, listen) = agent(&cluster, SETTINGS);
    agent.start().unwrap();
    page(&listen, "/healthz", &["200 OK"]).await;
    let missing = ["503 ", "\nweb: cannot be installed; "];
    let told = page(&listen, "/readyz", &missing).await;
    assert!(!told.contains("web/"), "it names a key: {told}");
    assert_eq!(metric(&listen, "revision").await, 0.0);

    let first = client
        .put("web/text", "the-value")
        .await
        .unwrap()
        .revision
        .get();
    page(&listen, "/readyz", &["200 OK", "\nok\n"]).await;
    let installed = metric(&listen, "revision").await;
    assert!(installed >= first as f64);
    assert_eq!(metric(&listen, "installs_total").await, 1.0);
    assert_eq!(metric(&listen, "has_problem").await, 0.0);
    assert!(metric(&listen, "age_seconds").await < 30.0);
    page(
        &listen,
        "/metrics",
        &[
            "holdfast_agent_sets{state=\"good\"} 1",
            "holdfast_agent_prefixes{kept=\"true\"} 1",
        ],
    )
    .await;

    agent.write("broken", "").unwrap();
    client.put("web/text", "the-value of today").await.unwrap();
    let failing = ["503 ", "\nweb: its hook failed ", "exit status 7"];
    page(&listen, "/readyz", &failing).await;
    page(
        &listen,
        "/metrics",
        &["holdfast_agent_sets{state=\"hook_failing\"} 1"],
    )
    .await;
    wait::until("retries to be counted", LIMIT, || async {
        (metric(&listen, "hook_failures_total").await >= 3.0).then_some(())
    })
    .await
    .unwrap();
    fs::remove_file(agent.join("broken")).unwrap();
    page(&listen, "/readyz", &["200 OK"]).await;
    assert_eq!(metric(&listen, "hook_failed_attempts").await, 0.0);

    fs::write(agent.join("web/current/file"), "mine").unwrap();
    page(&listen, "/metrics", &["drifts_total{set=\"web\"} 1"]).await;
    let resident = agent.process().resident_bytes().unwrap();
    assert!(resident < 40 << 20, "{resident} bytes for so little");

    // Where it cannot be served, that is said, and how to change it.
    let mut second = tokio::process::Command::new(binaries::kvagent());
    let second = run(second.arg("run").arg("--config").arg(agent.config())).await;
    second.fails(1, &[&listen, "[http]"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_that_it_is_ready_how_it_goes_that_it_lives_and_that_it_ends() {
    let (cluster, client) = one_node().await;
    let (mut agent, _) = agent(&cluster, SETTINGS);
    let path = cluster.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let environment = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "100000"),
    ];
    let until_told = |words: &[&str]| {
        let mut buffer = [0; 4096];
        let mut lives = 0;
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
            lives += i32::from(told.contains("WATCHDOG=1"));
            if words.iter().all(|word| told.contains(word)) {
                return (told, lives);
            }
            assert!(!told.contains("READY=1"), "too early, or twice: {told}");
        }
    };
    agent.start_with(&environment).unwrap();
    // Each set was tried once: it knows what is wrong.
    let tried = [
        "READY=1",
        "STATUS=0 of 1 set(s)",
        "web: not installed: ",
        "no key under web/",
    ];
    until_told(&tried);
    client.put("web/text", "the-value").await.unwrap();
    until_told(&["STATUS=1 of 1 set(s) of files are up to date"]);
    for _ in 0..3 {
        until_told(&["WATCHDOG=1"]);
    }
    agent.process().signal(Signal::TERM);
    until_told(&["STOPPING=1", "STATUS="]);
    assert!(agent.process().wait(LIMIT).unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_that_go_with_the_unit_do_what_they_say() {
    let (cluster, client) = one_node().await;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/agent/examples");
    let text = fs::read_to_string(examples.join("kvagent.toml")).unwrap();
    // The harness has a context, a state and a name of its own.
    let (_, rest) = text.split_once("\n[http]").unwrap();
    let rest = rest
        .replace("\"/var/lib/", "\"@DIR@/")
        .replace("127.0.0.1:9464", "LISTEN");
    let (mut agent, listen) = agent(&cluster, &format!("[http]{rest}"));
    client
        .put("motd/text", "Welcome to the fleet.")
        .await
        .unwrap();
    agent.start().unwrap();
    page(&listen, "/readyz", &["200 OK"]).await;
    assert_eq!(
        agent.read("kvagent/sets/motd/current/motd"),
        "Welcome to the fleet."
    );
}
