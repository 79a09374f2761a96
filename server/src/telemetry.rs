//! What a node tells about itself: structured logs on standard error, and metrics.

use std::{io::IsTerminal, str::FromStr};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, filter::ParseError, util::TryInitError};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

/// How much is logged: `error`, `warn`, `info`, `debug`, `trace`, or rules like
/// `info,holdfast_raft=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(String);

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// Something else logs already.
    #[error("logging is set up already")]
    Logs(#[from] TryInitError),
    /// Something else measures already.
    #[error("metrics are set up already")]
    Metrics(#[from] BuildError),
}

/// Sends log lines to standard error from now on.
pub fn start_logs(level: &LogLevel, format: LogFormat) -> Result<(), TelemetryError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(level.filter())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A reader of the log that went away must not take the node with it.
        .log_internal_errors(false);
    match format {
        LogFormat::Human => logs.with_target(false).finish().try_init()?,
        LogFormat::Json => logs.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// Collects metrics from now on; the handle renders them for Prometheus.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    Ok(handle)
}

impl LogLevel {
    fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl FromStr for LogLevel {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        // A bare level is for Holdfast; consensus narrates each heartbeat, so it stays quiet.
        let bare = text.parse::<tracing::Level>().is_ok();
        let rules = if bare {
            format!("{text},{QUIET}")
        } else {
            text.to_owned()
        };
        EnvFilter::try_new(&rules)?;
        Ok(Self(rules))
    }
}

/// Libraries that narrate what only their authors want to know. Consensus would warn at each
/// heartbeat that a dead node misses; what an operator must know of it, the replica says itself.
const QUIET: &str = "openraft=off,raft_log=error,chunked_wal=error,sled=warn,h2=warn";

/// Upper bounds of the buckets of durations, from 100 µs (a local read) to 10 s (a deadline).
const SECONDS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_rules_are_taken_and_nonsense_is_not() {
        let debug: LogLevel = "debug".parse().unwrap();
        assert_eq!(debug, LogLevel(format!("debug,{QUIET}")));
        assert!("warn,holdfast_raft=trace".parse::<LogLevel>().is_ok());
        assert!("holdfast_raft=loud".parse::<LogLevel>().is_err());
    }
}
