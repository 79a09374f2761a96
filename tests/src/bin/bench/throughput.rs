//! Requests a second and their latencies, each client with connections of its own.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use holdfast_client::{Client, Consistency, ReadOptions};
use holdfast_tests::harness::Cluster;
use rand::RngExt as _;

use crate::{
    fill,
    report::{Report, Target, histogram, quantile_ms},
};

/// Puts of 256 B.
pub(crate) async fn writes(report: &mut Report, seconds: u64) -> anyhow::Result<()> {
    report.title("Writes of 256 B");
    let cluster = Cluster::start().await?;
    for clients in [1, 64, 256] {
        let figures = run(
            &cluster,
            clients,
            seconds,
            Request::Put {
                keys: KEYS,
                bytes: 256,
            },
        )
        .await?;
        let (rate, p50) = match clients {
            1 => (Target::None, Target::AtMost(1.3)),
            64 => (Target::AtLeast(8_000.0), Target::None),
            _ => (Target::None, Target::None),
        };
        figures.add(report, "writes", &format!("{clients} clients"), rate, p50);
    }
    Ok(())
}

/// Gets of keys that are there.
pub(crate) async fn reads(report: &mut Report, seconds: u64) -> anyhow::Result<()> {
    report.title("Reads of 256 B");
    let cluster = Cluster::start().await?;
    fill::fill(&cluster.client().await?, 0..KEYS, 256).await?;
    for clients in [1, 64] {
        let figures = run(
            &cluster,
            clients,
            seconds,
            Request::Get(Consistency::Linearizable),
        )
        .await?;
        let rate = if clients == 64 {
            Target::AtLeast(12_000.0)
        } else {
            Target::None
        };
        figures.add(
            report,
            "reads",
            &format!("{clients} clients, linearizable"),
            rate,
            Target::None,
        );
    }
    for clients in [1, 64] {
        let figures = run(&cluster, clients, seconds, Request::Get(Consistency::Local)).await?;
        let name = format!("{clients} clients, local");
        figures.add(report, "reads", &name, Target::None, Target::None);
    }
    Ok(())
}

/// What a measurement of throughput found.
pub(crate) struct Figures {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Microseconds of each.
    pub(crate) latencies: Histogram<u64>,
    failed: u64,
}

impl Figures {
    /// Prints them, with targets for the rate and the median.
    pub(crate) fn add(
        &self,
        report: &mut Report,
        bench: &'static str,
        name: &str,
        rate: Target,
        p50: Target,
    ) {
        let quantile = |quantile| quantile_ms(&self.latencies, quantile);
        report.add(bench, format!("{name}: rate"), self.rate, "/s", rate);
        report.add(bench, format!("{name}: p50"), quantile(0.5), "ms", p50);
        report.add(
            bench,
            format!("{name}: p99"),
            quantile(0.99),
            "ms",
            Target::None,
        );
        if self.failed > 0 {
            let failed = self.failed as f64;
            report.add(
                bench,
                format!("{name}: failed"),
                failed,
                "",
                Target::AtMost(0.0),
            );
        }
    }
}

/// What the clients send.
#[derive(Clone, Copy)]
pub(crate) enum Request {
    /// A put of so many bytes to one of so many keys.
    Put { keys: u64, bytes: usize },
    /// A get of a key that is there.
    Get(Consistency),
    /// A put of a secret.
    PutSecret,
    /// The plaintext of a secret that is there.
    Reveal,
}

impl Request {
    async fn send(self, client: &Client) -> bool {
        match self {
            Self::Put { keys, bytes } => {
                let key = fill::key(rand::rng().random_range(0..keys));
                client.put(key.as_str(), fill::value(bytes)).await.is_ok()
            }
            Self::Get(consistency) => {
                let key = fill::key(rand::rng().random_range(0..KEYS));
                let options = ReadOptions {
                    consistency,
                    ..ReadOptions::default()
                };
                client
                    .get_with(key.as_str(), options)
                    .await
                    .is_ok_and(|found| found.is_some())
            }
            Self::PutSecret => {
                let key = fill::secret(rand::rng().random_range(0..KEYS));
                let secret = vec![0x5e; 64];
                client.secrets().put(key.as_str(), secret).await.is_ok()
            }
            Self::Reveal => {
                let key = fill::secret(rand::rng().random_range(0..KEYS));
                client.secrets().reveal(key.as_str()).await.is_ok()
            }
        }
    }
}

/// Sends the same request from so many clients, one after the other each.
pub(crate) async fn run(
    cluster: &Cluster,
    clients: usize,
    seconds: u64,
    request: Request,
) -> anyhow::Result<Figures> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(cluster.client().await?);
    }
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> = connected
        .into_iter()
        .map(|client| {
            tokio::spawn(async move {
                let (mut latencies, mut failed) = (histogram(), 0);
                loop {
                    let sent = Instant::now();
                    if sent >= end {
                        return (latencies, failed);
                    }
                    let is_ok = request.send(&client).await;
                    let now = Instant::now();
                    if now < begin || now >= end {
                        continue;
                    }
                    if is_ok {
                        let micros = u64::try_from((now - sent).as_micros()).unwrap_or(u64::MAX);
                        latencies.saturating_record(micros.max(1));
                    } else {
                        failed += 1;
                    }
                }
            })
        })
        .collect();
    let mut figures = Figures {
        rate: 0.0,
        latencies: histogram(),
        failed: 0,
    };
    for task in tasks {
        let (latencies, failed) = task.await?;
        figures.latencies.add(latencies)?;
        figures.failed += failed;
    }
    figures.rate = figures.latencies.len() as f64 / seconds as f64;
    Ok(figures)
}

/// How many keys there are.
pub(crate) const KEYS: u64 = 1_000;
const WARM_UP: Duration = Duration::from_secs(2);
