//! Logs, on standard error. `HOLDFAST_LOG` says how much, as `kvd` has it.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts them, once.
pub(crate) fn start() {
    let rules = std::env::var("HOLDFAST_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(rules).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Who uses this as a library may have logs of its own.
    let _ = logs.try_init();
}
