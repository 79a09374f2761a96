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
    pub(crate) serial: u64,
    pub(crate) state: Arc<Mutex<CacheState>>,
    /// Whether what was kept is what the cluster has: nothing newer was rejected.
    pub(crate) is_current: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Saver {
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(MARK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Until something was saved the mark belongs to a file that may be refused.
        let mut has_saved = false;
        loop {
            let done = tokio::select! {
                changed = self.jobs.changed() => match changed {
                    Ok(()) => {
                        let done = self.save().await;
                        has_saved |= done.is_ok();
                        done
                    }
                    Err(_) => return,
                },
                _ = ticks.tick(), if has_saved && (self.is_current)() => self.mark().await,
            };
            let problem = done.err().map(|error| error.to_string());
            if let Some(problem) = &problem {
                tracing::warn!(problem, "the configuration is not kept on disk");
            }
            self.state.lock().problem = problem;
        }
    }

    async fn save(&mut self) -> Result<(), CacheError> {
        let Some(job) = self.jobs.borrow_and_update().clone() else {
            return Ok(());
        };
        self.serial += 1;
        let revision = job.view.revision();
        let saved = Saved {
            serial: self.serial,
            secrets: (*job.secrets).clone(),
            view: job.view,
            confirmed_at: self.confirmed_at().unwrap_or(SystemTime::UNIX_EPOCH),
            endpoints: self.client.endpoints(),
        };
        self.blocking(move |cache| cache.save(&saved)).await?;
        self.state.lock().revision = revision;
        Ok(())
    }

    async fn mark(&self) -> Result<(), CacheError> {
        let (serial, at) = (self.serial, self.confirmed_at());
        match at {
            Some(at) => self.blocking(move |cache| cache.set_mark(serial, at)).await,
            None => Ok(()),
        }
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

/// Between two marks.
const MARK: Duration = Duration::from_secs(1);
