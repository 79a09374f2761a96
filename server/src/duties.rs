//! What a leader does beside consensus: ends leases that ran out, and moves cluster time on while
//! nobody writes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_proto::{
    LeaseId,
    log::v1::{self as log, command::Body},
};

use crate::{host::Host, renewals::Grant};

/// Runs until the node stops.
pub(crate) async fn run(host: Arc<Host>) {
    let mut duties = Duties {
        host: host.clone(),
        last_look: Instant::now(),
        idle_since: Instant::now(),
        applied: 0,
    };
    let mut leaderships = host.replica.leadership();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            changed = leaderships.changed() => if changed.is_err() { return },
            () = host.closing.cancelled() => return,
        }
        duties.follow_leadership();
        if host.renewals.term().is_some() {
            duties.end_leases();
            duties.tick_when_idle();
        }
    }
}

struct Duties {
    host: Arc<Host>,
    last_look: Instant,
    idle_since: Instant,
    applied: u64,
}

impl Duties {
    /// Starts and stops the clock of leases with the leadership.
    fn follow_leadership(&mut self) {
        let now = Instant::now();
        let pause = now.saturating_duration_since(self.last_look);
        self.last_look = now;
        let leadership = self.host.leadership();
        let renewals = &self.host.renewals;
        match (leadership.is_self_ready, renewals.term()) {
            (true, Some(term)) if term == leadership.term => {
                if pause > PAUSE {
                    tracing::warn!(
                        ?pause,
                        "this process stood still; leases are given that time back"
                    );
                    renewals.postpone(pause);
                }
            }
            (true, _) => {
                let leases = self.leases();
                renewals.take_over(leadership.term, leases.into_iter(), now);
                self.idle_since = now;
            }
            (false, Some(_)) => renewals.step_down(),
            (false, None) => {}
        }
    }

    /// Proposes the end of leases that ran out. The outcome is awaited elsewhere.
    fn end_leases(&self) {
        let now = Instant::now();
        self.host.renewals.reconcile(&self.leases(), now);
        let Some((term, due)) = self.host.renewals.due(now, ENDS_AT_ONCE) else {
            return;
        };
        let host = self.host.clone();
        tokio::spawn(async move {
            let leases: Vec<u64> = due.iter().map(|(lease, _)| lease.get()).collect();
            tracing::info!(?leases, "leases ran out");
            // Until one of these is applied, or the term ends, the leases cannot be renewed.
            while host.renewals.term() == Some(term) && !host.closing.is_cancelled() {
                let body = Body::LeaseExpire(log::LeaseExpire {
                    term,
                    leases: leases.clone(),
                    granted_at_ms: due.iter().map(|(_, grant)| grant.at.as_millis()).collect(),
                });
                let deadline = Instant::now() + PROPOSAL;
                match host
                    .propose_own(host.author(), String::new(), body, deadline)
                    .await
                {
                    Ok(_) => host.renewals.settled(term, &due),
                    Err(status) => {
                        tracing::debug!(%status, "the end of leases was not recorded yet");
                        tokio::time::sleep(LOOK).await;
                        continue;
                    }
                }
                return;
            }
        });
    }

    fn tick_when_idle(&mut self) {
        let applied = self.host.replica.store().applied();
        let now = Instant::now();
        if applied != self.applied {
            (self.applied, self.idle_since) = (applied, now);
        }
        if now.saturating_duration_since(self.idle_since) < IDLE {
            return;
        }
        self.idle_since = now;
        let host = self.host.clone();
        tokio::spawn(async move {
            let body = Body::Tick(log::Tick {});
            let deadline = Instant::now() + PROPOSAL;
            if let Err(status) = host
                .propose_own(host.author(), String::new(), body, deadline)
                .await
            {
                tracing::debug!(%status, "cluster time was not moved on");
            }
        });
    }

    fn leases(&self) -> HashMap<LeaseId, Grant> {
        let state = self.host.replica.store().view();
        state
            .leases()
            .map(|(id, lease)| (id, Grant::of(lease)))
            .collect()
    }
}

const LOOK: Duration = Duration::from_millis(100);
/// Longer between two looks means that the process stood still.
const PAUSE: Duration = Duration::from_secs(1);
const PROPOSAL: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(60);
const ENDS_AT_ONCE: usize = 256;
