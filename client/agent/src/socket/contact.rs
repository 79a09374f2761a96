//! Whether any server answers.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_client::{Client, forward::Forwarding};
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

/// What is known of the servers as a whole. A majority of them is another matter.
pub(super) struct Contact {
    started: Instant,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    answered_at: Option<Instant>,
    /// Asked since, in vain.
    is_lost: bool,
}

/// Since when no server answers, in words that follow a sentence.
pub(super) struct Since(Known, Instant);

impl Contact {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            known: Mutex::default(),
        }
    }

    /// A server answered something.
    pub(super) fn answered(&self) {
        *self.known.lock() = Known {
            answered_at: Some(Instant::now()),
            is_lost: false,
        };
    }

    /// None answered what one alone can answer.
    pub(super) fn lost(&self) {
        self.known.lock().is_lost = true;
    }

    /// Whether the newest that is known is that none answers.
    pub(super) fn is_lost(&self) -> bool {
        self.known.lock().is_lost
    }

    /// How it is, for a sentence.
    pub(super) fn since(&self) -> Since {
        Since(*self.known.lock(), self.started)
    }

    /// Asks where nothing else did, for as long as the agent runs.
    pub(super) async fn probe(&self, client: &Client) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let how = Forwarding {
            to_leader: false,
            is_local: true,
            waits: false,
            timeout: PATIENCE,
        };
        let path = PathAndQuery::from_static("/holdfast.v1.Cluster/Status");
        loop {
            ticks.tick().await;
            let known = *self.known.lock();
            if known.answered_at.is_some_and(|at| at.elapsed() < LOOK) && !known.is_lost {
                continue;
            }
            // `local = true`
            let local = Bytes::from_static(&[0x08, 0x01]);
            let asked = Instant::now();
            match client.forward(&path, local, how).await {
                Ok(_) => self.answered(),
                // Whatever it says, it is there.
                Err(holdfast_client::forward::NotForwarded::Refused(_)) => self.answered(),
                Err(_) => {
                    let mut known = self.known.lock();
                    // Unless something else was answered meanwhile.
                    known.is_lost |= known.answered_at.is_none_or(|at| at < asked);
                }
            }
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(known, started) = self;
        match known.answered_at {
            Some(at) if known.is_lost => {
                write!(f, "no server has answered it for {}", spoken(at.elapsed()))
            }
            Some(_) => f.write_str("servers answer it, but no majority of them does"),
            None => {
                let ago = spoken(started.elapsed());
                write!(f, "no server has answered it since it started {ago} ago")
            }
        }
    }
}

/// A duration as people say it.
pub(super) fn spoken(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

const LOOK: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(1);
