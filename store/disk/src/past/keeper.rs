//! Keeps the past on a thread of its own, so that applying never waits for it.
//!
//! What is on its way to the engine is readable from the queue. It is gathered there, because an
//! engine takes a thousand rows at little more than the price of one; nothing is lost by that, since
//! log and archive hold it too. The queue is bounded: past [`QUEUE_BYTES`] whoever applies waits for
//! the disk. While the past is put back from an archive, new values go in between. At every start
//! the archive's values are looked up; what is missing is put back, and an engine that is damaged is
//! replaced. One that fails later is replaced as well, while the node runs, by a new one that is
//! filled from archive and log; where that cannot be done it is tried again, ever more rarely.

mod work;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use holdfast_core::{Digest, Retired, VersionId};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use self::work::Work;
use super::{Past, PastError, PastFault, PastReader, PastRow, PastStatus, walk::Walk};

/// Most bytes on their way to the engine.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// With so many bytes gathered, they are given to the engine at once …
const GATHERED_BYTES: usize = 2 * 1024 * 1024;
/// … and with fewer after so long.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// Most rows given to the engine, and struck off afterwards, at one go.
const BATCH_ROWS: usize = 1024;

/// Where the rows of a rebuild come from.
pub(crate) type Refill = Box<dyn Iterator<Item = Result<PastRow, String>> + Send>;

/// A new, empty engine, and the rows to fill it with, should the old one turn out to be damaged.
pub(crate) type Anew = Box<dyn FnOnce(&PastFault) -> (Box<dyn Past>, Refill) + Send>;

/// A new, empty engine, and the rows to fill it with.
pub(crate) struct Fresh {
    pub(crate) engine: Box<dyn Past>,
    pub(crate) rows: Refill,
    /// About how many.
    pub(crate) expected: u64,
}

/// Gives a fresh engine in place of one that failed. It is told how many engines came in by
/// [`Keeper::replace`], and gives `None` if one more is on its way.
pub(crate) type Heal = Box<dyn FnMut(u64) -> Result<Option<Fresh>, PastFault> + Send>;

/// What the keeper begins with.
pub(crate) enum Beginning {
    /// Nothing to put back.
    Whole,
    /// About this many rows are to be put back.
    Refill { rows: Refill, expected: u64 },
    /// The engine should hold these rows.
    Check {
        rows: Refill,
        expected: u64,
        anew: Anew,
    },
}

/// What the keeper is asked.
enum Job {
    /// Something is in the queue: it may be gathered for a while.
    Soon,
    /// Much is in the queue.
    Now,
    /// Everything before this is with the system when it answers.
    Flush(mpsc::SyncSender<Result<(), PastFault>>),
    /// The engine failed under a reader.
    Failed,
    /// It is time to put a fresh engine in its place.
    Heal,
    /// An engine in place of the old one, to be filled with about this many rows.
    Replace {
        engine: Box<dyn Past>,
        refill: Refill,
        rows: u64,
    },
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
    /// It failed, and is not back yet.
    in_trouble: AtomicBool,
    /// Called when the engine is not to be trusted any more.
    on_failure: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    /// While the engine is checked, or the log read again, nothing leaves the queue, and nobody waits for room.
    checking: bool,
    /// What is on its way, also what the thread has taken, as far as it was there when somebody last
    /// looked for a version.
    rows: HashMap<VersionId, Arc<PastRow>>,
    /// What came since then, in order. Mostly nobody looks before it has left.
    since: VecDeque<Arc<PastRow>>,
    /// What the thread has not taken yet.
    to_keep: Vec<Arc<PastRow>>,
    to_forget: Vec<VersionId>,
    /// While archives are being written, nothing is forgotten.
    pins: usize,
    /// The thread knows that something is here.
    is_noted: bool,
    /// Of `to_keep`. Not of all that is on its way: what comes while the thread writes must reach
    /// the mark anew, or it would lie here until the queue is full and applying waits.
    gathered: usize,
    bytes: usize,
    ended: bool,
}

impl Queue {
    /// The row of a version that is on its way.
    fn find(&mut self, id: &VersionId) -> Option<Arc<PastRow>> {
        self.catch_up();
        self.rows.get(id).cloned()
    }

