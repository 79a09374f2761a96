//! Tells the cluster what a command runs with.

use std::time::Duration;

use holdfast_client::{Client, Place, Report, Subject};
use tokio::{sync::watch, task::JoinHandle};

use super::{OnChange, follow::Seen, keep::Has};

/// Who tells it, of what.
pub(crate) struct Teller {
    pub(crate) instance: String,
    pub(crate) prefixes: Vec<String>,
    pub(crate) place: Place,
    pub(crate) on_change: OnChange,
}

impl Teller {
    /// Tells it until this is aborted. A command that has ended by then is no service, and not told of:
    /// it would be listed as one that died.
    pub(crate) fn tell(
        self,
        client: &Client,
        mut seen: watch::Receiver<Seen>,
        mut has: watch::Receiver<Has>,
    ) -> JoinHandle<()> {
        let client = client.clone();
        tokio::spawn(async move {
            tokio::time::sleep(NO_SERVICE).await;
            let reporter = client.reporter(&self.instance);
            loop {
                let (seen_now, has_now) = (
                    seen.borrow_and_update().clone(),
                    has.borrow_and_update().clone(),
                );
                for prefix in &self.prefixes {
                    reporter.tell(self.report(prefix, &seen_now, &has_now));
                }
                let changed = tokio::select! {
                    changed = seen.changed() => changed,
                    changed = has.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        })
    }

    fn report(&self, prefix: &str, seen: &Seen, has: &Has) -> Report {
        let subject = Subject::config(prefix);
        let newest = &seen.environment;
        let mut report = if let Some(why) = &seen.problem {
            Report::rejected(subject, has.revision, 0, why)
        } else if newest.says_the_same(&has.environment) {
            Report::applied(subject, has.revision)
        } else {
            let why = match self.on_change {
                OnChange::Restart => "the command is being started anew",
                OnChange::Nothing => "the command keeps the environment that it was started with",
                OnChange::Signal(_) => {
                    "the command was sent a signal; its environment is the one it was started with"
                }
            };
            Report::pending(subject, has.revision, newest.revision(), why)
        };
        report.age = seen.confirmed.map(|confirmed| confirmed.elapsed());
        report.offline = seen.is_offline;
        report.node = self.place.node_name().map(str::to_owned);
        report.roles = self.place.roles().to_vec();
        report
    }
}

const NO_SERVICE: Duration = Duration::from_secs(3);
