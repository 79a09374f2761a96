//! A typed configuration: what a read costs, how soon a change is everywhere, and a start from the
//! disk while every server is down.

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use futures::future;
use holdfast_client::{Client, ClientOptions, Config, StartPolicy, Value};
use holdfast_tests::harness::{Cluster, wait};
use serde::Deserialize;

use crate::{
    fill,
    report::{Report, Target, histogram, quantile_ms},
};

#[derive(Deserialize)]
struct Shop {
    number: u64,
}

/// Whatever is under `bench/`.
type All = BTreeMap<String, Vec<u8>>;

/// Nanoseconds of a load; milliseconds from a put's return to 1,000 subscribers; milliseconds of a start.
pub(crate) async fn measure(report: &mut Report, rounds: usize) -> anyhow::Result<()> {
    report.title("Typed configuration");
    let mut cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    client.put("shop/number", Value::Integer(0)).await?;
    let config: Config<Shop> = client.config("shop/").open().await?;
    loads(report, &config);
    subscribers(report, &client, &config, rounds).await?;
    start(report, &mut cluster, &client).await
}

fn loads(report: &mut Report, config: &Config<Shop>) {
    let mut nanoseconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..LOADS {
                black_box(config.load().number);
            }
            began.elapsed().as_secs_f64() * 1e9 / f64::from(LOADS)
        })
        .collect();
    nanoseconds.sort_unstable_by(f64::total_cmp);
    let median = nanoseconds[ROUNDS / 2];
    report.add("config", "load, median", median, "ns", Target::AtMost(20.0));
}

async fn subscribers(
    report: &mut Report,
    client: &Client,
    config: &Config<Shop>,
    rounds: usize,
) -> anyhow::Result<()> {
    let mut latencies = histogram();
    for round in 1..=rounds as u64 {
        let seen = (0..SUBSCRIBERS).map(|_| {
            let mut changes = config.subscribe();
            async move {
                changes
                    .wait_for(|shop| shop.number == round)
                    .await
                    .map(drop)
            }
        });
        let seen = tokio::spawn(future::try_join_all(seen));
        client
            .put("shop/number", Value::Integer(round as i64))
            .await?;
        let returned = Instant::now();
        seen.await??;
        latencies.saturating_record(returned.elapsed().as_micros() as u64);
    }
    let p50 = quantile_ms(&latencies, 0.5);
    let name = "seen by the last of 1,000 subscribers, p50";
    report.add("config", name, p50, "ms", Target::AtMost(10.0));
    Ok(())
}

async fn start(report: &mut Report, cluster: &mut Cluster, client: &Client) -> anyhow::Result<()> {
    fill::fill(client, 0..KEYS, 256).await?;
    let folder = cluster.folder().join("cache");
    let context = cluster.context()?;
    let from_cache = || -> anyhow::Result<_> {
        let client = Client::lazy(&context, ClientOptions::default())?;
        let builder = client.config::<All>("bench/").cache(&folder);
        Ok(builder.start(StartPolicy::CacheThenServer {
            max_age: std::time::Duration::MAX,
        }))
    };
    let config = client.config::<All>("bench/").cache(&folder).open().await?;
    wait::until_true("it is kept", LIMIT, || config.status().cached > 0).await?;
    drop(config);
    cluster.kill_all();
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let config = from_cache()?.open().await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(config.load().len() == KEYS as usize, "keys are missing");
    }
    took.sort_unstable_by(f64::total_cmp);
    let name = "start from the disk with 10,000 keys, median";
    report.add(
        "config",
        name,
        took[STARTS / 2],
        "ms",
        Target::AtMost(100.0),
    );
    Ok(())
}

const ROUNDS: usize = 1_000;
const LOADS: u32 = 1_000;
const SUBSCRIBERS: usize = 1_000;
const KEYS: u64 = 10_000;
const STARTS: usize = 9;
const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
