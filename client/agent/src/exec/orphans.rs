//! Children that this process did not start.
//!
//! The first process of a container is given those whose parents have ended. It must wait for them, or
//! they stay in the table of processes for good.

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{self, SignalKind};

/// Waits for them, where this is the first process.
pub(crate) struct Orphans(Option<unix::Signal>);

impl Orphans {
    pub(crate) fn new() -> Self {
        let is_first = getpid().is_init();
        let ended = is_first.then(|| unix::signal(SignalKind::child()).ok());
        Self(ended.flatten())
    }

    /// Reaps those that have ended, whenever one has. `own` is awaited by whoever started it.
    pub(crate) async fn reap(&mut self, own: Option<Pid>) {
        let Some(ended) = &mut self.0 else {
            return std::future::pending().await;
        };
        while ended.recv().await.is_some() {
            for child in children().filter(|child| Some(*child) != own) {
                // One that still runs stays.
                let _ = waitpid(Some(child), WaitOptions::NOHANG);
            }
        }
    }
}

fn children() -> impl Iterator<Item = Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = threads.filter_map(|thread| {
        let path = thread.ok()?.path().join("children");
        std::fs::read_to_string(path).ok()
    });
    let pids: Vec<Pid> = lists
        .flat_map(|list| {
            let pids = list.split_whitespace().map(str::parse);
            let pids = pids.filter_map(|pid| Pid::from_raw(pid.ok()?));
            pids.collect::<Vec<_>>()
        })
        .collect();
    pids.into_iter()
}
