//! Keeps one set: installs what changed, runs the hook, puts right what somebody edited.
//!
//! Invariants: (1) that something is about to be installed is on the disk before it is, and that its hook
//! succeeded only afterwards: who comes after a crash runs the hook once more rather than not at all.
//! (2) Nothing is installed where nothing changed. (3) What is older than what is installed is taken from
//! a server that is up to date only, and never from a cache. The same contents are not older, whatever is
//! known of their revision: they are put back from a cache.

mod error;
mod wait;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_client::{Place, ReadError};
use tokio::sync::watch;

pub(crate) use self::error::KeepError;
use self::error::NotInstalled;
use crate::{
    failure::chain,
    hook::{self, About},
    set::{self, InstallError, Installed, Ran, Record, RecordFile, Staged, Wanted},
    settings::SetSettings,
    source::Sources,
    status::{FileStatus, HookStatus, SetStatus, Statuses},
    values::{Feed, Values},
};

/// Keeps one set.
pub(crate) struct Keeper {
    settings: Arc<SetSettings>,
    place: Place,
    sources: Arc<Sources>,
    file: Arc<RecordFile>,
    record: Record,
    /// What was installed by this process, to put it back.
    wanted: Option<Arc<Wanted>>,
    /// Whether the disk must be looked at before the set is said to be there.
    is_in_doubt: bool,
    /// What the check refused, while that is the problem.
    refused: Option<wait::Refused>,
    statuses: Statuses,
    status: SetStatus,
}

impl Keeper {
    pub(crate) fn new(
        settings: Arc<SetSettings>,
        place: Place,
        sources: Arc<Sources>,
        file: RecordFile,
        statuses: Statuses,
    ) -> Self {
        let status = SetStatus {
            prefixes: settings.prefixes.clone(),
            ..SetStatus::default()
        };
        let mut keeper = Self {
            record: file.load(),
            file: Arc::new(file),
            settings,
            place,
            sources,
            wanted: None,
            // Somebody may have been at it while no agent ran.
            is_in_doubt: true,
            refused: None,
            statuses,
            status,
        };
        keeper.settle_intent();
        let installed = keeper.record.installed.as_ref();
        keeper.status.revision = installed.map_or(0, |installed| installed.revision);
        keeper.say();
        keeper
    }

