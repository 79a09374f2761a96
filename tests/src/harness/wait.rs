//! Waiting for a condition, never for a time.

use std::{
    fmt,
    future::Future,
    time::{Duration, Instant},
};

/// Asks again and again until `condition` gives something, at most for so long.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: impl fmt::Display,
    at_most: Duration,
    mut condition: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + at_most;
    loop {
        if let Some(found) = condition().await {
            return Ok(found);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "waited {at_most:?} in vain for {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same for a condition that can be told at once.
pub async fn until_true(
    what: impl fmt::Display,
    at_most: Duration,
    mut condition: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    until(what, at_most, || {
        std::future::ready(condition().then_some(()))
    })
    .await
}

const PAUSE: Duration = Duration::from_millis(10);
