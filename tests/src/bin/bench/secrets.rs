//! Secrets beside plain values: sealed puts, reveals, and how fast a rotation seals data keys anew.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_client::{Client, Consistency};
use holdfast_tests::{
    escrow,
    harness::{Cluster, wait},
};

use crate::{
    fill,
    report::{Report, Target},
    throughput::{KEYS, Request, run},
};

/// Secrets of 64 B, the length of a long password.
pub(crate) async fn measure(report: &mut Report, seconds: u64) -> anyhow::Result<()> {
    report.title("Secrets of 64 B");
    let cluster = Cluster::start().await?;
    let client = cluster.client().await?;
    escrow::prove(&cluster.context_file(), &cluster.folder().join("shares")).await?;
    fill::fill(&client, 0..KEYS, SECRET_BYTES).await?;
    put_secrets(&client, 0..KEYS).await?;
    let requests = [
        (
            1,
            "gets of plain values",
            Request::Get(Consistency::Linearizable),
        ),
        (1, "reveals", Request::Reveal),
        (64, "reveals", Request::Reveal),
        (
            64,
            "puts of plain values",
            Request::Put {
                keys: KEYS,
                bytes: SECRET_BYTES,
            },
        ),
        (1, "puts", Request::PutSecret),
        (64, "puts", Request::PutSecret),
    ];
    for (clients, what, request) in requests {
        let figures = run(&cluster, clients, seconds, request).await?;
        let name = format!("{clients} clients, {what}");
        figures.add(report, "secrets", &name, Target::None, Target::None);
    }
    rotate(report, &client).await
}

/// Puts one secret for each number, some at a time.
async fn put_secrets(client: &Client, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    let puts = numbers.map(|number| async move {
        let secret = vec![0x5e; SECRET_BYTES];
        client
            .secrets()
            .put(fill::secret(number).as_str(), secret)
            .await
    });
    futures::stream::iter(puts)
        .buffer_unordered(64)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(())
}

/// From the new epoch's beginning until no data key is under an older one.
async fn rotate(report: &mut Report, client: &Client) -> anyhow::Result<()> {
    let began = Instant::now();
    client.keyring().rotate("a measurement").await?;
    let status = wait::until("the rotation to end", ROTATION, || async {
        let status = client.keyring().status().await.ok()?;
        (!status.is_rotating()).then_some(status)
    })
    .await?;
    let (count, took) = (status.secrets as f64, began.elapsed().as_secs_f64());
    report.add("secrets", "data keys there are", count, "", Target::None);
    report.add("secrets", "rewrapped", count / took, "/s", Target::None);
    Ok(())
}

const SECRET_BYTES: usize = 64;
const ROTATION: Duration = Duration::from_secs(600);
