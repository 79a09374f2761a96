//! A read of a mirror: what a service pays for its configuration.

use std::{hint::black_box, time::Instant};

use holdfast_tests::harness::Cluster;

use crate::{
    fill,
    report::{Report, Target},
};

/// Nanoseconds of a get, on one thread, over a thousand keys.
pub(crate) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    report.title("Mirror reads");
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    fill::fill(&client, 0..KEYS, 256).await?;
    let mirror = client.mirror("bench/").await?;
    let keys: Vec<String> = (0..KEYS).map(fill::key).collect();
    let mut nanoseconds = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for key in &keys {
            let view = mirror.read();
            black_box(view.get(black_box(key.as_str())));
        }
        nanoseconds.push(began.elapsed().as_secs_f64() * 1e9 / KEYS as f64);
    }
    nanoseconds.sort_unstable_by(f64::total_cmp);
    let name = "one read and get, median";
    report.add(
        "mirror",
        name,
        nanoseconds[ROUNDS / 2],
        "ns",
        Target::AtMost(200.0),
    );
    let p99 = nanoseconds[ROUNDS * 99 / 100];
    report.add("mirror", "one read and get, p99", p99, "ns", Target::None);
    Ok(())
}

const KEYS: u64 = 1_000;
const ROUNDS: usize = 1_000;
