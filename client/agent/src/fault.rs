//! Dying on purpose, where a test says so: `HOLDFAST_DIE_AT=STEP`. Compiled with the feature `faults`
//! only; without it there is nothing here.

/// Dies as by SIGKILL if this is the step that was asked for.
#[cfg(feature = "faults")]
pub(crate) fn at(step: &str) {
    if std::env::var("HOLDFAST_DIE_AT").is_ok_and(|asked| asked == step) {
        eprintln!("dying on purpose at {step:?}");
        let own = rustix::process::getpid();
        // Nothing runs after this, no destructor and no flush: that is what is tested.
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Nothing.
#[cfg(not(feature = "faults"))]
pub(crate) fn at(_step: &str) {}
