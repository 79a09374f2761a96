//! How long no put is acknowledged when the leader is killed.
//!
//! A put is sent every 5 ms, whatever became of those before: what was lost with the leader, and
//! what waits for a timeout, delays nobody else. The gap is the longest time between two
//! acknowledgements, from the kill until puts flow again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_client::Client;
use holdfast_tests::harness::wait;
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    load::{key, value},
    pair::{Match, Pair, Side},
    report::{Report, Target},
    samples::Samples,
};

/// SIGKILL of the leader of each side, again and again.
pub(crate) async fn measure(
    report: &mut Report,
    with: Match<'_>,
    rounds: usize,
) -> anyhow::Result<()> {
    report.title("SIGKILL of the leader, until puts are acknowledged again");
    let mut pair = Pair::start(with).await?;
    let mut gaps = Samples::default();
    for round in 0..rounds {
        for side in Side::in_round(round) {
            let gap = fail_over(&mut pair, side).await?;
            gaps.push(side, gap.as_secs_f64() * 1e3);
        }
    }
    let worst = gaps.worst();
    report.add(
        "failover",
        "gap: median",
        "ms",
        gaps,
        Target::AtMost(1.0 / 3.0),
    );
    report.add("failover", "gap: worst", "ms", worst, Target::None);
    Ok(())
}

async fn fail_over(pair: &mut Pair, side: Side) -> anyhow::Result<Duration> {
    let writer = Writer::start(pair.endpoints(side)?.client().await?);
    writer.flow().await?;
    let (leader, killed) = pair.kill_leader(side).await?;
    writer.flow().await?;
    let gap = writer.longest_gap_since(killed);
    drop(writer);
    pair.run(side, leader)?;
    pair.wait_until_whole(side).await?;
    Ok(gap)
}

/// Puts at a steady pace until it is dropped.
struct Writer {
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    _pace: JoinSet<()>,
}

impl Writer {
    fn start(client: Client) -> Self {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let mut pace = JoinSet::new();
        pace.spawn(keep_pace(client, acknowledged.clone()));
        Self {
            acknowledged,
            _pace: pace,
        }
    }

    /// Waits until puts flow: so many more are acknowledged, and then for a moment.
    async fn flow(&self) -> anyhow::Result<()> {
        let count = || self.acknowledged.lock().len();
        let target = count() + FLOWS;
        wait::until_true("puts to flow", PATIENCE, || count() >= target).await?;
        // Not to wait for something: what is answered late may leave a second gap.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    fn longest_gap_since(&self, killed: Instant) -> Duration {
        let acknowledged = self.acknowledged.lock();
        let first = acknowledged
            .partition_point(|at| *at < killed)
            .saturating_sub(1);
        let pairs = acknowledged[first..].windows(2);
        pairs
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }
}

async fn keep_pace(client: Client, acknowledged: Arc<Mutex<Vec<Instant>>>) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut puts = JoinSet::new();
    for number in 0.. {
        pace.tick().await;
        while puts.try_join_next().is_some() {}
        let mut client = client.clone();
        let acknowledged = acknowledged.clone();
        puts.spawn(async move {
            // A put that fails is one that was not acknowledged; the next is sent anyway.
            if client
                .put(key(number % 1_000), value(256), None)
                .await
                .is_ok()
            {
                // Under the lock, so that the list is in order.
                let mut acknowledged = acknowledged.lock();
                acknowledged.push(Instant::now());
            }
        });
    }
}

/// More than can be under way when a leader dies.
const FLOWS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);
