//! The task that keeps a cache up to date.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::MissedTickBehavior};

use super::{Cache, CacheError, Saved};
use crate::{
    Client, Mirror, MirrorView,
    mirror::{Moment, Secrets},
};

/// What was taken last, to be kept.
#[derive(Clone)]
pub(crate) struct Job {
    view: Arc<MirrorView>,
    secrets: Arc<Secrets>,
    confirmed_at: Option<SystemTime>,
}

impl Job {
    pub(crate) fn of(moment: &Moment) -> Self {
        Self {
            view: Arc::clone(&moment.view),
            // Of the same versions, and of no other.
            secrets: Arc::new(moment.secrets.of(&moment.view)),
            confirmed_at: moment.confirmed_at,
        }
    }
}

/// What is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatus {
    /// The revision that this process wrote last; 0: none yet.
    pub revision: u64,
    /// What keeps it from being written.
    pub problem: Option<String>,
    /// Why what lay there at the start was refused, until it is replaced.
    pub refused: Option<String>,
}

/// Keeps what is taken, and notes how long it was current.
pub(crate) struct Saver {
    pub(crate) cache: Arc<Cache>,
    pub(crate) client: Client,
    pub(crate) mirror: Mirror,
    pub(crate) jobs: watch::Receiver<Option<Job>>,
    /// Of the newest file.
    pub(crate) serial: u64,
    pub(crate) status: Arc<watch::Sender<CacheStatus>>,
    /// Whose emergency overrides count.
    pub(crate) administrators: watch::Receiver<Option<Arc<[String]>>>,
}

/// The newest file, if this process wrote it. Until then what is on disk may have been refused, and is not
/// to be marked.
struct OnDisk {
    /// [`MirrorView::changed`] of what is in it.
    changed: u64,
    /// It was still so then, as far as is noted there.
    revision: u64,
    /// The cluster had nothing newer then, as far as is noted there.
    confirmed_at: SystemTime,
    /// The servers that are named there.
    endpoints: Vec<String>,
}

impl Saver {
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut on_disk = None;
        let mut is_due = false;
        loop {
            tokio::select! {
                changed = self.jobs.changed() => match changed {
                    Ok(()) => is_due = true,
                    Err(_) => return,
                },
                Ok(()) = self.administrators.changed() => is_due = true,
                _ = ticks.tick() => {}
            }
            // Servers that came since are found again after a restart.
            is_due |= on_disk
                .as_ref()
                .is_some_and(|on_disk: &OnDisk| on_disk.endpoints != self.endpoints());
            let done = match (is_due, &mut on_disk) {
                (true, _) => self.save(&mut on_disk).await,
                (false, Some(on_disk)) => self.mark(on_disk).await,
                (false, None) => continue,
            };
            is_due &= done.is_err();
            let problem = done.err().map(|error| error.to_string());
            self.status.send_if_modified(|status| {
                let is_new = status.problem != problem;
                if let Some(problem) = problem.as_ref().filter(|_| is_new) {
                    tracing::warn!(problem, "what was taken is not kept on disk");
                }
                status.problem = problem;
                is_new
            });
        }
    }

    async fn save(&mut self, on_disk: &mut Option<OnDisk>) -> Result<(), CacheError> {
        let Some(job) = self.jobs.borrow_and_update().clone() else {
            return Ok(());
        };
        let administrators = self
            .administrators
            .borrow()
            .as_deref()
            .unwrap_or_default()
            .to_vec();
        let (serial, revision) = (self.serial + 1, job.view.revision());
        let changed = job.view.changed();
        // Where the cluster had nothing newer than an older state, it had nothing newer than this one.
        let before = on_disk.as_ref().map(|on_disk| on_disk.confirmed_at);
        let confirmed_at = job.confirmed_at.max(before);
        let confirmed_at = confirmed_at.unwrap_or(SystemTime::UNIX_EPOCH);
        let confirmed_at = confirmed_at.min(SystemTime::now());
        let saved = Saved {
            serial,
            secrets: (*job.secrets).clone(),
            view: (*job.view).clone(),
            confirmed_at,
            endpoints: self.endpoints(),
            administrators,
        };
        let endpoints = saved.endpoints.clone();
        self.blocking(move |cache| cache.save(&saved)).await?;
        // Only now: a mark that is ahead of the file would have it refused.
        self.serial = serial;
        *on_disk = Some(OnDisk {
            changed,
            revision,
            confirmed_at,
            endpoints,
        });
        self.status.send_modify(|status| {
            status.revision = revision;
            status.refused = None;
        });
        Ok(())
    }

    /// Notes that what is on disk was current later than is noted there.
    async fn mark(&self, on_disk: &mut OnDisk) -> Result<(), CacheError> {
        let now = self.mirror.moment();
        let is_it = now.view.changed() == on_disk.changed;
        if !is_it {
            // The cluster has something else, which was rejected, or is not whole yet.
            return Ok(());
        }
        let (serial, revision) = (self.serial, now.view.revision());
        let at = now.confirmed_at.unwrap_or(on_disk.confirmed_at);
        let newer = at.duration_since(on_disk.confirmed_at).unwrap_or_default();
        // The clock was ahead when that was noted: it would look younger than it is, later on.
        let is_ahead = on_disk.confirmed_at > SystemTime::now();
        if !is_ahead && newer < LOOK / 2 && revision <= on_disk.revision {
            return Ok(());
        }
        self.blocking(move |cache| cache.set_mark(serial, revision, at))
            .await?;
        on_disk.revision = revision;
        on_disk.confirmed_at = at;
        Ok(())
    }

    /// In an order that does not depend on which is asked.
    fn endpoints(&self) -> Vec<String> {
        let mut endpoints = self.client.endpoints();
        endpoints.sort_unstable();
        endpoints
    }

    async fn blocking(
        &self,
        work: impl FnOnce(&Cache) -> Result<(), CacheError> + Send + 'static,
    ) -> Result<(), CacheError> {
        let cache = Arc::clone(&self.cache);
        let done = tokio::task::spawn_blocking(move || work(&cache)).await;
        // A runtime that ends drops the work.
        done.unwrap_or(Ok(()))
    }
}

/// Between two looks at whether there is something to save again, or to mark.
const LOOK: Duration = Duration::from_secs(1);
