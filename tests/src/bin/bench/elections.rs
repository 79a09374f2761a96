//! Elections without a cause: the term must not move while the disk stalls, an archive is
//! written, or a thousand clients write.

use std::time::Duration;

use holdfast_client::Client;
use holdfast_tests::harness::{Cluster, stall::StallingDisk};

use crate::{
    fill,
    report::{Report, Target},
    throughput::{Request, run},
};

/// Counts terms that passed during each.
pub(crate) async fn measure(report: &mut Report, seconds: u64) -> anyhow::Result<()> {
    report.title("Elections without a cause");
    disk_stalls(report).await?;
    archives(report, seconds).await?;
    thousand_clients(report, seconds).await
}

async fn disk_stalls(report: &mut Report) -> anyhow::Result<()> {
    let disk = match StallingDisk::create(512) {
        Ok(disk) => disk,
        Err(why) => {
            println!("  skipped: a disk that stalls for 200 ms: {why}");
            return Ok(());
        }
    };
    let cluster = Cluster::start_in(disk.path()).await?;
    let client = cluster.client().await?;
    let before = term(&client).await?;
    let writing = run(
        &cluster,
        16,
        12,
        Request::Put {
            keys: 1_000,
            bytes: 256,
        },
    );
    let stalling = async {
        for _ in 0..STALLS {
            tokio::time::sleep(Duration::from_millis(500)).await;
            disk.stall(Duration::from_millis(200))?;
        }
        anyhow::Ok(())
    };
    let (figures, stalled) = tokio::join!(writing, stalling);
    stalled?;
    figures?;
    let elections = term(&client).await? - before;
    let name = format!("all disks stall 200 ms, {STALLS} times");
    report.add("elections", name, elections as f64, "", Target::AtMost(0.0));
    drop(cluster);
    Ok(())
}

async fn archives(report: &mut Report, seconds: u64) -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    fill::fill(&client, 0..100_000, 300).await?;
    let first = client.cluster().status().await?;
    // 64 MiB of log make an archive; values of 8 KiB get there soon.
    let mut archives = 0;
    let mut last = first.snapshot;
    for _ in 0..20 {
        run(
            &cluster,
            32,
            seconds.min(5),
            Request::Put {
                keys: 10_000,
                bytes: 8 << 10,
            },
        )
        .await?;
        let snapshot = client.cluster().status().await?.snapshot;
        archives += u32::from(snapshot != last);
        last = snapshot;
        if archives >= 2 {
            break;
        }
    }
    let elections = term(&client).await? - first.term;
    let name = format!("{archives} archives of 100,000 keys written under load");
    report.add("elections", name, elections as f64, "", Target::AtMost(0.0));
    Ok(())
}

async fn thousand_clients(report: &mut Report, seconds: u64) -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    let before = term(&client).await?;
    let figures = run(
        &cluster,
        1_000,
        seconds,
        Request::Put {
            keys: 10_000,
            bytes: 1024,
        },
    )
    .await?;
    let elections = term(&client).await? - before;
    let name = format!("1,000 clients write 1 KiB ({:.0}/s)", figures.rate);
    report.add("elections", name, elections as f64, "", Target::AtMost(0.0));
    Ok(())
}

/// The term, as told by a node that is up to date.
async fn term(client: &Client) -> anyhow::Result<u64> {
    Ok(client.cluster().status().await?.term)
}

const STALLS: usize = 15;
