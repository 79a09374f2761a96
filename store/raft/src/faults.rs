//! Consensus broken on purpose, so that the cluster suites can show that they notice. Compiled
//! with the feature `faults` only, and asked for with `HOLDFAST_BREAK`.

use std::sync::LazyLock;

use bytes::Bytes;
use holdfast_core::Command;

static BREAK: LazyLock<String> =
    LazyLock::new(|| std::env::var("HOLDFAST_BREAK").unwrap_or_default());

/// `local-read`: a linearizable read does not ask the leader.
pub(crate) fn reads_locally() -> bool {
    *BREAK == "local-read"
}

/// `no-dedupe`: a command loses the id by which a repeat of it is known.
pub(crate) fn forget_request(command: &Bytes) -> Bytes {
    match Command::decode(command.clone()) {
        Ok(decoded) if *BREAK == "no-dedupe" => Command {
            request: None,
            ..decoded
        }
        .encode(),
        _ => command.clone(),
    }
}
