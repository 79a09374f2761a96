//! Telling the cluster how a configuration is: whenever that changes, and now and then how old it is.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior};

use super::{ConfigError, Shared, follower::Recipe, layers::Place};
use crate::{Mirror, Origin, Report, ReportState, ReportedOverride, Reporter, Subject};

/// Reports on one configuration.
pub(super) struct Reporting<T> {
    pub(super) reporter: Reporter,
    pub(super) subject: Subject,
    pub(super) place: Place,
    pub(super) mirror: Mirror,
    pub(super) shared: Arc<Shared<T>>,
}

impl<T: Send + Sync> Reporting<T> {
    pub(super) async fn run(self) {
        let mut judged = self.shared.judged.subscribe();
        let mut pending = self.shared.pending.subscribe();
        let mut overridden = self.shared.override_problem.subscribe();
        // Only how old it is has changed then: that goes along with the next repeat.
        let mut ticks = tokio::time::interval(AGES);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending_since = None;
        loop {
            let now = Instant::now();
            pending_since = match *pending.borrow_and_update() {
                0 => None,
                _ => pending_since.or(Some(now)),
            };
            // Most secrets are open in a moment: that is not worth a word.
            let worth_it = pending_since.map(|since: Instant| since + A_MOMENT);
            let early = worth_it.filter(|at| *at > now);
            if early.is_none() {
                self.reporter.tell(self.report());
            }
            let changed = tokio::select! {
                changed = judged.changed() => changed,
                changed = pending.changed() => changed,
                changed = overridden.changed() => changed,
                _ = ticks.tick() => Ok(()),
                () = until(early) => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    fn report(&self) -> Report {
        let loaded = self.shared.loaded.load_full();
        let revision = loaded.revision;
        let problem = self.mirror.problem();
        let problem = problem.or_else(|| self.shared.override_problem.borrow().clone());
        let rejected = self.shared.rejected.lock().clone();
        let pending = *self.shared.pending.borrow();
        let report = match (rejected, pending) {
            (_, offered @ 1..) => Report {
                state: ReportState::Pending,
                offered,
                detail: "a secret is being opened".to_owned(),
                ..Report::applied(self.subject.clone(), revision)
            },
            (Some(rejected), 0) => Report::rejected(
                self.subject.clone(),
                revision,
                rejected.revision,
                rejected.error,
            ),
            (None, 0) => Report {
                detail: problem.unwrap_or_default(),
                ..Report::applied(self.subject.clone(), revision)
            },
        };
        let age = self.shared.age(&self.mirror);
        Report {
            age: (age != Duration::MAX).then_some(age),
            offline: self.mirror.origin() == Origin::Disk,
            override_in_use: loaded.over.as_ref().map(|over| ReportedOverride {
                signer: over.signer().to_owned(),
                expires: over.expires(),
                reason: over.reason().to_owned(),
            }),
            ..at(report, &self.place)
        }
    }
}

/// Tells of a service that does not start for what it found, and gives that a moment: the process may
/// end with it.
pub(super) async fn tell_refused<T>(
    reporter: &Reporter,
    recipe: &Recipe<T>,
    offered: u64,
    error: &ConfigError,
) {
    if !error.is_about_content() {
        return;
    }
    let subject = Subject::config(&recipe.prefix);
    let report = Report::rejected(subject, 0, offered, error);
    reporter.tell(at(report, &recipe.place));
    reporter.sent(LAST_WORD).await;
}

fn at(report: Report, place: &Place) -> Report {
    Report {
        node: place.node.clone(),
        roles: place.roles.clone(),
        ..report
    }
}

/// Never comes where there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

const A_MOMENT: Duration = Duration::from_secs(1);
const AGES: Duration = Duration::from_secs(10);
const LAST_WORD: Duration = Duration::from_secs(1);
