//! Consensus broken on purpose, so that the cluster suites can show that they notice. Compiled
//! with the feature `faults` only, and asked for with `HOLDFAST_BREAK`.

use std::sync::LazyLock;

use bytes::Bytes;
use holdfast_core::{Body, Command};

static BREAK: LazyLock<String> =
    LazyLock::new(|| std::env::var("HOLDFAST_BREAK").unwrap_or_default());

/// How far the wall clock is ahead of the machine's: `HOLDFAST_CLOCK_AHEAD_S`, seconds.
pub(crate) fn clock_ahead_ms() -> i64 {
    static AHEAD_S: LazyLock<i64> = LazyLock::new(|| {
        let ahead = std::env::var("HOLDFAST_CLOCK_AHEAD_S");
        ahead.ok().and_then(|ahead| ahead.parse().ok()).unwrap_or(0)
    });
    AHEAD_S.saturating_mul(1_000)
}

/// `local-read`: a linearizable read does not ask the leader.
pub(crate) fn reads_locally() -> bool {
    *BREAK == "local-read"
}

/// `misapply`: where this is set, a put under `misapply/` is applied with another value than was
/// agreed on.
pub(crate) fn misapply(command: Bytes) -> Bytes {
    if *BREAK != "misapply" {
        return command;
    }
    match Command::decode(command.clone()) {
        Ok(Command {
            request,
            author,
            note,
            body: Body::Put(mut put),
        }) if put.put.key.as_bytes().starts_with(b"misapply/") => {
            put.put.value = Some("misapplied".into());
            let body = Body::Put(put);
            Command {
                request,
                author,
                note,
                body,
            }
            .encode()
        }
        _ => command,
    }
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
