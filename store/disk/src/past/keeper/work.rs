//! The thread that the past is kept on.

use std::{
    borrow::Cow,
    collections::{BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use holdfast_core::VersionId;

use super::{Anew, BATCH_ROWS, Beginning, GATHERED_FOR, Heal, Job, Refill, Shared};
use crate::past::{Past, PastFault, PastRow, PastStatus, memory::MemoryPast, walk::Walk};

/// After a failure that comes soon after another, a fresh engine is tried so much later …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … and at most so much, twice as late each time.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What the thread works with.
pub(super) struct Work {
    shared: Arc<Shared>,
    engine: Box<dyn Past>,
    received: mpsc::Receiver<Job>,
    /// Forgotten while being put back: not to be put back.
    forgotten: BTreeSet<VersionId>,
    /// When what has gathered is written.
    due: Option<Instant>,
    heal: Heal,
    /// How many engines came in whole, from outside.
    replaced: u64,
    /// When a fresh engine is tried, after a failure.
    heal_at: Option<Instant>,
    /// How long after a failure that is.
    pause: Duration,
    healed: Option<Instant>,
}

impl Work {
    pub(super) fn new(
        shared: Arc<Shared>,
        engine: Box<dyn Past>,
        received: mpsc::Receiver<Job>,
        heal: Heal,
    ) -> Self {
        Self {
            shared,
            engine,
            received,
            forgotten: BTreeSet::new(),
            due: None,
            heal,
            replaced: 0,
            heal_at: None,
            pause: Duration::ZERO,
            healed: None,
        }
    }

    pub(super) fn run(mut self, beginning: Beginning) {
        let mut going = match beginning {
            Beginning::Whole => true,
            Beginning::Refill { rows, expected } => self.refill(rows, expected),
            Beginning::Check {
                rows,
                expected,
                anew,
            } => self.check(rows, expected, anew),
        };
        while going && let Some(job) = self.next() {
            going = self.handle(job);
        }
        self.write();
        if let Err(fault) = self.engine.flush() {
            self.shared.fail(&fault);
        }
        self.shared.queue.lock().ended = true;
        self.shared.room.notify_all();
    }

    /// The next job; meanwhile what has been gathered for long enough is written.
    fn next(&mut self) -> Option<Job> {
        loop {
            self.plan_to_heal();
            let now = Instant::now();
            if self.heal_at.is_some_and(|at| at <= now) {
                return Some(Job::Heal);
            }
            let Some(wake) = self.due.into_iter().chain(self.heal_at).min() else {
                return self.received.recv().ok();
            };
            match self
                .received
                .recv_timeout(wake.saturating_duration_since(now))
            {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if self.due.is_some_and(|due| due <= Instant::now()) {
                        self.write();
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// False: it is to end.
    fn handle(&mut self, job: Job) -> bool {
        match job {
            Job::Soon => {
                self.due
                    .get_or_insert_with(|| Instant::now() + GATHERED_FOR);
            }
            Job::Now => self.write(),
            // Whoever asks for the next job plans what follows from it.
            Job::Failed => {}
            Job::Heal => return self.heal(),
            Job::Flush(answer) => {
                self.write();
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
                self.replaced += 1;
                self.heal_at = None;
                self.exchange(engine);
                return self.refill(refill, rows);
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

    /// Gives the engine what has gathered.
    fn write(&mut self) {
        self.due = None;
        let (rows, ids) = self.shared.take();
        let outcome = match self.failure() {
            Some(_) => Ok(()),
            None => without(&rows, &ids)
                .chunks(BATCH_ROWS)
                .try_for_each(|batch| self.engine.keep(batch))
                .and_then(|()| match &ids[..] {
                    [] => Ok(()),
                    ids => self.engine.forget(ids),
                }),
        };
        if let Err(fault) = outcome {
            self.shared.fail(&fault);
        }
        self.shared.kept(&rows);
        if matches!(*self.shared.status.read(), PastStatus::Rebuilding { .. }) {
            self.forgotten.extend(ids);
        }
    }

    /// Puts values back, and keeps new ones meanwhile. False: it is to end.
    fn refill(&mut self, refill: Refill, expected: u64) -> bool {
        let mut done: u64 = 0;
        let mut batch = Vec::new();
        for row in refill {
            match row {
                Ok(row) if self.forgotten.contains(&row.id) => {}
                Ok(row) => batch.push(Arc::new(row)),
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
                let percent = percent(done, expected);
                self.shared.progress(PastStatus::Rebuilding { percent });
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
        if self.shared.progress(PastStatus::Ready) {
            self.shared.in_trouble.store(false, Ordering::Relaxed);
            self.healed = Some(Instant::now());
            tracing::info!(values = done, "older values are back");
        }
        true
    }

    /// After a failure: when a fresh engine is tried. At once, if the last one held for long.
    fn plan_to_heal(&mut self) {
        if self.heal_at.is_some() || self.failure().is_none() {
            return;
        }
        if self
            .healed
            .is_some_and(|healed| healed.elapsed() > LONGEST_PAUSE)
        {
            self.pause = Duration::ZERO;
        }
        self.heal_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }

    /// Puts a fresh engine in place of one that failed, and fills it. False: it is to end.
    fn heal(&mut self) -> bool {
        self.heal_at = None;
        self.shared.begin_again();
        // Let go of first: the fresh one may be of the same kind, in the same place.
        self.exchange(Box::new(MemoryPast::default()));
        let fresh = (self.heal)(self.replaced);
        self.shared.queue.lock().checking = false;
        match fresh {
            Ok(Some(fresh)) => {
                self.exchange(fresh.engine);
                self.refill(fresh.rows, fresh.expected)
            }
            // Comes with its rows: the old ones are nothing to it.
            Ok(None) => true,
            Err(fault) => {
                self.shared.fail(&fault);
                true
            }
        }
    }

    /// Another engine, for readers too. The old one may panic even when it is dropped.
    fn exchange(&mut self, engine: Box<dyn Past>) {
        let reader = std::mem::replace(&mut *self.shared.reader.write(), engine.reader());
        let old = std::mem::replace(&mut self.engine, engine);
        if catch_unwind(AssertUnwindSafe(|| drop((reader, old)))).is_err() {
            tracing::debug!("the old past did not end well");
        }
    }

    /// Looks for every row, and puts back what is missing. An engine that cannot be read is replaced.
    /// What came in meanwhile waits: it must be in whichever engine stays. False: it is to end.
    fn check(&mut self, rows: Refill, expected: u64, anew: Anew) -> bool {
        let mut held = VecDeque::new();
        let mut last = None;
        let outcome = self.compare(rows, expected, &mut held, &mut last);
        let rows = match outcome {
            Ok(0) => None,
            Ok(missing) => {
                tracing::warn!(
                    values = missing,
                    "older values were missing and are put back"
                );
                None
            }
            Err(fault) => {
                let (engine, rows) = anew(&fault);
                self.exchange(engine);
                *self.shared.status.write() = PastStatus::Rebuilding { percent: 0 };
                Some(rows)
            }
        };
        self.shared.queue.lock().checking = false;
        self.write();
        for job in held {
            self.handle(job);
        }
        if let Some(job) = last {
            return self.handle(job);
        }
        if let Some(rows) = rows {
            return self.refill(rows, expected);
        }
        self.forgotten.clear();
        self.shared.progress(PastStatus::Ready);
        true
    }

    /// How many rows were missing.
    fn compare(
        &mut self,
        rows: Refill,
        expected: u64,
        held: &mut VecDeque<Job>,
        last: &mut Option<Job>,
    ) -> Result<u64, PastFault> {
        let reader = self.engine.reader();
        let mut walk = Walk::default();
        let mut missing = 0;
        for (done, row) in rows.enumerate() {
            let row = row.map_err(PastFault)?;
            if walk.take(&row.id, row.digest).is_none() {
                let kept = reader.row(&row.id)?;
                walk.look_ahead(&*reader, &row.id);
                if kept.is_none_or(|kept| kept.digest != row.digest) {
                    missing += 1;
                    self.engine.keep(&[Arc::new(row)])?;
                }
            }
            if !done.is_multiple_of(BATCH_ROWS) {
                continue;
            }
            let percent = percent(done as u64, expected);
            self.shared.progress(PastStatus::Rebuilding { percent });
            while let Ok(job) = self.received.try_recv() {
                match job {
                    Job::Replace { .. } | Job::End => {
                        *last = Some(job);
                        return Ok(missing);
                    }
                    job => held.push_back(job),
                }
            }
        }
        Ok(missing)
    }

    /// Does what came in; a job that ends the rebuild is given back.
    fn meanwhile(&mut self) -> Option<Job> {
        self.write();
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

/// The rows but those of versions that are to be dropped.
fn without<'a>(rows: &'a [Arc<PastRow>], ids: &[VersionId]) -> Cow<'a, [Arc<PastRow>]> {
    if ids.is_empty() {
        return rows.into();
    }
    let dropped: BTreeSet<&VersionId> = ids.iter().collect();
    let wanted = rows.iter().filter(|row| !dropped.contains(&row.id));
    wanted.cloned().collect()
}

fn percent(done: u64, expected: u64) -> u8 {
    (done * 100 / expected.max(1)).min(99) as u8
}
