//! How soon 100 watchers know.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use holdfast_client::{KeyRange, WatchItem, WatchOptions};
use holdfast_tests::harness::Cluster;
use tokio::sync::mpsc;

use crate::{
    fill,
    report::{Report, Target},
};

/// Delivery to each of 100 clients, after the put's return.
pub(crate) async fn measure(report: &mut Report, puts: usize) -> anyhow::Result<()> {
    report.title("A put seen by 100 watching clients, after the put returned");
    let cluster = Cluster::start().await?;
    let writer = cluster.client().await?;
    let (seen, mut sightings) = mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for _ in 0..WATCHERS {
        let client = cluster.client().await?;
        let mut watch = client.watch(KeyRange::prefix("bench/"), WatchOptions::default());
        watch.established().await?;
        let seen = seen.clone();
        tasks.push(tokio::spawn(async move {
            while let Ok(item) = watch.next().await {
                let at = Instant::now();
                if let WatchItem::Events { revision, .. } = item
                    && seen.send((revision, at)).is_err()
                {
                    break;
                }
            }
        }));
    }
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for number in 0..puts as u64 {
        let written = writer
            .put(fill::key(number).as_str(), fill::value(256))
            .await?;
        let returned = Instant::now();
        let mut slowest: f64 = 0.0;
        for _ in 0..WATCHERS {
            let next = tokio::time::timeout(Duration::from_secs(10), sightings.recv());
            let (revision, at) = next
                .await
                .context("a watcher was not told")?
                .context("watchers")?;
            anyhow::ensure!(
                revision == written.revision.get(),
                "a watcher was told twice"
            );
            // A watcher may know before the writer does: that is no time at all.
            let after = at.saturating_duration_since(returned).as_secs_f64() * 1e3;
            each.push(after);
            slowest = slowest.max(after);
        }
        last.push(slowest);
    }
    for task in tasks {
        task.abort();
    }
    each.sort_unstable_by(f64::total_cmp);
    last.sort_unstable_by(f64::total_cmp);
    let quantile = |of: &[f64], percent: usize| of[(of.len() - 1) * percent / 100];
    report.add(
        "fanout",
        "each watcher: p50",
        quantile(&each, 50),
        "ms",
        Target::AtMost(3.0),
    );
    report.add(
        "fanout",
        "each watcher: p99",
        quantile(&each, 99),
        "ms",
        Target::None,
    );
    report.add(
        "fanout",
        "the last of 100: p50",
        quantile(&last, 50),
        "ms",
        Target::None,
    );
    report.add(
        "fanout",
        "the last of 100: p99",
        quantile(&last, 99),
        "ms",
        Target::None,
    );
    Ok(())
}

const WATCHERS: usize = 100;
