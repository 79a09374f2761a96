//! Keeps the past on a thread of its own, so that applying never waits for it.
//!
//! What is on its way to the engine is readable from the queue. The queue is bounded: past
//! [`QUEUE_BYTES`] whoever applies waits for the disk. While the past is put back from an archive,
//! new values go in between. When the engine fails, this run goes on without it: what left memory
//! is in log and archive, and the next start puts it back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use holdfast_core::{Retired, VersionId};
use parking_lot::{Condvar, Mutex, RwLock};

use super::{Past, PastError, PastFault, PastReader, PastRow, PastStatus};

/// Most bytes on their way to the engine.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Most rows given to the engine at one go.
const BATCH_ROWS: usize = 1024;

/// Where the rows of a rebuild come from.
pub(crate) type Refill = Box<dyn Iterator<Item = Result<PastRow, String>> + Send>;

/// What the keeper is asked.
enum Job {
    Keep(Vec<Arc<PastRow>>),
    Forget(Vec<VersionId>),
    /// Everything before this is with the system when it answers.
    Flush(mpsc::SyncSender<Result<(), PastFault>>),
    /// An engine in place of the old one, to be filled with about this many rows.
    Replace {
        engine: Box<dyn Past>,
        refill: Refill,
        rows: u64,
    },
    /// While this many archives are being written, nothing is dropped.
    Pin,
    Unpin,
    End,
}

/// The past; clones share it.
#[derive(Clone)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    room: Condvar,
    reader: RwLock<Box<dyn PastReader>>,
    status: RwLock<PastStatus>,
}

#[derive(Default)]
struct Queue {
    rows: BTreeMap<VersionId, Arc<PastRow>>,
    bytes: usize,
    ended: bool,
}

impl Keeper {
    /// Starts to keep. With a refill, values are put back first.
    pub(crate) fn start(
        engine: Box<dyn Past>,
        refill: Option<(Refill, u64)>,
    ) -> std::io::Result<Self> {
        let status = match refill {
            Some(_) => PastStatus::Rebuilding { percent: 0 },
            None => PastStatus::Ready,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            room: Condvar::new(),
            reader: RwLock::new(engine.reader()),
            status: RwLock::new(status),
        });
        let (jobs, received) = mpsc::channel();
        let work = Work {
            shared: Arc::clone(&shared),
            engine,
            received,
            pinned: 0,
            to_forget: Vec::new(),
            forgotten: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new()
            .name("past".to_owned())
            .spawn(move || work.run(refill))?;
        Ok(Self {
            shared,
            jobs,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Takes values that left memory.
    pub(crate) fn keep(&self, retired: Vec<Retired>) {
        if retired.is_empty() {
            return;
        }
        let rows: Vec<_> = retired
            .into_iter()
            .map(|value| Arc::new(PastRow::from(value)))
            .collect();
        let mut queue = self.shared.queue.lock();
        while queue.bytes > QUEUE_BYTES && !queue.ended {
            self.shared.room.wait(&mut queue);
        }
        for row in &rows {
            queue.bytes += cost(row);
            queue.rows.insert(row.id.clone(), Arc::clone(row));
        }
        drop(queue);
        self.send(Job::Keep(rows));
    }

    /// Drops values that nobody may ask for any more.
    pub(crate) fn forget(&self, ids: Vec<VersionId>) {
        if !ids.is_empty() {
            self.send(Job::Forget(ids));
        }
    }

    /// Reads a value. Blocks.
    pub(crate) fn row(&self, id: &VersionId) -> Result<PastRow, PastError> {
        if let Some(row) = self.shared.queue.lock().rows.get(id) {
            return Ok(PastRow::clone(row));
        }
        let found = self.shared.reader.read().row(id);
        match found {
            Ok(Some(row)) => Ok(row),
            Ok(None) => match self.status() {
                PastStatus::Rebuilding { percent } => Err(PastError::Rebuilding { percent }),
                _ => Err(PastError::Missing),
            },
            Err(fault) => {
                self.shared.fail(&fault);
                Err(PastError::Damaged)
            }
        }
    }

    pub(crate) fn status(&self) -> PastStatus {
        self.shared.status.read().clone()
    }

    /// Waits until all that was kept so far outlives the process.
    pub(crate) fn flush(&self) -> Result<(), PastFault> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.send(Job::Flush(answer));
        answered
            .recv()
            .unwrap_or_else(|_| Err(PastFault("the past has ended".to_owned())))
    }

    /// Starts anew with another engine, filled from `refill`.
    pub(crate) fn replace(&self, engine: Box<dyn Past>, refill: Refill, rows: u64) {
        *self.shared.status.write() = PastStatus::Rebuilding { percent: 0 };
        self.send(Job::Replace {
            engine,
            refill,
            rows,
        });
    }

    /// Nothing is dropped until the pin is.
    pub(crate) fn pin(&self) -> Pin {
        self.send(Job::Pin);
        Pin(self.clone())
    }

    /// Ends, with everything flushed.
    pub(crate) fn end(&self) {
        self.send(Job::End);
        if let Some(thread) = self.thread.lock().take() {
            // It catches the engine's panics, so there is nothing to learn from how it ended.
            drop(thread.join());
        }
    }

    fn send(&self, job: Job) {
        // After the end nothing is kept, and nothing can be asked for.
        drop(self.jobs.send(job));
    }
}

/// Keeps everything in the past from being dropped.
pub(crate) struct Pin(Keeper);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.send(Job::Unpin);
    }
}

