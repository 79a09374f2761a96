//! When a keeper looks again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::{set::Record, settings::SetSettings};

/// The times at which something is due.
pub(super) struct Wait {
    inspect: Duration,
    next_inspection: Instant,
    next_hook: Option<Instant>,
    /// The installation that it is for.
    hook_serial: u64,
}

/// A set that its check refused: it is tried again later and later, and at once if it changes.
pub(super) struct Refused {
    /// The set's.
    digest: String,
    times: u32,
    due: Instant,
}

impl Wait {
    pub(super) fn new(settings: &SetSettings) -> Self {
        let inspect = settings.inspect.get();
        Self {
            inspect,
            next_inspection: Instant::now() + inspect,
            next_hook: None,
            hook_serial: 0,
        }
    }

    /// When the disk is to be looked at.
    pub(super) fn inspection(&self) -> Instant {
        self.next_inspection
    }

    /// It was looked at.
    pub(super) fn inspected(&mut self) {
        self.next_inspection = Instant::now() + self.inspect;
    }

    /// Whether the hook of what is installed is to be run now.
    pub(super) fn is_hook_due(&mut self, record: &Record) -> bool {
        let Some(installed) = record.installed.as_ref().filter(|_| record.owes_hook()) else {
            self.next_hook = None;
            return false;
        };
        if installed.serial != self.hook_serial {
            // Another one was installed, or the agent was started: at once.
            self.hook_serial = installed.serial;
            self.next_hook = Some(Instant::now());
        }
        self.next_hook.is_some_and(|due| due <= Instant::now())
    }

    /// Plans the next attempt, if there is to be one.
    pub(super) fn hook_ran(&mut self, settings: &SetSettings, record: &Record) {
        let attempts = record.attempts();
        self.next_hook = settings
            .hook
            .as_ref()
            .filter(|_| record.owes_hook())
            .and_then(|hook| {
                if hook.attempts.is_some_and(|most| attempts >= most) {
                    return None;
                }
                let (first, longest) = (hook.backoff.get(), hook.longest_backoff.get());
                Some(Instant::now() + backoff(attempts, first, longest))
            });
    }

    pub(super) fn next_hook(&self) -> Option<Instant> {
        self.next_hook
    }
}

impl Refused {
    /// It was refused now, after it may have been `before`.
    pub(super) fn again(before: Option<Self>, digest: &str) -> Self {
        let before = before.filter(|before| before.digest == digest);
        let times = before.map_or(0, |before| before.times) + 1;
        Self {
            digest: digest.to_owned(),
            times,
            due: Instant::now() + backoff(times, RETRY, LONGEST_RETRY),
        }
    }

    /// Whether a set is the same and was refused a short time ago.
    pub(super) fn is_early(&self, digest: &str) -> bool {
        self.digest == digest && Instant::now() < self.due
    }
}

/// Doubled with each attempt.
fn backoff(attempts: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = 1_u32 << attempts.saturating_sub(1).min(20);
    first.saturating_mul(doubled).min(longest)
}

/// Returns at a time; never without one.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Returns when what could not be done may be tried again; never if there is no problem.
pub(super) async fn retry(has_problem: bool, refused: Option<&Refused>) {
    let due = || refused.map_or_else(|| Instant::now() + RETRY, |refused| refused.due);
    until(has_problem.then(due)).await;
}

const RETRY: Duration = Duration::from_secs(2);
/// Of what is refused again and again.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::{Installed, Ran};

    fn record(attempts: u32, failure: Option<&str>) -> Record {
        let installed = Installed {
            serial: 3,
            revision: 7,
            digest: String::new(),
            keys: 1,
            at_ms: 0,
            version: None,
            files: Vec::new(),
        };
        let ran = Ran {
            serial: 3,
            attempts,
            failure: failure.map(str::to_owned),
            at_ms: 0,
        };
        Record {
            installed: Some(installed),
            ran: (attempts > 0).then_some(ran),
            ..Record::default()
        }
    }

    fn settings(hook: &str) -> SetSettings {
        let text = format!(
            "name = \"s\"\nfolder = \"/f\"\nprefixes = [\"p/\"]\n[hook]\nexec = [\"true\"]\n\
             backoff = \"1s\"\nlongest_backoff = \"10s\"\n{hook}"
        );
        toml::from_str(&text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_tried_later_and_later_and_another_set_at_once() {
        let mut refused = None;
        for seconds in [2, 4, 8, 16, 32, 60, 60] {
            let again = Refused::again(refused, "one");
            assert_eq!((again.due - Instant::now()).as_secs(), seconds);
            assert!(again.is_early("one") && !again.is_early("another"));
            retry(true, Some(&again)).await;
            assert!(!again.is_early("one"));
            refused = Some(again);
        }
        let another = Refused::again(refused, "another");
        assert_eq!((another.due - Instant::now()).as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_is_tried_at_once_then_later_and_later_and_as_often_as_is_said() {
        let set = settings("attempts = 6");
        let mut wait = Wait::new(&set);
        assert!(wait.is_hook_due(&record(0, None)), "it was never tried");
        for (attempts, seconds) in [(1, 1), (2, 2), (4, 8), (5, 10)] {
            let failed = record(attempts, Some("no"));
            wait.hook_ran(&set, &failed);
            let due = wait.next_hook().unwrap() - Instant::now();
            assert_eq!(due.as_secs(), seconds, "after {attempts}");
            assert!(!wait.is_hook_due(&failed));
            tokio::time::advance(due).await;
            assert!(wait.is_hook_due(&failed));
        }
        wait.hook_ran(&set, &record(6, Some("no")));
        assert_eq!(wait.next_hook(), None, "that was the last attempt");
        // Another agent, or another installation, begins anew.
        assert!(Wait::new(&set).is_hook_due(&record(6, Some("no"))));
        assert!(
            !Wait::new(&set).is_hook_due(&record(1, None)),
            "it succeeded"
        );
    }
}
