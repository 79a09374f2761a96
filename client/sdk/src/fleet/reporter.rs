//! The task that tells the cluster what this process runs.
//!
//! Nothing waits for it, and nothing fails by it. While no server answers it keeps the newest word on
//! each subject, with the time since when it is so, and sends it on the next contact.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_proto::{limits, v1};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

use super::{
    Report, Subject,
    told::{Due, Told},
};
use crate::{
    Client, ReadError, call::Call, circuit::jittered, error::Failure, node::Needs, node::Route,
};

/// Tells the cluster what one instance runs. Clones share it; it ends with the last. From
/// [`Client::reporter`].
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<Shared>,
    _sending: Arc<Sending>,
}

/// How reporting goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReporterStatus {
    /// Subjects whose newest word the cluster does not have yet.
    pub unsent: usize,
    /// When the cluster took a word last; `None`: not yet.
    pub taken: Option<Instant>,
    /// Why it takes none, or not all; `None`: nothing is wrong, or there was no contact yet.
    pub problem: Option<String>,
}

struct Shared {
    client: Client,
    told: Mutex<Told>,
    wake: Notify,
    /// When the cluster took something last.
    taken: watch::Sender<Option<Instant>>,
}

struct Sending(AbortHandle);

impl Client {
    /// Tells the cluster, in the background, what this process runs; `kvctl fleet` shows it. `instance`
    /// tells processes of one identity apart, and is the same after a restart, or each would be listed
    /// as one more: see [`crate::default_instance`]. Needs a tokio runtime around it.
    pub fn reporter(&self, instance: impl AsRef<str>) -> Reporter {
        let told = Told::new(instance.as_ref(), &super::instance::program());
        let shared = Arc::new(Shared {
            client: self.with_timeout(self.timeout().min(ATTEMPTS)),
            told: Mutex::new(told),
            wake: Notify::new(),
            taken: watch::Sender::new(None),
        });
        let sending = tokio::spawn(Arc::clone(&shared).run()).abort_handle();
        Reporter {
            shared,
            _sending: Arc::new(Sending(sending)),
        }
    }
}

impl Reporter {
    /// Takes a word in; the newest on a subject counts. Returns at once. It is sent within a second or so;
    /// said again with another age only, when it is to be repeated, once a minute.
    pub fn tell(&self, report: Report) {
        let moment = MOMENT.mul_f64(rand::random_range(0.0..1.0));
        if self.shared.told.lock().tell(report, Instant::now(), moment) {
            self.shared.wake.notify_one();
        }
    }

    /// Says nothing more about a subject. What the cluster knows stays listed, and becomes stale: to
    /// have it forgotten see [`crate::FleetClient::forget`].
    pub fn drop_subject(&self, subject: &Subject) {
        self.shared.told.lock().drop_subject(subject);
    }

    /// How it goes.
    pub fn status(&self) -> ReporterStatus {
        let told = self.shared.told.lock();
        ReporterStatus {
            unsent: told.unsent(),
            taken: *self.shared.taken.borrow(),
            problem: told.refusal(),
        }
    }

    /// Waits until the cluster has the newest word on every subject, or refused it: for a process that
    /// is about to end. `false`: not within `timeout`.
    pub async fn sent(&self, timeout: Duration) -> bool {
        let mut tried = self.shared.taken.subscribe();
        self.shared.told.lock().hurry(Instant::now());
        self.shared.wake.notify_one();
        let waiting = async {
            while self.shared.told.lock().unsent() > 0 {
                if tried.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(timeout, waiting).await.is_ok()
    }

    /// The name of the instance.
    pub fn instance(&self) -> String {
        self.shared.told.lock().instance().to_owned()
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            self.until_due().await;
            let due = self
                .told
                .lock()
                .due(Instant::now(), limits::FLEET_REQUEST_REPORTS);
            if due.reports.is_empty() {
                continue;
            }
            match self.send(&due).await {
                Ok(answer) => {
                    failures = 0;
                    self.taken(&due, &answer);
                }
                Err(failure) => {
                    failures += 1;
                    self.failed(&due, failure, failures);
                }
            }
        }
    }

    /// Returns when there is something to send.
    async fn until_due(&self) {
        loop {
            let next = self.told.lock().next();
            match next {
                Some(next) if next <= Instant::now() => return,
                Some(next) => {
                    let woken = self.wake.notified();
                    // Whichever comes first: both mean to look again.
                    let _ = tokio::time::timeout_at(next.into(), woken).await;
                }
                None => self.wake.notified().await,
            }
        }
    }

    async fn send(&self, due: &Due) -> Result<v1::FleetReportResponse, Failure> {
        let call = Call {
            route: Route::Leader,
            needs: Needs::Majority,
            timeout: self.client.timeout(),
            attempt_timeout: self.client.options().attempt_timeout,
            // The node gathers what others send, too: it is slow on purpose.
            hedge: false,
        };
        let begun = Instant::now();
        let answer = self
            .client
            .call(call, |attempt| {
                // A later attempt is about a longer time.
                let reports = due.reports_after(begun.elapsed());
                let request = attempt.request(v1::FleetReportRequest { reports });
                async move { attempt.fleet().report(request).await }
            })
            .await?;
        Ok(answer.message)
    }

    fn taken(&self, due: &Due, answer: &v1::FleetReportResponse) {
        let now = Instant::now();
        let again = now + repeat();
        {
            let mut told = self.told.lock();
            let refused = |index: usize| {
                let mut refused = answer.refused.iter();
                refused.find(|refused| refused.index as usize == index)
            };
            for (index, word) in due.words.iter().enumerate() {
                match refused(index) {
                    None => told.sent(std::slice::from_ref(word), now, again),
                    Some(refused) => {
                        if told.refused(word, &refused.why, again) {
                            let (subject, why) = (&word.0, &refused.why);
                            tracing::warn!(%subject, why, "the cluster takes no report");
                        }
                    }
                }
            }
        }
        self.taken.send_replace(Some(Instant::now()));
    }

    fn failed(&self, due: &Due, failure: Failure, failures: u32) {
        let now = Instant::now();
        match failure {
            // A server's answer: it will say the same for a while.
            refused @ Failure::Refused(_) => {
                let problem = ReadError::from(refused).to_string();
                let mut told = self.told.lock();
                let mut is_first = false;
                for word in &due.words {
                    is_first |= told.refused(word, &problem, now + repeat());
                }
                if is_first {
                    tracing::warn!(problem, "the cluster takes no reports");
                }
            }
            _ => {
                let pause = jittered(FIRST_PAUSE * 2u32.pow(failures.min(4)), LONGEST_PAUSE);
                self.told.lock().failed(&due.words, now + pause);
            }
        }
        // Who waits looks again.
        self.taken.send_modify(|_| {});
    }
}

/// A minute, less a random part, so that the words of many do not come at once.
fn repeat() -> Duration {
    let full = Duration::from_millis(limits::FLEET_REPEAT_MS);
    full.mul_f64(rand::random_range(0.8..1.0))
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("instance", &self.instance())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A change is told within this, each instance by chance: many see the same one at the same moment.
const MOMENT: Duration = Duration::from_millis(300);
/// Longest that one round over the nodes takes.
const ATTEMPTS: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
