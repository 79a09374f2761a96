//! The one thread that writes: what comes while it syncs goes into the next sync together.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    entry::Entry,
    format::Hash,
    journal::{Head, Journal, JournalError},
};

/// What the thread is asked for.
pub(super) enum Job {
    /// Record it and say whether it is on disk.
    Record {
        entry: Entry,
        done: oneshot::Sender<Result<(), Refused>>,
    },
    /// Record it if that can be done.
    Note(Entry),
    /// Go on after a record that the cluster knows of.
    GoOnAfter { sequence: u64, hash: Hash },
}

/// Why something was not recorded, in words for whoever asked.
pub(super) type Refused = Arc<str>;

/// What others see of the thread.
#[derive(Clone)]
pub(super) struct Board {
    /// The newest record that is on disk.
    pub(super) head: Arc<watch::Sender<Head>>,
    /// Why the last attempt to record something failed; `None`: it did not.
    pub(super) problem: Arc<Mutex<Option<Refused>>>,
}

/// Starts the thread. It ends when nobody holds a sender of jobs any more.
pub(super) fn start(
    journal: Journal,
    jobs: mpsc::Receiver<Job>,
    board: Board,
    now_ms: impl Fn() -> u64 + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let writer = Writer { journal, board };
    thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || writer.run(jobs, now_ms))
}

struct Writer {
    journal: Journal,
    board: Board,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>, now_ms: impl Fn() -> u64) {
        let opened = self.journal.open(now_ms());
        drop(self.settle(opened));
        let mut batch = Vec::with_capacity(AT_ONCE);
        while jobs.blocking_recv_many(&mut batch, AT_ONCE) > 0 {
            let (mut entries, mut waiting) = (Vec::new(), Vec::new());
            for job in batch.drain(..) {
                match job {
                    Job::Record { entry, done } => {
                        entries.push(entry);
                        waiting.push(done);
                    }
                    Job::Note(entry) => entries.push(entry),
                    Job::GoOnAfter { sequence, hash } => {
                        let went_on = self.journal.go_on_after(sequence, hash, now_ms());
                        drop(self.settle(went_on));
                    }
                }
            }
            if entries.is_empty() {
                continue;
            }
            let appended = self.journal.append(entries, now_ms());
            let answer = self.settle(appended);
            for done in waiting {
                // Who does not wait any more was refused for want of time.
                drop(done.send(answer.clone()));
            }
        }
    }

    /// Tells everybody how it went.
    fn settle(&self, result: Result<(), JournalError>) -> Result<(), Refused> {
        let head = self.journal.head();
        self.board
            .head
            .send_if_modified(|known| std::mem::replace(known, head) != head);
        let refused = result.err().map(|error| Refused::from(error.to_string()));
        let mut problem = self.board.problem.lock();
        match (&*problem, &refused) {
            (None, Some(why)) => {
                tracing::error!(%why, "nothing can be recorded in the audit log: reveals and admin acts are refused");
            }
            (Some(_), None) => tracing::info!("the audit log is written again"),
            _ => {}
        }
        problem.clone_from(&refused);
        refused.map_or(Ok(()), Err)
    }
}

/// Records of one sync.
const AT_ONCE: usize = 256;
