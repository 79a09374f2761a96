//! The log broken on purpose, so that the cluster suites can show that they notice. Compiled with
//! the feature `faults` only, and asked for with `HOLDFAST_BREAK=ack-before-sync`.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Whether writes are acknowledged before anything of them reached the disk.
pub(crate) fn acknowledges_before_sync() -> bool {
    static BROKEN: LazyLock<bool> = LazyLock::new(|| {
        std::env::var("HOLDFAST_BREAK").is_ok_and(|what| what == "ack-before-sync")
    });
    *BROKEN
}

/// Does it after a while, for all who ask meanwhile.
pub(crate) fn later(flush: impl FnOnce() + Send + 'static) {
    static PLANNED: AtomicBool = AtomicBool::new(false);
    if !PLANNED.swap(true, Ordering::SeqCst) {
        std::thread::spawn(move || {
            std::thread::sleep(LATER);
            PLANNED.store(false, Ordering::SeqCst);
            flush();
        });
    }
}

/// How much later the disk gets what was acknowledged.
const LATER: Duration = Duration::from_millis(500);
