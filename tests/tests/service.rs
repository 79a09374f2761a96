//! A real service under load while its configuration changes and its cluster dies around it: the example
//! `shop_service`, an HTTP server. No request fails, no answer is made of half a change or of an older one
//! after a newer, and what the service says of its age is true.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_client::{Client, Key, Operation, Transaction, Value};
use holdfast_tests::harness::{Cluster, Process, binaries, http, wait};
use parking_lot::Mutex;
use rustix::process::Signal;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::TcpStream, task::JoinSet};

const LIMIT: Duration = Duration::from_secs(60);
/// How often the service asks whether it is up to date.
const CHECK: Duration = Duration::from_millis(200);
/// What its age may be off by.
const HONEST: Duration = Duration::from_secs(1);
const CHANGES: u64 = 100;
const CALLERS: usize = 8;
/// Between two requests of one caller.
const PACE: Duration = Duration::from_millis(15);

#[derive(Deserialize)]
struct Answer {
    revision: u64,
    number: u64,
    greeting: String,
    checksum: String,
    computed: String,
}

#[derive(Debug, Deserialize)]
struct Status {
    revision: u64,
    origin: String,
    age_ms: u64,
    cached: u64,
    rejected: Option<String>,
}

impl Status {
    fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }
}

/// Puts every setting in one revision, with their checksum.
async fn set(client: &Client, number: u64) -> u64 {
    let greeting = format!("greeting {number}");
    let limits = vec![number, number * 2, number * 3];
    let mut hasher = DefaultHasher::new();
    (number, &greeting, &limits).hash(&mut hasher);
    let checksum = format!("{:016x}", hasher.finish());
    let put = |key: &str, value| Operation::put(&Key::try_from(key).unwrap(), value);
    let all = Transaction::new()
        .then(put("shop/number", Value::Integer(number as i64)))
        .then(put("shop/greeting", greeting.as_str().into()))
        .then(put("shop/limits", Value::Json(format!("{limits:?}"))))
        .then(put("shop/checksum", checksum.as_str().into()));
    client.transact(all, "").await.unwrap().revision
}

async fn ask<T: DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T, String> {
    let page = http::page(&address.to_string(), path).await;
    let page = page.map_err(|error| format!("{error:#}"))?;
    let (head, body) = page.split_once("\r\n\r\n").ok_or("half an answer")?;
    if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
        return Err(head.to_owned());
    }
    serde_json::from_str(body).map_err(|error| format!("{error} in {body}"))
}

/// Users of the service.
struct Load {
    tally: Arc<Tally>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Tally {
    ended: AtomicBool,
    requests: AtomicU64,
    /// The newest number that a user saw.
    newest: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let tally = Arc::new(Tally::default());
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(Arc::clone(&tally).call(address));
        }
        Self { tally, callers }
    }

    /// A user has seen this number.
    async fn sees(&self, number: u64) {
        let sees = || self.tally.newest.load(Ordering::Relaxed) >= number;
        let seen = wait::until_true(format!("number {number} to be served"), LIMIT, sees).await;
        seen.unwrap();
    }

    /// How many requests there were, and what was wrong with any.
    async fn end(self) -> (u64, Vec<String>) {
        self.tally.ended.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
        let wrong = std::mem::take(&mut *self.tally.wrong.lock());
        (self.tally.requests.load(Ordering::Relaxed), wrong)
    }
}

impl Tally {
    async fn call(self: Arc<Self>, address: SocketAddr) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = 0;
        while !self.ended.load(Ordering::Relaxed) {
            pace.tick().await;
            let answer = ask::<Answer>(address, "/").await;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let problem = match answer {
                Err(why) => format!("a request failed: {why}"),
                Ok(answer) if answer.checksum != answer.computed => format!(
                    "half a change: number {} with {:?} at revision {}",
                    answer.number, answer.greeting, answer.revision
                ),
                Ok(answer) if answer.revision < last => {
                    format!("revision {} after {last}", answer.revision)
                }
                Ok(answer) => {
                    last = answer.revision;
                    self.newest.fetch_max(answer.number, Ordering::Relaxed);
                    continue;
                }
            };
            self.wrong.lock().push(problem);
        }
    }
}