impl Shared {
    fn fail(&self, fault: &PastFault) {
        let mut status = self.status.write();
        if !matches!(*status, PastStatus::Failed { .. }) {
            tracing::warn!(
                why = %fault,
                "older values cannot be read on this node; its next start puts them back"
            );
            *status = PastStatus::Failed {
                why: fault.to_string(),
            };
        }
    }

    fn kept(&self, rows: &[Arc<PastRow>]) {
        let mut queue = self.queue.lock();
        for row in rows {
            queue.bytes = queue.bytes.saturating_sub(cost(row));
            // A later job may hold the same version again: keep that one's copy.
            if queue
                .rows
                .get(&row.id)
                .is_some_and(|queued| Arc::ptr_eq(queued, row))
            {
                queue.rows.remove(&row.id);
            }
        }
        self.room.notify_all();
    }
}

fn cost(row: &PastRow) -> usize {
    row.id.key.as_bytes().len() + row.value.size() + 128
}

/// What the thread works with.
struct Work {
    shared: Arc<Shared>,
    engine: Box<dyn Past>,
    received: mpsc::Receiver<Job>,
    pinned: usize,
    to_forget: Vec<VersionId>,
    /// Forgotten while being put back: not to be put back.
    forgotten: BTreeSet<VersionId>,
}

impl Work {
    fn run(mut self, refill: Option<(Refill, u64)>) {
        let mut going = refill.is_none_or(|(refill, rows)| self.refill(refill, rows));
        while going && let Ok(job) = self.received.recv() {
            going = self.handle(job);
        }
        if let Err(fault) = self.engine.flush() {
            self.shared.fail(&fault);
        }
        self.shared.queue.lock().ended = true;
        self.shared.room.notify_all();
    }

    /// False: it is to end.
    fn handle(&mut self, job: Job) -> bool {
        match job {
            Job::Keep(rows) => self.keep(&rows),
            Job::Forget(ids) => self.forget(ids),
            Job::Flush(answer) => {
                let outcome = match self.failure() {
                    Some(fault) => Err(fault),
                    None => self.engine.flush(),
                };
                drop(answer.send(outcome));
            }
            Job::Replace {
                engine,
                refill,
                rows,
            } => {
                self.engine = engine;
                *self.shared.reader.write() = self.engine.reader();
                return self.refill(refill, rows);
            }
            Job::Pin => self.pinned += 1,
            Job::Unpin => {
                self.pinned = self.pinned.saturating_sub(1);
                let ids = std::mem::take(&mut self.to_forget);
                self.forget(ids);
            }
            Job::End => return false,
        }
        true
    }

    fn failure(&self) -> Option<PastFault> {
        match &*self.shared.status.read() {
            PastStatus::Failed { why } => Some(PastFault(why.clone())),
            PastStatus::Ready | PastStatus::Rebuilding { .. } => None,
        }
    }

    fn keep(&mut self, rows: &[Arc<PastRow>]) {
        if self.failure().is_none() {
            let owned: Vec<PastRow> = rows.iter().map(|row| PastRow::clone(row)).collect();
            for batch in owned.chunks(BATCH_ROWS) {
                if let Err(fault) = self.engine.keep(batch) {
                    self.shared.fail(&fault);
                    break;
                }
            }
        }
        self.shared.kept(rows);
    }

    fn forget(&mut self, ids: Vec<VersionId>) {
        if matches!(*self.shared.status.read(), PastStatus::Rebuilding { .. }) {
            self.forgotten.extend(ids.iter().cloned());
        }
        if self.pinned > 0 {
            self.to_forget.extend(ids);
        } else if !ids.is_empty()
            && self.failure().is_none()
            && let Err(fault) = self.engine.forget(&ids)
        {
            self.shared.fail(&fault);
        }
    }

    /// Puts values back, and keeps new ones meanwhile. False: it is to end.
    fn refill(&mut self, refill: Refill, expected: u64) -> bool {
        let mut done: u64 = 0;
        let mut batch = Vec::new();
        for row in refill {
            match row {
                Ok(row) if self.forgotten.contains(&row.id) => {}
                Ok(row) => batch.push(row),
                Err(why) => {
                    self.shared.fail(&PastFault(why));
                    return true;
                }
            }
            done += 1;
            if batch.len() == BATCH_ROWS {
                if let Err(fault) = self.engine.keep(&batch) {
                    self.shared.fail(&fault);
                    return true;
                }
                batch.clear();
                let percent = (done * 100 / expected.max(1)).min(99) as u8;
                *self.shared.status.write() = PastStatus::Rebuilding { percent };
                // The end, or another archive to fill from: this one is left half done.
                if let Some(job) = self.meanwhile() {
                    return self.handle(job);
                }
            }
        }
        if let Err(fault) = self.engine.keep(&batch) {
            self.shared.fail(&fault);
            return true;
        }
        self.forgotten.clear();
        *self.shared.status.write() = PastStatus::Ready;
        tracing::info!(values = done, "older values are back");
        true
    }

    /// Does what came in; a job that ends the rebuild is given back.
    fn meanwhile(&mut self) -> Option<Job> {
        while let Ok(job) = self.received.try_recv() {
            match job {
                Job::Replace { .. } | Job::End => return Some(job),
                job => {
                    self.handle(job);
                }
            }
        }
        None
    }
}
