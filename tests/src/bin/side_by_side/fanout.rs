//! How soon 100 watchers know.
//!
//! From the moment that a put is sent: a watcher may well know before the writer does.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use etcd_client::WatchOptions;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    load::{key, value},
    pair::{Pair, Side},
    report::{Report, Target},
    samples::Samples,
};

/// Delivery to each of 100 clients, and to the last of them.
pub(crate) async fn measure(report: &mut Report, pair: &Pair, rounds: usize) -> anyhow::Result<()> {
    report.title("A put of 256 B until each of 100 watching clients has it");
    let mut audiences = Vec::new();
    for side in Side::in_round(0) {
        audiences.push(Audience::gather(pair, side).await?);
    }
    let (mut p50, mut p99, mut last) = Default::default();
    for round in 0..=rounds {
        for side in Side::in_round(round) {
            let told = audiences[side as usize].tell().await?;
            // The first only warms up.
            if round > 0 {
                told.add(side, &mut p50, &mut p99, &mut last);
            }
        }
    }
    report.add(
        "fanout",
        "each watcher: p50",
        "ms",
        p50,
        Target::AtMost(0.5),
    );
    report.add("fanout", "each watcher: p99", "ms", p99, Target::None);
    report.add("fanout", "the last of 100: p50", "ms", last, Target::None);
    Ok(())
}

/// The watchers of a side, and who writes for them.
struct Audience {
    writer: etcd_client::Client,
    sightings: mpsc::UnboundedReceiver<(i64, Instant)>,
    /// Ends them when dropped.
    _watchers: JoinSet<anyhow::Result<()>>,
}

/// Milliseconds.
struct Told {
    each: Vec<f64>,
    last: Vec<f64>,
}

impl Audience {
    async fn gather(pair: &Pair, side: Side) -> anyhow::Result<Self> {
        let endpoints = pair.endpoints(side)?;
        let (seen, sightings) = mpsc::unbounded_channel();
        let mut watchers = JoinSet::new();
        for _ in 0..WATCHERS {
            let mut client = endpoints.client().await?;
            let options = WatchOptions::new().with_prefix();
            let mut watch = client.watch("bench/", Some(options)).await?;
            let created = watch.message().await?.context("a watch that begins")?;
            anyhow::ensure!(created.created(), "a watch begins with its creation");
            let seen = seen.clone();
            watchers.spawn(async move {
                // The client keeps its connections.
                let _client = client;
                while let Some(answer) = watch.message().await? {
                    let at = Instant::now();
                    for event in answer.events() {
                        let kv = event.kv().context("an event has its key")?;
                        seen.send((kv.mod_revision(), at))?;
                    }
                }
                anyhow::bail!("a watch ended")
            });
        }
        Ok(Self {
            writer: endpoints.client().await?,
            sightings,
            _watchers: watchers,
        })
    }

    async fn tell(&mut self) -> anyhow::Result<Told> {
        let mut told = Told {
            each: Vec::new(),
            last: Vec::new(),
        };
        for number in 0..PUTS {
            let value = value(256);
            let sent = Instant::now();
            let written = self.writer.put(key(number), value, None).await?;
            let revision = written.header().context("a header")?.revision();
            let mut slowest: f64 = 0.0;
            for _ in 0..WATCHERS {
                let next = tokio::time::timeout(PATIENCE, self.sightings.recv());
                let (seen, at) = next
                    .await
                    .context("a watcher was not told")?
                    .context("watchers")?;
                anyhow::ensure!(seen == revision, "a watcher was told of something else");
                let after = (at - sent).as_secs_f64() * 1e3;
                told.each.push(after);
                slowest = slowest.max(after);
            }
            told.last.push(slowest);
        }
        Ok(told)
    }
}

impl Told {
    fn add(mut self, side: Side, p50: &mut Samples, p99: &mut Samples, last: &mut Samples) {
        self.each.sort_unstable_by(f64::total_cmp);
        let quantile = |percent: usize| self.each[(self.each.len() - 1) * percent / 100];
        p50.push(side, quantile(50));
        p99.push(side, quantile(99));
        last.push(side, crate::samples::median(self.last));
    }
}

const WATCHERS: usize = 100;
/// Puts of a round.
const PUTS: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(10);
