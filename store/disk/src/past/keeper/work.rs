//! The thread that the past is kept on.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, mpsc},
    time::Instant,
};

use holdfast_core::VersionId;

use super::{Anew, BATCH_ROWS, Beginning, GATHERED_FOR, Job, Refill, Shared};
use crate::past::{Past, PastFault, PastRow, PastStatus};

/// What the thread works with.
pub(super) struct Work {
    shared: Arc<Shared>,
    engine: Box<dyn Past>,
    received: mpsc::Receiver<Job>,
    /// Forgotten while being put back: not to be put back.
    forgotten: BTreeSet<VersionId>,
    /// When what has gathered is written.
    due: Option<Instant>,
}

impl Work {
    pub(super) fn new(
        shared: Arc<Shared>,
        engine: Box<dyn Past>,
        received: mpsc::Receiver<Job>,
    ) -> Self {
        Self {
            shared,
            engine,
            received,
            forgotten: BTreeSet::new(),
            due: None,
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
            let Some(due) = self.due else {
                return self.received.recv().ok();
            };
            match self
                .received
                .recv_timeout(due.saturating_duration_since(Instant::now()))
            {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => self.write(),
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
                self.engine = engine;
                *self.shared.reader.write() = self.engine.reader();
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
        let dropped: BTreeSet<&VersionId> = ids.iter().collect();
        let owned: Vec<PastRow> = rows
            .iter()
            .filter(|row| !dropped.contains(&row.id))
            .map(|row| PastRow::clone(row))
            .collect();
        let outcome = match self.failure() {
            Some(_) => Ok(()),
            None => owned
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
        self.shared.progress(PastStatus::Ready);
        tracing::info!(values = done, "older values are back");
        true
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
                self.engine = engine;
                *self.shared.reader.write() = self.engine.reader();
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
        let mut missing = 0;
        for (done, row) in rows.enumerate() {
            let row = row.map_err(PastFault)?;
            let kept = reader.row(&row.id)?;
            if kept.is_none_or(|kept| kept.digest != row.digest) {
                missing += 1;
                self.engine.keep(&[row])?;
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

fn percent(done: u64, expected: u64) -> u8 {
    (done * 100 / expected.max(1)).min(99) as u8
}
