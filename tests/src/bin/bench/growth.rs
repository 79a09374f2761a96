//! How cost grows with the keys.

use holdfast_tests::harness::Cluster;

use crate::{
    fill,
    memory::resident,
    report::{Report, Target, megabytes, quantile_ms},
    throughput::{Request, run},
};

/// Writes of 300 B to random keys by 64 clients, at 1k, 10k, 100k and 1M keys.
pub(crate) async fn measure(report: &mut Report, seconds: u64, most: u64) -> anyhow::Result<()> {
    report.title("Growth: 64 clients write 300 B to random keys");
    let mut cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let mut there = 0;
    for keys in [1_000, 10_000, 100_000, 1_000_000]
        .into_iter()
        .filter(|keys| *keys <= most)
    {
        fill::fill(&client, there..keys, 300).await?;
        there = keys;
        let figures = run(&cluster, 64, seconds, Request::Put { keys, bytes: 300 }).await?;
        let p99 = quantile_ms(&figures.latencies, 0.99);
        let memory = megabytes(resident(&mut cluster)?);
        report.add(
            "growth",
            format!("{keys} keys: rate"),
            figures.rate,
            "/s",
            Target::None,
        );
        report.add(
            "growth",
            format!("{keys} keys: p99"),
            p99,
            "ms",
            Target::None,
        );
        report.add(
            "growth",
            format!("{keys} keys: resident"),
            memory,
            "MB",
            Target::None,
        );
    }
    Ok(())
}