    /// A row has arrived. Rows do so in the order in which they came.
    fn strike(&mut self, row: &Arc<PastRow>) {
        if let Some(oldest) = self.since.front()
            && Arc::ptr_eq(oldest, row)
        {
            self.since.pop_front();
            return;
        }
        // A later job may hold the same version again: keep that one's copy.
        if let Entry::Occupied(queued) = self.rows.entry(row.id.clone())
            && Arc::ptr_eq(queued.get(), row)
        {
            queued.remove();
        }
    }

    fn catch_up(&mut self) {
        let since = self.since.drain(..);
        self.rows.extend(since.map(|row| (row.id.clone(), row)));
    }
}

impl Keeper {
    /// Starts to keep.
    pub(crate) fn start(
        engine: Box<dyn Past>,
        beginning: Beginning,
        heal: Heal,
        on_failure: Box<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Self> {
        let status = match beginning {
            Beginning::Whole => PastStatus::Ready,
            _ => PastStatus::Rebuilding { percent: 0 },
        };
        let checking = matches!(beginning, Beginning::Check { .. });
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                checking,
                ..Queue::default()
            }),
            room: Condvar::new(),
            reader: RwLock::new(engine.reader()),
            status: RwLock::new(status),
            in_trouble: AtomicBool::new(false),
            on_failure,
        });
        let (jobs, received) = mpsc::channel();
        let work = Work::new(Arc::clone(&shared), engine, received, heal);
        let thread = std::thread::Builder::new()
            .name("past".to_owned())
            .spawn(move || work.run(beginning))?;
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
        while queue.bytes > QUEUE_BYTES && !queue.ended && !queue.checking {
            self.shared.room.wait(&mut queue);
        }
        let before = queue.gathered;
        for row in &rows {
            queue.bytes += cost(row);
            queue.gathered += cost(row);
        }
        queue.since.extend(rows.iter().cloned());
        let is_much = before < GATHERED_BYTES && queue.gathered >= GATHERED_BYTES;
        queue.to_keep.extend(rows);
        self.note(queue, is_much);
    }

    /// Drops values that nobody may ask for any more.
    pub(crate) fn forget(&self, ids: Vec<VersionId>) {
        if !ids.is_empty() {
            let mut queue = self.shared.queue.lock();
            queue.to_forget.extend(ids);
            self.note(queue, false);
        }
    }

    /// Reads the value of a version, which must be the one that the state knows by this digest.
    /// Blocks.
    pub(crate) fn row(&self, id: &VersionId, digest: Digest) -> Result<PastRow, PastError> {
        let queued = self.shared.queue.lock().find(id);
        let (found, status) = match queued {
            Some(row) => (Ok(Some(PastRow::clone(&row))), PastStatus::Ready),
            None => {
                // Held while reading: the engine is not exchanged meanwhile, so that an empty one
                // is never taken for one that lost the row.
                let status = self.shared.status.read();
                (self.shared.reader.read().row(id), status.clone())
            }
        };
        match found {
            Ok(Some(row)) if row.digest != digest => {
                let why = "it holds another value than the state knows of";
                self.fail(&PastFault(why.to_owned()));
                Err(PastError::Damaged)
            }
            Ok(Some(row)) => Ok(row),
            Ok(None) => match status {
                PastStatus::Ready => Err(PastError::Missing),
                PastStatus::Rebuilding { percent } => Err(PastError::Rebuilding { percent }),
                PastStatus::Failed { .. } => Err(PastError::Rebuilding { percent: 0 }),
            },
            Err(fault) => {
                self.fail(&fault);
                Err(PastError::Damaged)
            }
        }
    }

    /// As [`Keeper::row`], encoded, for whoever reads many in about the order in which they were kept.
    pub(crate) fn next_row(
        &self,
        walk: &mut Walk,
        id: &VersionId,
        digest: Digest,
    ) -> Result<Bytes, PastError> {
        if let Some(encoded) = walk.take(id, digest) {
            return Ok(encoded);
        }
        let row = self.row(id, digest)?;
        walk.look_ahead(&**self.shared.reader.read(), id);
        Ok(row.encode().into())
    }

    fn fail(&self, fault: &PastFault) {
        if self.shared.fail(fault) {
            self.send(Job::Failed);
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
        self.shared.queue.lock().pins += 1;
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

    /// Tells the thread, unless it knows.
    fn note(&self, mut queue: MutexGuard<'_, Queue>, is_much: bool) {
        let is_new = !std::mem::replace(&mut queue.is_noted, true);
        drop(queue);
        if is_much {
            self.send(Job::Now);
        } else if is_new {
            self.send(Job::Soon);
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
        let mut queue = self.0.shared.queue.lock();
        queue.pins = queue.pins.saturating_sub(1);
        if queue.pins == 0 && !queue.to_forget.is_empty() {
            self.0.note(queue, false);
        }
    }
}

impl Shared {
    /// `true`: it had not failed before.
    fn fail(&self, fault: &PastFault) -> bool {
        {
            let mut status = self.status.write();
            if matches!(*status, PastStatus::Failed { .. }) {
                return false;
            }
            *status = PastStatus::Failed {
                why: fault.to_string(),
            };
        }
        if self.in_trouble.swap(true, Ordering::Relaxed) {
            tracing::debug!(why = %fault, "older values could not be put back yet");
        } else {
            tracing::warn!(
                why = %fault,
                "older values cannot be read on this node; they are put back from archive and log"
            );
        }
        (self.on_failure)();
        true
    }

    /// The engine was given up: what leaves memory from now on is for its successor.
    fn begin_again(&self) {
        self.queue.lock().checking = true;
        self.room.notify_all();
        *self.status.write() = PastStatus::Rebuilding { percent: 0 };
    }

    /// A rebuild goes on, or ends; a failure stays, and then it is `false`.
    fn progress(&self, to: PastStatus) -> bool {
        let mut status = self.status.write();
        let goes_on = !matches!(*status, PastStatus::Failed { .. });
        if goes_on {
            *status = to;
        }
        goes_on
    }

    /// What is to be kept, and what may be forgotten now.
    fn take(&self) -> (Vec<Arc<PastRow>>, Vec<VersionId>) {
        let mut queue = self.queue.lock();
        queue.is_noted = false;
        queue.gathered = 0;
        let ids = match queue.pins {
            0 => std::mem::take(&mut queue.to_forget),
            _ => Vec::new(),
        };
        (std::mem::take(&mut queue.to_keep), ids)
    }

    fn kept(&self, rows: &[Arc<PastRow>]) {
        let mut queue = self.queue.lock();
        for batch in rows.chunks(BATCH_ROWS) {
            for row in batch {
                queue.bytes = queue.bytes.saturating_sub(cost(row));
                queue.strike(row);
            }
            self.room.notify_all();
            // Whoever applies has a turn in between.
            MutexGuard::bump(&mut queue);
        }
    }
}

fn cost(row: &PastRow) -> usize {
    row.id.key.as_bytes().len() + row.value.size() + 128
}

#[cfg(test)]
mod tests {
    use holdfast_proto::{Key, Revision, Value};

    use super::*;

    fn row(revision: u64) -> Arc<PastRow> {
        let value = Value::from("value");
        Arc::new(PastRow {
            id: VersionId {
                key: Key::try_from("key").unwrap(),
                revision: Revision::new(revision).unwrap(),
            },
            digest: Digest::of(&value),
            value,
        })
    }

    #[test]
    fn what_is_on_its_way_is_found_until_it_has_arrived() {
        // The last is the first one's version again.
        let rows = [row(1), row(2), row(1)];
        let finds = |queue: &mut Queue, row: &Arc<PastRow>| {
            let found = queue.find(&row.id);
            found.is_some_and(|found| Arc::ptr_eq(&found, row))
        };
        // Somebody looks once so many are there, or nobody does.
        for looks_at in 0..=rows.len() {
            let mut queue = Queue::default();
            for (count, row) in rows.iter().enumerate() {
                queue.since.push_back(Arc::clone(row));
                assert!(count + 1 != looks_at || finds(&mut queue, row));
            }
            queue.strike(&rows[0]);
            if looks_at > 0 {
                assert!(finds(&mut queue, &rows[1]) && finds(&mut queue, &rows[2]));
            }
            queue.strike(&rows[1]);
            queue.strike(&rows[2]);
            assert!(
                queue.rows.is_empty() && queue.since.is_empty(),
                "{looks_at}"
            );
        }
    }
}
