//! How a child of `kvd dev` and `kvd demo` notices that its parent is gone, however it went.
//!
//! The parent holds the other end of the child's standard input, so the end of that input is the end
//! of the parent: no signal handler has to run, and it works on any system. On Linux the kernel is
//! asked as well, because it also ends a child that was stopped with SIGSTOP.

use std::{io, io::Read, process};

/// Ends this process when its parent ends. Call it before anything else is started.
pub(crate) fn follow_parent() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(|| {
            let mut input = io::stdin().lock();
            let mut ignored = [0; 64];
            while !matches!(input.read(&mut ignored), Ok(0) | Err(_)) {}
            // Nobody is left who would want an orderly end, and what was acknowledged is synced.
            process::exit(1);
        })?;
    Ok(())
}
