//! Runs a command, and does what is asked for when its environment changes.
//!
//! Invariants: (1) two of a command never run at once: the next is started when the one before has ended,
//! with all that it started. (2) A command that runs is ended for a new environment only if there is one
//! that differs and can be used. (3) What asks this process to end, ends the command and all that it
//! started; no other is started then. A command may take INT and QUIT for something else: one that runs on
//! for the grace was not asked to end.

use std::{ffi::OsString, pin::pin, process::ExitStatus, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    OnChange,
    child::{Running, code_of},
    environment::Environment,
    follow::Seen,
    orphans::Orphans,
    signals::{Signals, asks_to_end},
};
use crate::failure::{Exit, Failure};

/// What is run, and how.
pub(crate) struct Keep {
    pub(crate) words: Vec<OsString>,
    pub(crate) on_change: OnChange,
    /// Between asking it to end and killing it.
    pub(crate) grace: Duration,
}

/// What the command that runs has.
#[derive(Clone)]
pub(crate) struct Has {
    /// Its environment.
    pub(crate) environment: Arc<Environment>,
    /// At which revision it was found to be the newest last.
    pub(crate) revision: u64,
}

/// Why a command was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// This process is to end.
    ForGood,
    /// There is another environment for it.
    ForAnother,
}

impl Keep {
    /// Returns the command's exit code once it has ended by itself, or was to end. `has` is told what it
    /// runs with.
    pub(crate) async fn run(
        self,
        mut seen: watch::Receiver<Seen>,
        mut signals: Signals,
        has: watch::Sender<Has>,
    ) -> Result<u8, Failure> {
        let mut orphans = Orphans::new();
        loop {
            let environment = Arc::clone(&seen.borrow_and_update().environment);
            let running = Running::start(&self.words, &environment)?;
            has.send_replace(Has::now(Arc::clone(&environment)));
            let one = One {
                keep: &self,
                running,
                announced: Arc::clone(&environment),
                environment,
                ending: None,
                kill_at: None,
                forget_at: None,
            };
            match one.run(&mut seen, &mut signals, &mut orphans, &has).await? {
                Some(code) => return Ok(code),
                None => tracing::info!("the command is started anew"),
            }
        }
    }
}

impl Has {
    pub(crate) fn now(environment: Arc<Environment>) -> Self {
        Self {
            revision: environment.revision(),
            environment,
        }
    }
}

/// One run of the command.
struct One<'a> {
    keep: &'a Keep,
    running: Running,
    environment: Arc<Environment>,
    /// The newest that was judged.
    announced: Arc<Environment>,
    ending: Option<Ending>,
    kill_at: Option<Instant>,
    /// When it has outlived INT or QUIT.
    forget_at: Option<Instant>,
}

impl One<'_> {
    /// Returns its exit code; `None`: another is to be started.
    async fn run(
        mut self,
        seen: &mut watch::Receiver<Seen>,
        signals: &mut Signals,
        orphans: &mut Orphans,
        has: &watch::Sender<Has>,
    ) -> Result<Option<u8>, Failure> {
        let status = loop {
            let own = self.running.pid();
            tokio::select! {
                status = self.running.wait() => break status,
                () = orphans.reap(own) => {}
                signal = signals.next() => self.pass(signal),
                () = until(self.kill_at) => {
                    tracing::warn!("the command did not end when it was asked to, and is killed");
                    self.running.kill_all();
                    self.kill_at = None;
                }
                () = until(self.forget_at) => self.forget(),
                Ok(()) = seen.changed() => {
                    let newest = Arc::clone(&seen.borrow_and_update().environment);
                    self.judge(newest, has);
                }
            }
        };
        let status = status.map_err(|error| {
            let why = format!("the command's end could not be awaited: {error}");
            Failure::new(Exit::Refused, why)
        })?;
        match self.ending {
            Some(Ending::ForAnother) => Ok(self.until_all_ended(status, signals).await),
            Some(Ending::ForGood) => {
                self.running.ask_all_to_end();
                self.running.end_rest(self.deadline()).await;
                Ok(Some(code_of(status)))
            }
            // What a command leaves running when it ends by itself is meant to run.
            None => Ok(Some(code_of(status))),
        }
    }

    fn pass(&mut self, signal: Signal) {
        self.running.pass(signal);
        if !asks_to_end(signal) {
            return;
        }
        // INT or QUIT takes back nothing of what ends it anyhow.
        let is_ended = self.ending.is_some() && self.forget_at.is_none();
        self.ending = Some(Ending::ForGood);
        let grace_ends = Instant::now() + self.keep.grace;
        if signal == Signal::TERM {
            self.kill_at.get_or_insert(grace_ends);
            self.forget_at = None;
        } else if !is_ended {
            self.forget_at = Some(grace_ends);
        }
    }

    /// It was not asked to end, as it turned out; what changed since counts now.
    fn forget(&mut self) {
        tracing::info!("the command runs on after INT or QUIT, and is kept as before");
        self.forget_at = None;
        self.ending = None;
        if matches!(self.keep.on_change, OnChange::Restart) {
            self.end_for_another();
        }
    }

    fn judge(&mut self, newest: Arc<Environment>, has: &watch::Sender<Has>) {
        let revision = newest.revision();
        if newest.says_the_same(&self.environment) {
            has.send_modify(|has| has.revision = revision);
        }
        if newest.says_the_same(&self.announced) {
            return;
        }
        self.announced = newest;
        match self.keep.on_change {
            OnChange::Nothing => {
                tracing::info!(
                    revision,
                    "the environment changed; the command keeps the one it has"
                );
            }
            OnChange::Signal(signal) => {
                tracing::info!(revision, %signal, "the environment changed; the command is told");
                self.running.pass(signal.get());
            }
            OnChange::Restart => self.end_for_another(),
        }
    }

    /// Asks it to end, unless it was asked already, or has what another would have.
    fn end_for_another(&mut self) {
        if self.ending.is_some() || self.announced.says_the_same(&self.environment) {
            return;
        }
        let revision = self.announced.revision();
        tracing::info!(revision, "the environment changed; the command is ended");
        self.ending = Some(Ending::ForAnother);
        self.kill_at = Some(Instant::now() + self.keep.grace);
        self.running.ask_all_to_end();
    }

    /// Of what the command started: after it, that is killed. At once, if it has passed.
    fn deadline(&self) -> Instant {
        match (self.ending, self.kill_at) {
            (_, Some(kill_at)) => kill_at,
            (Some(Ending::ForGood), None) => Instant::now() + self.keep.grace,
            _ => Instant::now(),
        }
    }

    /// `None`: another may be started.
    async fn until_all_ended(self, status: ExitStatus, signals: &mut Signals) -> Option<u8> {
        let mut rest = pin!(self.running.end_rest(self.deadline()));
        tokio::select! {
            () = &mut rest => None,
            _ = signals.next_end() => {
                // It was asked to end, and has its grace.
                rest.await;
                Some(code_of(status))
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
