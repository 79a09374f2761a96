//! The SDK against nodes that misbehave on purpose: what a real cluster does too seldom to test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fake;

mod avoiding;
mod caching;
mod config;
mod electing;
mod failover;
mod figment;
mod holding;
mod keeping;
mod mirroring;
mod overriding;
mod reporting;
mod secrets;
mod trust;
mod watching;

use std::time::{Duration, Instant};

/// Waits for a condition, not longer than is fair on a busy machine.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
