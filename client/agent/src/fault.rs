//! Dying on purpose, where a test says so: `HOLDFAST_DIE_AT=STEP`, or `STEP:2` for the second time.
//! Compiled with the feature `faults` only; without it there is nothing here.

/// Dies as by SIGKILL if this is the step that was asked for.
#[cfg(feature = "faults")]
pub(crate) fn at(step: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static TIMES: AtomicU32 = AtomicU32::new(0);
    let Ok(asked) = std::env::var("HOLDFAST_DIE_AT") else {
        return;
    };
    let (name, time) = asked.split_once(':').unwrap_or((&asked, "1"));
    if name != step || TIMES.fetch_add(1, Ordering::SeqCst) + 1 != time.parse().unwrap_or(1) {
        return;
    }
    eprintln!("dying on purpose at {step:?}");
    let own = rustix::process::getpid();
    // Nothing runs after this, no destructor and no flush: that is what is tested.
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// Nothing.
#[cfg(not(feature = "faults"))]
pub(crate) fn at(_step: &str) {}
