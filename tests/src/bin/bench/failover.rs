//! The gap between acknowledged writes when the leader goes.
//!
//! Four clients write all the time, one put after the other. The gap is the longest time between
//! two acknowledgements, whoever got them, from the moment before the fault until writes flow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_client::Client;
use holdfast_tests::harness::{Cluster, wait};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::{
    fill,
    report::{Report, Target},
};

/// SIGKILL of the leader.
pub(crate) async fn killed(report: &mut Report, rounds: usize) -> anyhow::Result<()> {
    report.title("Gap between acknowledged writes after SIGKILL of the leader");
    let mut cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let writers = Writers::start(&cluster).await?;
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        writers.flow().await?;
        let leader = cluster.leader(&client).await?;
        let before = Instant::now();
        cluster.kill(leader);
        writers.flow().await?;
        gaps.push(writers.longest_gap_since(before));
        cluster.run(leader)?;
        cluster.wait_until_whole_but_busy(&client).await?;
    }
    report.gaps("failover", &mut gaps, 420.0, 900.0);
    writers.finish(report, "failover").await
}

/// Leadership handed over on purpose.
pub(crate) async fn handed_over(report: &mut Report, rounds: usize) -> anyhow::Result<()> {
    report.title("Gap between acknowledged writes in a planned transfer");
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let writers = Writers::start(&cluster).await?;
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        writers.flow().await?;
        let before = Instant::now();
        client.cluster().transfer_leader(None).await?;
        writers.flow().await?;
        gaps.push(writers.longest_gap_since(before));
    }
    report.gaps("transfer", &mut gaps, 100.0, 100.0);
    writers.finish(report, "transfer").await
}

struct Writers {
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Writers {
    async fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..WRITERS {
            let client = cluster.client().await?;
            tasks.push(tokio::spawn(write(
                client,
                number,
                acknowledged.clone(),
                stop.clone(),
            )));
        }
        Ok(Self {
            acknowledged,
            stop,
            tasks,
        })
    }

    /// Waits until writes flow: a hundred more are acknowledged, and then for a moment.
    async fn flow(&self) -> anyhow::Result<()> {
        let count = || self.acknowledged.lock().len();
        let target = count() + 100;
        wait::until_true("writes to flow", Duration::from_secs(30), || {
            count() >= target
        })
        .await?;
        // Not to wait for something: a transfer may have its gap a little later.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    fn longest_gap_since(&self, before: Instant) -> Duration {
        let acknowledged = self.acknowledged.lock();
        let first = acknowledged
            .partition_point(|at| *at < before)
            .saturating_sub(1);
        let pairs = acknowledged[first..]
            .windows(2)
            .map(|pair| pair[1] - pair[0]);
        pairs.max().unwrap_or_default()
    }

    async fn finish(self, report: &mut Report, bench: &'static str) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = 0;
        for task in self.tasks {
            failed += task.await?;
        }
        report.add(
            bench,
            "requests that failed",
            failed as f64,
            "",
            Target::AtMost(0.0),
        );
        Ok(())
    }
}

async fn write(
    client: Client,
    number: u64,
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
) -> u64 {
    let mut failed = 0;
    while !stop.load(Ordering::Relaxed) {
        match client
            .put(fill::key(number).as_str(), fill::value(256))
            .await
        {
            Ok(_) => {
                // Under the lock, so that the list is in order.
                let mut acknowledged = acknowledged.lock();
                acknowledged.push(Instant::now());
            }
            Err(_) => failed += 1,
        }
    }
    failed
}

const WRITERS: u64 = 4;
