//! The mirrors of what services may ask for, at hand before anybody asks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use holdfast_client::{Mirror, Origin};
use holdfast_proto::{KeyRange, v1};
use parking_lot::RwLock;

use crate::source::Sources;

/// The mirrors, by prefix and by whether they open secrets.
#[derive(Default)]
pub(super) struct Warm {
    mirrors: RwLock<BTreeMap<(String, bool), Mirror>>,
}

/// What is known of a mirror's freshness. Taken before the view that it is said of.
#[derive(Clone, Copy)]
pub(super) struct Freshness {
    age: Duration,
    origin: Origin,
}

impl Warm {
    /// Opens one, and tries until it is open: later and later, for each attempt may be a whole snapshot.
    pub(super) async fn open(&self, sources: &Arc<Sources>, prefix: String, reveals: bool) {
        let mut pause = FIRST_PAUSE;
        loop {
            match sources.mirror(&prefix, reveals).await {
                Ok(mirror) => {
                    tracing::info!(prefix, reveals, "what services may ask for is at hand");
                    self.mirrors.write().insert((prefix, reveals), mirror);
                    return;
                }
                Err(error) => {
                    tracing::warn!(prefix, %error, "what services may ask for is not at hand yet");
                    // What cannot be opened keeps nobody from the rest.
                    if reveals && let Ok(mirror) = sources.mirror(&prefix, false).await {
                        let rest = (prefix.clone(), false);
                        self.mirrors.write().insert(rest, mirror);
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// The freshest that has all of a range.
    pub(super) fn covering(&self, range: &KeyRange) -> Option<Mirror> {
        self.find(range, false)
    }

    /// The freshest that has all of a range with its secrets open.
    pub(super) fn revealing(&self, range: &KeyRange) -> Option<Mirror> {
        self.find(range, true)
    }

    fn find(&self, range: &KeyRange, must_reveal: bool) -> Option<Mirror> {
        let mirrors = self.mirrors.read();
        let fits = mirrors.iter().filter(|((prefix, reveals), _)| {
            (*reveals || !must_reveal) && range.is_within(&KeyRange::prefix(prefix.clone()))
        });
        // What the cluster no longer lets the agent have is not handed on.
        let fits = fits.filter(|(_, mirror)| !mirror.is_denied());
        let freshest = fits.min_by_key(|(_, mirror)| mirror.age());
        freshest.map(|(_, mirror)| mirror.clone())
    }
}

impl Freshness {
    pub(super) fn of(mirror: &Mirror) -> Self {
        Self {
            age: mirror.age(),
            origin: mirror.origin(),
        }
    }

    /// `Duration::MAX`: not known.
    pub(super) fn age(&self) -> Duration {
        self.age
    }

    /// The head of an answer that is made of it.
    pub(super) fn header(&self, cluster: &str, revision: u64) -> v1::Header {
        let origin = match self.origin {
            Origin::Disk => v1::Origin::AgentDisk,
            _ => v1::Origin::AgentMemory,
        };
        v1::Header {
            cluster: cluster.to_owned(),
            revision,
            origin: origin.into(),
            age_ms: (self.age != Duration::MAX).then(|| millis(self.age)),
            ..v1::Header::default()
        }
    }
}

/// Rounded up: what is told must not look younger than it is.
fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