/// The service, on a socket that outlives it.
struct Service {
    socket: TcpListener,
    address: SocketAddr,
    cache: PathBuf,
    context: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Service {
    fn new(cluster: &Cluster) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            socket,
            cache: cluster.folder().join("service"),
            context: cluster.context_file(),
            log: cluster.folder().join("service.log"),
            process: None,
        }
    }

    fn start(&mut self) {
        let mut command = Command::new(binaries::example("shop_service"));
        command
            .env("HOLDFAST_CONTEXT", &self.context)
            .arg(&self.cache)
            .arg("-");
        let socket = self.socket.try_clone().unwrap().into();
        self.process = Some(Process::spawn_on(&mut command, socket, &self.log).unwrap());
    }

    /// While somebody has connected and not asked yet.
    async fn restart(&mut self) {
        let mut slow = TcpStream::connect(self.address).await.unwrap();
        // Connections are accepted in their order.
        self.status().await;
        let mut process = self.process.take().unwrap();
        process.signal(Signal::TERM);
        let ends = || self.said().contains("accepts nothing more");
        let ending = wait::until_true("the service to end", LIMIT, ends).await;
        ending.unwrap_or_else(|error| panic!("{error}; it said: {}", self.said()));
        let page = http::page_on(&mut slow, "/status").await;
        let page = page.unwrap_or_else(|error| panic!("the slow user: {error:#}"));
        assert!(page.contains(" 200 OK"), "the slow user got {page:?}");
        let status = process.wait(LIMIT).unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        self.start();
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn status(&self) -> Status {
        let status = ask(self.address, "/status").await;
        status.unwrap_or_else(|error| panic!("{error}; it said: {}", self.said()))
    }

    /// Its status, once it is so.
    async fn until(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let found = wait::until(what, LIMIT, || async {
            let status = self.status().await;
            is_so(&status).then_some(status)
        });
        match found.await {
            Ok(status) => status,
            Err(error) => panic!(
                "{error}: {:?}; it said: {}",
                self.status().await,
                self.said()
            ),
        }
    }

    /// What it says of its age is true for so long: nothing could be known of the cluster after `dead`,
    /// and all was known at `alive`.
    async fn is_honest_for(&self, span: Duration, alive: Instant, dead: Instant) {
        let until = Instant::now() + span;
        while Instant::now() < until {
            let asked = Instant::now();
            let age = self.status().await.age();
            let answered = Instant::now();
            let (least, most) = (asked - dead, answered - alive + CHECK + HONEST);
            // It is told in whole milliseconds.
            let told = age + Duration::from_millis(1);
            assert!(told >= least, "{age:?} old, it says; at least {least:?}");
            assert!(age <= most, "{age:?} old, it says; at most {most:?}");
            tokio::time::sleep(PACE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_settings_change_and_every_server_dies_and_the_service_restarts() {
    let mut cluster = Cluster::start().await.unwrap();
    let operator = cluster.client().await.unwrap();
    set(&operator, 0).await;
    let mut service = Service::new(&cluster);
    service.start();
    let load = Load::start(service.address);

    // The leader dies among the changes, and comes back.
    let mut last = 0;
    let mut killed = None;
    for number in 1..=CHANGES {
        match number {
            40 => {
                let leader = cluster.leader(&operator).await.unwrap();
                cluster.kill(leader);
                killed = Some(leader);
            }
            70 => cluster.run(killed.take().unwrap()).unwrap(),
            _ => {}
        }
        last = set(&operator, number).await;
        // Each of them is seen by a user.
        load.sees(number).await;
    }
    let status = service
        .until("the last change to be kept", |status| status.cached == last)
        .await;
    assert_eq!((status.revision, status.rejected), (last, None));
    let now = Instant::now();
    while now.elapsed() < HONEST {
        let age = service.status().await.age();
        assert!(age <= CHECK + HONEST, "{age:?} old, with every server up");
        tokio::time::sleep(PACE).await;
    }

    // The majority dies, then all of them.
    let alive = Instant::now();
    cluster.kill(0);
    cluster.kill(1);
    let dead = Instant::now();
    service.is_honest_for(HONEST * 3, alive, dead).await;
    cluster.kill_all();
    service.is_honest_for(HONEST * 2, alive, dead).await;

    // It starts with what it kept, and says how old that is.
    service.restart().await;
    let status = service
        .until("the service to be back", |status| status.revision == last)
        .await;
    assert_eq!(status.origin, "Disk");
    service.is_honest_for(HONEST * 2, alive, dead).await;

    // They come back, and it goes on.
    cluster.mend().unwrap();
    last = set(&operator, CHANGES + 1).await;
    load.sees(CHANGES + 1).await;
    let status = service
        .until("what the cluster has", |status| {
            status.age() < CHECK + HONEST
        })
        .await;
    assert_eq!((status.revision, status.origin.as_str()), (last, "Cache"));
    let (requests, wrong) = load.end().await;
    println!("{requests} requests, {} of them wrong", wrong.len());
    assert!(wrong.is_empty(), "of {requests} requests: {wrong:#?}");
    assert!(requests > 1_000, "only {requests} requests");
}
