//! The log broken on purpose, so that the cluster suites can show that they notice. Compiled with
//! the feature `faults` only, and asked for with `HOLDFAST_BREAK=ack-before-sync`.

use std::{sync::LazyLock, time::Duration};

/// Whether writes are acknowledged before anything of them reached the disk.
pub(crate) fn acknowledges_before_sync() -> bool {
    static BROKEN: LazyLock<bool> =
        LazyLock::new(|| std::env::var("HOLDFAST_BREAK").is_ok_and(|what| what == "ack-before-sync"));
    *BROKEN
}

/// How much later the disk gets them.
pub(crate) const LATER: Duration = Duration::from_millis(500);
