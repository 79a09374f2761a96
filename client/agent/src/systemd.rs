//! What systemd wants to know. Says nothing where there is no systemd.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::{
    task::JoinHandle,
    time::{Instant, interval, sleep_until},
};

use crate::health::Health;

/// Tells systemd how the agent is, until it is dropped.
pub(crate) struct Notifier(Vec<JoinHandle<()>>);

impl Notifier {
    /// Tells that the agent is ready once each set was tried, and how it goes whenever that changes.
    /// Answers the watchdog, if there is one.
    pub(crate) fn start(health: Health) -> Self {
        let mut tasks = vec![tokio::spawn(follow(health))];
        if let Some(patience) = sd_notify::watchdog_enabled() {
            tasks.push(tokio::spawn(feed(patience)));
        }
        Self(tasks)
    }

    /// The agent is on its way out.
    pub(crate) fn stopping(&self) {
        tell(&[
            NotifyState::Stopping,
            NotifyState::Status("finishing what was begun"),
        ]);
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn follow(mut health: Health) {
    // However slow the first answer is: what waits for this agent at boot does not wait for ever.
    let patience = Instant::now() + LONGEST_START;
    while !health.is_all_tried() {
        tokio::select! {
            changed = health.changed() => {
                if !changed {
                    return;
                }
            }
            () = sleep_until(patience) => break,
        }
    }
    let mut said = health.sentence();
    tell(&[NotifyState::Ready, NotifyState::Status(&said)]);
    while health.changed().await {
        let sentence = health.sentence();
        if sentence != said {
            tell(&[NotifyState::Status(&sentence)]);
            said = sentence;
        }
    }
}

/// Tells twice in its patience that this process does its work.
async fn feed(patience: Duration) {
    let mut ticks = interval((patience / 2).max(SHORTEST));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// After it the agent counts as started, whatever it waits for.
pub(crate) const LONGEST_START: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_millis(1);
