//! The audit log of one node: who revealed what, and who did what to the cluster.
//!
//! The raft log is the record of changes. What leaves no trace there, or should be known even if it
//! came to nothing, is recorded here: a chain of hashes in files of the node's folder
//! (`FORMAT.md`), whose head is anchored in the replicated state, so that whoever owns the disk
//! can destroy the log, but not change it unnoticed.
//!
//! What stays true:
//!
//! * **First recorded, then done.** [`Audit::record`] returns once the record is synced. A reveal or
//!   an admin act that cannot be recorded is refused, and works again as soon as there is room.
//! * **Plain reads and writes never come here**, so a full or slow audit disk costs them nothing.
//! * **Sequences only rise**: through crashes, damage and lost files. What was lost is said in the
//!   log itself, and found by [`verify`] from any node.
//! * **No value, token or key goes in.** Names and reasons do, cut to a bounded size.
//!
//! Where things are: an [`Entry`] becomes a record of the [`format`]; [`journal`] writes
//! [`segment`]s, [`commit`] many records in one sync; [`acts`] is the table of what is recorded and
//! [`edge`] where that happens; [`anchor`] tells the cluster of the head; [`verify`] checks a chain
//! against the anchors, [`read`] gives it out, [`service`] answers.

mod acts;
pub(crate) mod anchor;
mod commit;
mod edge;
mod entry;
mod files;
mod format;
mod journal;
mod read;
mod segment;
pub(crate) mod service;
mod verify;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use holdfast_proto::NodeId;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;

pub(crate) use self::{
    acts::Class,
    edge::{WHY, Who},
    entry::Entry,
    journal::Head,
};
use self::{
    commit::{Board, Job},
    format::Hash,
    journal::{Journal, Retention},
};
use crate::status::Reason;

/// The audit log of one node.
pub(crate) struct Audit {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    board: Board,
    folder: PathBuf,
    denied: Mutex<Denied>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Starts the log of a node in its folder. Whether it can be written is found out at once, but
    /// does not keep the node from starting: see [`Audit::problem`].
    pub(crate) fn start(
        folder: PathBuf,
        node: NodeId,
        now_ms: impl Fn() -> u64 + Send + 'static,
    ) -> std::io::Result<Self> {
        let journal = Journal::new(folder.clone(), node, Retention::default());
        let (jobs, receiver) = mpsc::channel(WAITING);
        let board = Board {
            head: Arc::new(watch::Sender::new(Head::default())),
            problem: Arc::default(),
        };
        let thread = commit::start(journal, receiver, board.clone(), now_ms)?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            board,
            folder,
            denied: Mutex::new(Denied::new(Instant::now())),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Records an act before it is done: returns once the record is on disk. An error means that
    /// the act must not happen, and says so to the caller.
    pub(crate) async fn record(&self, entry: Entry) -> Result<(), Status> {
        let (done, answer) = oneshot::channel();
        let jobs = self.jobs.lock().clone().ok_or_else(crate::host::closing)?;
        let recorded = async {
            if jobs.send(Job::Record { entry, done }).await.is_err() {
                return Err("its writer has ended".into());
            }
            answer
                .await
                .unwrap_or_else(|_| Err("its writer has ended".into()))
        };
        match tokio::time::timeout(PATIENCE, recorded).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(not_recorded(&why)),
            Err(_) => Err(not_recorded("its disk does not answer")),
        }
    }

    /// Records what was not let happen. Nobody waits for it; of a flood of attempts only some are
    /// recorded, with the number of the others.
    pub(crate) fn note_denied(&self, entry: Entry) {
        let Some(unrecorded) = self.denied.lock().let_one(Instant::now()) else {
            return;
        };
        self.note(entry.unrecorded(unrecorded));
    }

    /// Records something if that can be done; nobody waits for it.
    pub(crate) fn note(&self, entry: Entry) {
        if let Some(jobs) = &*self.jobs.lock() {
            // A log that cannot keep up, or cannot be written, has said so itself.
            drop(jobs.try_send(Job::Note(entry)));
        }
    }

    /// The cluster holds an anchor that is further on than this log: goes on after it.
    fn go_on_after(&self, sequence: u64, hash: Hash) {
        if let Some(jobs) = &*self.jobs.lock() {
            drop(jobs.try_send(Job::GoOnAfter { sequence, hash }));
        }
    }

    /// The newest record on disk, as it moves on.
    pub(crate) fn heads(&self) -> watch::Receiver<Head> {
        self.board.head.subscribe()
    }

    /// Why nothing can be recorded right now, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        let problem = self.board.problem.lock();
        problem.as_ref().map(|why| {
            format!("the audit log cannot be written ({why}): reveals and admin acts are refused")
        })
    }

    /// Where its files are.
    fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes what is waiting, and ends.
    pub(crate) async fn end(&self) {
        self.jobs.lock().take();
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        // A disk that hangs must not keep the node from stopping.
        let ended = tokio::task::spawn_blocking(move || thread.join());
        drop(tokio::time::timeout(PATIENCE, ended).await);
    }
}

fn not_recorded(why: &str) -> Status {
    Reason::NotRecorded.status(format!(
        "this node cannot record the act in its audit log ({why}), so it was refused and nothing \
         was done; make room or mend the disk under its folder, or ask another node"
    ))
}

/// Lets denied attempts be recorded at a bounded rate, and counts the others.
struct Denied {
    left: u32,
    since: Instant,
    unrecorded: u64,
}

impl Denied {
    fn new(now: Instant) -> Self {
        Self {
            left: DENIED_A_SECOND,
            since: now,
            unrecorded: 0,
        }
    }

    /// How many were left out before this one; `None`: this one is, too.
    fn let_one(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.left, self.since) = (DENIED_A_SECOND, now);
        }
        if self.left == 0 {
            self.unrecorded += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.unrecorded))
    }
}

/// Denied attempts that are recorded in a second.
const DENIED_A_SECOND: u32 = 16;
/// Records that wait for the disk; more callers wait before they get in line.
const WAITING: usize = 1_024;
/// A disk that takes longer counts as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