    /// Keeps it until it is told to end, or for good.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let Some(mut feed) = self.open(&mut stop).await else {
            return;
        };
        let mut wait = wait::Wait::new(&self.settings);
        loop {
            self.catch_up(&feed).await;
            if *stop.borrow() {
                return;
            }
            if wait.is_hook_due(&self.record) {
                // That it failed is in the status.
                let _ = self.run_hook().await;
                wait.hook_ran(&self.settings, &self.record);
            }
            let hook = self.owed().then(|| wait.next_hook()).flatten();
            tokio::select! {
                changed = feed.changed() => {
                    if !changed {
                        return;
                    }
                    feed.until_quiet(self.settings.settle.get()).await;
                }
                () = wait::until(Some(wait.inspection())) => {
                    wait.inspected();
                    self.mend().await;
                }
                () = wait::until(hook) => {}
                () = wait::retry(self.status.problem.is_some(), self.refused.as_ref()) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    /// Brings it up to date once, and runs the hook if one is owed.
    pub(crate) async fn run_once(mut self) -> Result<(), KeepError> {
        let feed = self.feed().await?;
        self.catch_up(&feed).await;
        if self.status.problem.is_none() {
            self.mend().await;
        }
        if let Some(problem) = &self.status.problem {
            return Err(KeepError::NotInstalled(problem.clone()));
        }
        match self.owed() {
            true => self.run_hook().await.map_err(KeepError::Hook),
            false => Ok(()),
        }
    }

    async fn feed(&self) -> Result<Feed, ReadError> {
        let settings = &self.settings;
        let place = self.place.clone();
        Feed::open(&self.sources, &settings.prefixes, settings.secrets, place).await
    }

    /// Begins to follow, as soon as there is somebody to follow. `None`: it is to end.
    async fn open(&mut self, stop: &mut watch::Receiver<bool>) -> Option<Feed> {
        loop {
            let opened = tokio::select! {
                opened = self.feed() => opened,
                () = stopped(stop) => return None,
            };
            match opened {
                Ok(feed) => return Some(feed),
                Err(error) => self.problem(0, chain(&error)),
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_AGAIN) => {}
                () = stopped(stop) => return None,
            }
        }
    }

    /// Installs what there is, if it is something else than what is installed.
    async fn catch_up(&mut self, feed: &Feed) {
        let values = feed.values().await;
        self.status.confirmed = Instant::now().checked_sub(feed.age());
        self.status.is_offline = feed.is_offline();
        let values = match values {
            Ok(values) => Arc::new(values),
            Err(unready) => {
                return self.problem(0, unready.to_string());
            }
        };
        let revision = values.revision;
        let installed = self.record.installed.as_ref();
        let may_be_older = !values.is_confirmed
            && installed.is_some_and(|installed| revision < installed.revision);
        let made = self.make(&values).await;
        if may_be_older && !made.as_ref().is_ok_and(|made| self.is_installed(made)) {
            let why = format!(
                "what is known of the cluster is of revision {revision}, older than what is \
                 installed; waiting for a server"
            );
            return self.problem(0, why);
        }
        match made {
            Err(why) => self.problem(revision, why),
            Ok(wanted) => self.install_if_new(Arc::new(wanted)).await,
        }
        if let (None, Some(problem)) = (&self.status.problem, feed.problem()) {
            self.problem(0, problem);
        }
    }

    async fn make(&self, values: &Arc<Values>) -> Result<Wanted, String> {
        let (settings, values) = (Arc::clone(&self.settings), Arc::clone(values));
        let before = self
            .record
            .installed
            .as_ref()
            .map(|installed| installed.keys);
        let made = tokio::task::spawn_blocking(move || Wanted::make(&settings, &values, before));
        match made.await {
            Ok(made) => made.map_err(|error| chain(&error)),
            Err(_) => Err("making it ended in a panic; this is a fault of kvagent".to_owned()),
        }
    }

    /// Whether these contents are what is installed.
    fn is_installed(&self, wanted: &Wanted) -> bool {
        let installed = self.record.installed.as_ref();
        installed.is_some_and(|installed| installed.digest == wanted.digest)
    }

    async fn install_if_new(&mut self, wanted: Arc<Wanted>) {
        if self.is_installed(&wanted) {
            // It is what this revision says, too.
            self.status.revision = self.status.revision.max(wanted.revision);
            self.wanted = Some(wanted);
            if !self.is_in_doubt || self.mend().await {
                self.is_up_to_date();
            }
        } else if self.install(wanted).await {
            self.is_up_to_date();
        }
    }

    fn is_up_to_date(&mut self) {
        self.refused = None;
        self.status.problem = None;
        self.status.offered = 0;
        self.say();
    }

    /// Whether it was installed; if not, the status says why.
    async fn install(&mut self, wanted: Arc<Wanted>) -> bool {
        let revision = wanted.revision;
        let refused = self.refused.as_ref();
        if refused.is_some_and(|refused| refused.is_early(&wanted.digest)) {
            // Why, is in the status.
            self.status.offered = revision;
            self.say();
            return false;
        }
        match self.try_install(&wanted).await {
            Ok(()) => {
                tracing::info!(set = %self.settings.name, revision, "a set was installed");
                self.wanted = Some(wanted);
                self.is_in_doubt = false;
                self.status.installs += 1;
                let installed = self.record.installed.as_ref();
                self.status.revision = installed.map_or(revision, |installed| installed.revision);
                true
            }
            Err(NotInstalled::Refused(why)) => {
                let refused = wait::Refused::again(self.refused.take(), &wanted.digest);
                self.problem(revision, format!("the check refused it: {why}"));
                self.refused = Some(refused);
                false
            }
            Err(NotInstalled::Failed(why)) => {
                self.problem(revision, why);
                false
            }
        }
    }

    async fn try_install(&mut self, wanted: &Arc<Wanted>) -> Result<(), NotInstalled> {
        let settings = Arc::clone(&self.settings);
        let (staging, last) = (Arc::clone(wanted), self.record.serial);
        let staged = blocking(move || {
            let serial = set::next_serial(&settings, last)?;
            Ok((serial, set::stage(&settings, serial, &staging)?))
        });
        let (serial, staged) = staged.await?;
        self.record.serial = serial;
        if let Some(check) = &self.settings.check {
            let about = self.about(staged.folder(), wanted.revision);
            if let Err(error) = hook::check(check, &about).await {
                // It is removed with the next one if not now.
                let _ = blocking(move || staged.discard()).await;
                return Err(NotInstalled::Refused(chain(&error)));
            }
        }
        let mut intended = Installed::of(wanted, serial, staged.version());
        if let Some(installed) = &self.record.installed
            && self.is_installed(wanted)
        {
            // Put back from a cache that does not know how long it was so.
            intended.revision = intended.revision.max(installed.revision);
        }
        self.record.intended = Some(intended);
        self.save().await?;
        crate::fault::at("intended");
        let keep = self.settings.keep;
        let installed = blocking(move || Staged::install(staged, keep)).await;
        crate::fault::at("installed");
        // Also where it failed half way: what is on the disk decides.
        if let Err(why) = installed {
            self.settle_intent();
            self.wanted = None;
            self.is_in_doubt = true;
            return Err(why.into());
        }
        self.record.installed = self.record.intended.take();
        let saved = self.save().await;
        crate::fault::at("recorded");
        Ok(saved?)
    }

    /// Whether what was about to be installed, is. Where single files are half replaced, neither is
    /// there: the newer is taken for installed, and what is missing of it is drift.
    fn settle_intent(&mut self) {
        let Some(intended) = self.record.intended.take() else {
            return;
        };
        // If that cannot be seen, it is found when it is to be installed.
        let is_there = set::is_in_use(&self.settings, &intended).unwrap_or(false);
        if is_there {
            self.record.installed = Some(intended);
        }
    }

    /// Compares the disk with what was installed, and puts it right. If that fails, the status says why
    /// until it was done.
    async fn mend(&mut self) -> bool {
        let is_right = self.try_mend().await;
        self.is_in_doubt = !is_right;
        is_right
    }

    async fn try_mend(&mut self) -> bool {
        let Some(installed) = self.record.installed.clone() else {
            return true;
        };
        let settings = Arc::clone(&self.settings);
        let found = match blocking(move || set::inspect(&settings, &installed)).await {
            Ok(found) if found.is_empty() => return true,
            Ok(found) => shorten(&found),
            Err(why) => {
                self.problem(0, why);
                return false;
            }
        };
        // What could not be put right is found again and again.
        if !self.is_in_doubt || self.status.drifted.as_ref() != Some(&found) {
            tracing::warn!(set = %self.settings.name, found, "somebody changed what was installed");
            self.status.drifts += 1;
            self.status.drifted = Some(found.clone());
        }
        let is_right = match self.wanted.clone() {
            // What keeps a newer one from being installed is still so.
            Some(wanted) => self.install(wanted).await,
            None => {
                let why = format!("{found}; it is put right as soon as the set can be made again");
                self.problem(0, why);
                false
            }
        };
        self.say();
        is_right
    }

    async fn run_hook(&mut self) -> Result<(), String> {
        let Some(installed) = &self.record.installed else {
            return Ok(());
        };
        let (serial, revision) = (installed.serial, installed.revision);
        let attempts = self.record.attempts() + 1;
        let failure = match &self.settings.hook {
            None => None,
            Some(hook) => {
                let about = self.about(set::place_of(&self.settings), revision);
                let ran = hook::run(hook, &about).await;
                crate::fault::at("hook ran");
                ran.err().map(|error| chain(&error))
            }
        };
        if let Some(why) = &failure {
            tracing::warn!(set = %self.settings.name, attempts, why, "a hook failed");
        }
        self.record.ran = Some(Ran {
            serial,
            attempts,
            failure: failure.clone(),
            at_ms: set::now_ms(),
        });
        if let Err(why) = self.save().await {
            self.problem(0, why);
        }
        self.say();
        failure.map_or(Ok(()), Err)
    }

    /// Whether there is a hook to run.
    fn owed(&self) -> bool {
        self.settings.hook.is_some() && self.record.owes_hook()
    }

    fn about(&self, folder: Option<std::path::PathBuf>, revision: u64) -> About {
        About {
            set: self.settings.name.to_string(),
            folder,
            revision,
        }
    }

    async fn save(&self) -> Result<(), String> {
        let (file, record) = (Arc::clone(&self.file), self.record.clone());
        let saved = tokio::task::spawn_blocking(move || file.save(&record)).await;
        match saved {
            Ok(saved) => saved.map_err(|error| chain(&error)),
            Err(_) => Err(ENDED.to_owned()),
        }
    }

    /// What is installed stays, and this is why; `offered` is what was not.
    fn problem(&mut self, offered: u64, why: String) {
        if self.status.problem.as_ref() != Some(&why) {
            tracing::warn!(set = %self.settings.name, why, "a set is not up to date");
        }
        self.refused = None;
        self.status.problem = Some(why);
        self.status.offered = offered;
        self.say();
    }

    fn say(&mut self) {
        let installed = self.record.installed.as_ref();
        let files = installed.map_or(&[][..], |installed| &installed.files);
        self.status.files = files
            .iter()
            .map(|file| FileStatus {
                path: file.path.display().to_string(),
                digest: file.told_digest.clone(),
            })
            .collect();
        self.status.digest = installed.map_or_else(String::new, Installed::told_digest);
        self.status.hook = self.hook_status();
        self.statuses
            .say(self.settings.name.as_str(), self.status.clone());
    }

    fn hook_status(&self) -> HookStatus {
        let (Some(hook), Some(installed)) = (&self.settings.hook, &self.record.installed) else {
            return HookStatus::None;
        };
        match &self.record.ran {
            Some(ran) if ran.serial == installed.serial => match &ran.failure {
                None => HookStatus::Succeeded,
                Some(why) => HookStatus::Failed {
                    attempts: ran.attempts,
                    why: why.clone(),
                    gave_up: hook.attempts.is_some_and(|most| ran.attempts >= most),
                },
            },
            _ => HookStatus::Owed,
        }
    }
}

/// Returns when it is to end; also when nobody is left to say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, InstallError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| chain(&error)),
        Err(_) => Err(ENDED.to_owned()),
    }
}

/// The first few.
fn shorten(found: &[String]) -> String {
    let shown = found.iter().take(SHOWN).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match found.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

const SHOWN: usize = 5;
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ENDED: &str = "writing it ended in a panic; this is a fault of kvagent";
