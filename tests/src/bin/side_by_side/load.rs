//! Requests a second and their latencies: of clients with connections of their own to all members, and
//! of one client that many tasks share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};
use futures::{StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use holdfast_tests::etcd::Endpoints;
use rand::RngExt as _;

use crate::{
    pair::{Pair, Side},
    process::processor_time,
    report::{Report, Target},
    samples::Samples,
};

/// How a measurement is repeated.
#[derive(Clone, Copy)]
pub(crate) struct Turns {
    /// How often; each time, both sides are measured.
    pub(crate) rounds: usize,
    /// How long a side is measured in a round.
    pub(crate) length: Duration,
    /// So many clients, or tasks, instead of the usual numbers.
    pub(crate) clients: Option<usize>,
    /// Only this side.
    pub(crate) only: Option<Side>,
}

/// Puts of 256 B to one of 10,000 keys.
pub(crate) async fn puts(report: &mut Report, pair: &mut Pair, turns: Turns) -> anyhow::Result<()> {
    report.title("Puts of 256 B");
    for clients in turns.of([1, 64, 256]) {
        let (rate, p50) = match clients {
            1 => (Target::None, Target::AtMost(0.5)),
            _ => (Target::AtLeast(3.0), Target::None),
        };
        let figures = compare(pair, turns, Senders::Clients(clients), Request::Put).await?;
        figures.add(report, "puts", &in_words(clients), rate, p50);
    }
    Ok(())
}

/// Gets of 256 B.
pub(crate) async fn gets(report: &mut Report, pair: &mut Pair, turns: Turns) -> anyhow::Result<()> {
    report.title("Gets of 256 B");
    for (serializable, kind, least) in [(false, "linearizable", 3.0), (true, "serializable", 3.5)] {
        for clients in turns.of([1, 64]) {
            let rate = match clients {
                1 => Target::None,
                _ => Target::AtLeast(least),
            };
            let (senders, request) = (Senders::Clients(clients), Request::Get { serializable });
            let figures = compare(pair, turns, senders, request).await?;
            let name = format!("{}, {kind}", in_words(clients));
            figures.add(report, "gets", &name, rate, Target::None);
        }
    }
    Ok(())
}

/// If a key is there: read it and replace it.
pub(crate) async fn transactions(
    report: &mut Report,
    pair: &mut Pair,
    turns: Turns,
) -> anyhow::Result<()> {
    report.title("Transactions: compare, then get and put 256 B");
    for clients in turns.of([64]) {
        let senders = Senders::Clients(clients);
        let figures = compare(pair, turns, senders, Request::Transaction).await?;
        let name = in_words(clients);
        figures.add(report, "transactions", &name, Target::None, Target::None);
    }
    Ok(())
}

/// The same puts and gets, sent at once by the tasks of one service, which share a client.
pub(crate) async fn shared(
    report: &mut Report,
    pair: &mut Pair,
    turns: Turns,
) -> anyhow::Result<()> {
    report.title("Puts and gets of 256 B through one client that tasks share");
    for tasks in turns.of([64, 256]) {
        let figures = compare(pair, turns, Senders::Tasks(tasks), Request::Put).await?;
        let name = format!("{tasks} tasks, puts");
        figures.add(report, "shared", &name, Target::AtLeast(3.0), Target::None);
    }
    for (serializable, kind, least) in [(false, "linearizable", 3.0), (true, "serializable", 3.5)] {
        for tasks in turns.of([64]) {
            let (senders, request) = (Senders::Tasks(tasks), Request::Get { serializable });
            let figures = compare(pair, turns, senders, request).await?;
            let name = format!("{tasks} tasks, {kind} gets");
            let rate = Target::AtLeast(least);
            figures.add(report, "shared", &name, rate, Target::None);
        }
    }
    Ok(())
}

/// Puts so many keys on both sides, in transactions as large as etcd takes by default.
pub(crate) async fn fill(pair: &Pair, keys: u64, bytes: usize) -> anyhow::Result<()> {
    for side in Side::in_round(0) {
        let client = pair.endpoints(side)?.client().await?;
        let batches = (0..keys).step_by(BATCH).map(|first| {
            let mut client = client.clone();
            async move {
                let numbers = first..keys.min(first + BATCH as u64);
                let puts = numbers.map(|number| TxnOp::put(key(number), value(bytes), None));
                client
                    .txn(Txn::new().and_then(puts.collect::<Vec<_>>()))
                    .await
            }
        });
        futures::stream::iter(batches)
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_for_each(async |_| Ok(()))
            .await?;
    }
    Ok(())
}

/// The key of a number.
pub(crate) fn key(number: u64) -> Vec<u8> {
    format!("bench/{number:08}").into_bytes()
}

/// A value of so many bytes, which does not compress.
pub(crate) fn value(bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    rand::fill(&mut value[..]);
    value
}

fn in_words(clients: usize) -> String {
    match clients {
        1 => "1 client".into(),
        many => format!("{many} clients"),
    }
}

/// What the clients send.
#[derive(Clone, Copy)]
enum Request {
    Put,
    Get { serializable: bool },
    Transaction,
}

/// Who sends, each one request after the other.
#[derive(Clone, Copy)]
enum Senders {
    /// So many clients, each with connections of its own.
    Clients(usize),
    /// So many tasks with one client.
    Tasks(usize),
}

/// What both sides did.
#[derive(Default)]
struct Figures {
    rate: Samples,
    p50: Samples,
    p99: Samples,
    /// Microseconds of all servers, and of the client, for each request.
    servers: Samples,
    client: Samples,
}

impl Turns {
    fn of<const COUNT: usize>(self, clients: [usize; COUNT]) -> Vec<usize> {
        match self.clients {
            Some(only) => vec![only],
            None => clients.to_vec(),
        }
    }
}

impl Figures {
    fn add(
        self,
        report: &mut Report,
        subject: &'static str,
        name: &str,
        rate: Target,
        p50: Target,
    ) {
        report.add(subject, format!("{name}: rate"), "/s", self.rate, rate);
        report.add(subject, format!("{name}: p50"), "ms", self.p50, p50);
        report.add(
            subject,
            format!("{name}: p99"),
            "ms",
            self.p99,
            Target::None,
        );
        let (servers, client) = (self.servers, self.client);
        report.add(
            subject,
            format!("{name}: servers' processor time"),
            "µs",
            servers,
            Target::None,
        );
        report.add(
            subject,
            format!("{name}: the client's"),
            "µs",
            client,
            Target::None,
        );
    }
}

impl Senders {
    async fn connect(self, endpoints: &Endpoints) -> anyhow::Result<Vec<Client>> {
        match self {
            Self::Clients(count) => {
                let mut clients = Vec::with_capacity(count);
                for _ in 0..count {
                    clients.push(endpoints.client().await?);
                }
                Ok(clients)
            }
            Self::Tasks(count) => Ok(vec![endpoints.client().await?; count]),
        }
    }
}

/// Lets as many senders of each side send the same, round by round. They stay connected meanwhile.
async fn compare(
    pair: &mut Pair,
    turns: Turns,
    senders: Senders,
    request: Request,
) -> anyhow::Result<Figures> {
    let keys: Arc<[Vec<u8>]> = (0..KEYS).map(key).collect();
    let mut sides = Vec::new();
    for side in Side::in_round(0) {
        let connected = senders.connect(&pair.endpoints(side)?).await?;
        // Connects and warms up: what this measures does not count.
        run(&connected, &keys, CONNECT, request).await?;
        sides.push(connected);
    }
    let mut figures = Figures::default();
    for round in 0..turns.rounds {
        for side in Side::in_round(round) {
            if turns.only.is_some_and(|only| only != side) {
                continue;
            }
            let clients = &sides[side as usize];
            let (servers, client) = (pair.pids(side), [std::process::id()]);
            let before = (processor_time(&servers)?, processor_time(&client)?);
            let began = Instant::now();
            let latencies = run(clients, &keys, turns.length, request).await?;
            let took = began.elapsed().as_secs_f64();
            let rate = latencies.len() as f64 / turns.length.as_secs_f64();
            figures.rate.push(side, rate);
            // The warm-up counts here, with its requests.
            let each = |used: Duration| used.as_secs_f64() * 1e6 / (rate * took);
            let used = processor_time(&servers)? - before.0;
            figures.servers.push(side, each(used));
            figures
                .client
                .push(side, each(processor_time(&client)? - before.1));
            let quantile = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
            figures.p50.push(side, quantile(0.5));
            figures.p99.push(side, quantile(0.99));
        }
    }
    Ok(figures)
}

/// Lets each sender send the same request, one after the other; gives microseconds.
async fn run(
    clients: &[Client],
    keys: &Arc<[Vec<u8>]>,
    length: Duration,
    request: Request,
) -> anyhow::Result<Histogram<u64>> {
    let begin = Instant::now() + WARM_UP;
    let end = begin + length;
    let tasks: Vec<_> = clients
        .iter()
        .map(|client| tokio::spawn(send(client.clone(), keys.clone(), begin..end, request)))
        .collect();
    let mut all = histogram();
    for task in tasks {
        all.add(task.await??)?;
    }
    Ok(all)
}

async fn send(
    mut client: Client,
    keys: Arc<[Vec<u8>]>,
    counted: std::ops::Range<Instant>,
    request: Request,
) -> anyhow::Result<Histogram<u64>> {
    let value = value(256);
    let mut latencies = histogram();
    let mut sent = Instant::now();
    while sent < counted.end {
        let key = keys[rand::rng().random_range(0..keys.len())].clone();
        match request {
            Request::Put => {
                client.put(key, value.clone(), None).await?;
            }
            Request::Get { serializable } => {
                let options = serializable.then(|| GetOptions::new().with_serializable());
                let found = client.get(key, options).await?;
                anyhow::ensure!(found.kvs().len() == 1, "a key is gone");
            }
            Request::Transaction => {
                let there = Compare::create_revision(key.clone(), CompareOp::Greater, 0);
                let then = [
                    TxnOp::get(key.clone(), None),
                    TxnOp::put(key, value.clone(), None),
                ];
                let transaction = Txn::new().when([there]).and_then(then);
                let answer = client.txn(transaction).await?;
                anyhow::ensure!(answer.succeeded(), "a key is gone");
            }
        }
        let now = Instant::now();
        if sent >= counted.start && now < counted.end {
            let micros = u64::try_from((now - sent).as_micros()).unwrap_or(u64::MAX);
            latencies.saturating_record(micros.max(1));
        }
        sent = now;
    }
    Ok(latencies)
}

/// From a microsecond to a minute, three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

/// Keys that are written and read.
pub(crate) const KEYS: u64 = 10_000;
const CONNECT: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(300);
/// etcd's `--max-txn-ops`.
const BATCH: usize = 128;
const BATCHES_AT_ONCE: usize = 4;
