//! The task that keeps a cache up to date.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::MissedTickBehavior};

use super::{Cache, CacheError, Saved};
use crate::{
    Client, Mirror, MirrorView,
    mirror::{OpenedSecrets, Secrets},
};

/// What was taken last, to be kept.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) view: MirrorView,
    pub(crate) secrets: Arc<Secrets>,
}

impl Job {
    pub(crate) fn of(view: &MirrorView, secrets: &OpenedSecrets) -> Self {
        Self {
            view: view.clone(),
            // Of the same versions, and of no other.
            secrets: Arc::new(secrets.of(view)),
        }
    }
}

/// What is on disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct CacheState {
    /// The revision that this process wrote last; 0: none yet.
    pub(crate) revision: u64,
    /// What keeps it from being written.
    pub(crate) problem: Option<String>,
}

/// Keeps what is taken, and notes how long it was current.
pub(crate) struct Saver {
    pub(crate) cache: Arc<Cache>,
    pub(crate) client: Client,
    pub(crate) mirror: Mirror,
    pub(crate) jobs: watch::Receiver<Option<Job>>,
    /// Of the newest file.
    pub(crate) serial: u64,
    /// What the mark says.
    pub(crate) marked_at: SystemTime,
    pub(crate) state: Arc<Mutex<CacheState>>,
    /// Whether what was kept is what the cluster has: nothing newer was rejected.
    pub(crate) is_current: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whose emergency overrides count.
    pub(crate) administrators: watch::Receiver<Option<Arc<[String]>>>,
}

impl Saver {
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Until something was saved, what is on disk may be refused, and is not to be marked.
        let (mut has_saved, mut is_due) = (false, false);
        loop {
            tokio::select! {
                changed = self.jobs.changed() => match changed {
                    Ok(()) => is_due = true,
                    Err(_) => return,
                },
                Ok(()) = self.administrators.changed() => is_due = true,
                _ = ticks.tick() => {}
            }
            let done = match is_due {
                true => {
                    let saved = self.save().await;
                    is_due = saved.is_err();
                    has_saved |= saved.is_ok();
                    saved
                }
                false if has_saved && (self.is_current)() => self.mark().await,
                false => continue,
            };
            let problem = done.err().map(|error| error.to_string());
            let mut state = self.state.lock();
            if let Some(problem) = problem.as_ref().filter(|_| state.problem != problem) {
                tracing::warn!(problem, "the configuration is not kept on disk");
            }
            state.problem = problem;
        }
    }

    async fn save(&mut self) -> Result<(), CacheError> {
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
        let confirmed_at = self.confirmed_at().unwrap_or(SystemTime::UNIX_EPOCH);
        let saved = Saved {
            serial,
            secrets: (*job.secrets).clone(),
            view: job.view,
            confirmed_at,
            endpoints: self.client.endpoints(),
            administrators,
        };
        self.blocking(move |cache| cache.save(&saved)).await?;
        // Only now: a mark that is ahead of the file would have it refused.
        self.serial = serial;
        self.marked_at = confirmed_at;
        self.state.lock().revision = revision;
        Ok(())
    }

    /// Notes that what is on disk was current later than is noted there.
    async fn mark(&mut self) -> Result<(), CacheError> {
        let Some(at) = self.confirmed_at() else {
            return Ok(());
        };
        let newer = at.duration_since(self.marked_at).unwrap_or_default();
        if newer < LOOK / 2 {
            return Ok(());
        }
        let serial = self.serial;
        self.blocking(move |cache| cache.set_mark(serial, at))
            .await?;
        self.marked_at = at;
        Ok(())
    }

    fn confirmed_at(&self) -> Option<SystemTime> {
        SystemTime::now().checked_sub(self.mirror.age())
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
