//! Reading several mirrors at one moment.

use std::time::Duration;

use futures::future;
use holdfast_client::{Entry, Mirror, MirrorChanges, Origin, Place, ReadError};

use super::{Held, Values};
use crate::source::Sources;

/// The mirrors that a set is made of.
pub(crate) struct Feed {
    mirrors: Vec<(String, Mirror)>,
    changes: Vec<MirrorChanges>,
    place: Place,
    reveals: bool,
}

/// Why there are no values now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unready {
    /// The prefixes are not at one revision yet: all must reach this one.
    #[error("its prefixes are not at one revision yet")]
    Apart(u64),
    /// A secret is not open yet.
    #[error("the secret {key} is not open{why}")]
    Awaited {
        key: String,
        /// What keeps it closed, if the cluster said so.
        why: String,
    },
    /// A key is none that can be used.
    #[error("{0}")]
    Wrong(String),
}

impl Feed {
    /// Begins to follow.
    pub(crate) async fn open(
        sources: &Sources,
        prefixes: &[String],
        reveals: bool,
        place: Place,
    ) -> Result<Self, ReadError> {
        // All at once: with every server down, each waits a little.
        let opening = prefixes.iter().map(async |prefix| {
            let mirror = sources.mirror(prefix, reveals).await?;
            Ok::<_, ReadError>((prefix.clone(), mirror))
        });
        let mirrors = future::try_join_all(opening).await?;
        let changes = mirrors.iter().map(|(_, mirror)| mirror.changes());
        Ok(Self {
            changes: changes.collect(),
            mirrors,
            place,
            reveals,
        })
    }

    /// Waits for a change of a key or of an opened secret. `false`: the mirrors are gone.
    pub(crate) async fn changed(&mut self) -> bool {
        let next = self
            .changes
            .iter_mut()
            .map(|changes| Box::pin(changes.changed()));
        let (changed, ..) = future::select_all(next).await;
        changed.is_some()
    }

    /// Waits until nothing changed for so long, at most ten times that.
    pub(crate) async fn until_quiet(&mut self, quiet: Duration) {
        let quiet_once =
            async { while let Ok(true) = tokio::time::timeout(quiet, self.changed()).await {} };
        // If it is never quiet, what there is then will do.
        let _ = tokio::time::timeout(quiet * 10, quiet_once).await;
    }

    /// What keeps it from following, if the cluster said so.
    pub(crate) fn problem(&self) -> Option<String> {
        self.mirrors.iter().find_map(|(_, mirror)| mirror.problem())
    }

    /// How long ago the cluster was known to have nothing newer, at most; `Duration::MAX`: never yet.
    pub(crate) fn age(&self) -> Duration {
        let ages = self.mirrors.iter().map(|(_, mirror)| mirror.age());
        ages.max().unwrap_or(Duration::MAX)
    }

    /// Whether no server answered yet since the agent started.
    pub(crate) fn is_offline(&self) -> bool {
        let mut mirrors = self.mirrors.iter();
        mirrors.any(|(_, mirror)| mirror.origin() == Origin::Disk)
    }

    /// Whether a majority of the servers said since the agent started that nothing is newer. A node that is
    /// cut off cannot, and what was kept on the disk says nothing of it.
    fn is_confirmed(&self) -> bool {
        let mut mirrors = self.mirrors.iter();
        mirrors.all(|(_, mirror)| mirror.is_confirmed())
    }

    /// What there is now; waits a little for what is on its way.
    pub(crate) async fn values(&self) -> Result<Values, Unready> {
        let deadline = tokio::time::Instant::now() + ON_ITS_WAY;
        loop {
            let unready = match self.read() {
                Err(unready @ (Unready::Apart(_) | Unready::Awaited { .. })) => unready,
                other => return other,
            };
            if tokio::time::Instant::now() >= deadline {
                return Err(unready);
            }
            if let Unready::Apart(revision) = unready {
                let reached = self
                    .mirrors
                    .iter()
                    .map(|(_, mirror)| mirror.wait_for(revision, ON_ITS_WAY));
                future::join_all(reached).await;
            } else {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn read(&self) -> Result<Values, Unready> {
        let views: Vec<_> = self
            .mirrors
            .iter()
            .map(|(_, mirror)| mirror.view())
            .collect();
        // Each is so from its last change to its revision: there must be a moment in all of them.
        let revision = views.iter().map(|view| view.revision()).min().unwrap_or(0);
        let since = views.iter().map(|view| view.changed()).max().unwrap_or(0);
        if since > revision {
            return Err(Unready::Apart(since));
        }
        let is_confirmed = self.is_confirmed() && self.age() < RECENT;
        let mut values = Values::new(self.place.clone(), revision, is_confirmed);
        for ((prefix, mirror), view) in self.mirrors.iter().zip(&views) {
            let chosen = self.place.choose(prefix, view)?;
            values.add(prefix, chosen, |entry| self.secret(mirror, entry))?;
        }
        Ok(values)
    }

    fn secret(&self, mirror: &Mirror, entry: &Entry) -> Result<Held, Unready> {
        if !self.reveals {
            return Ok(Held::Closed);
        }
        let found = mirror.secret(entry.key.as_bytes());
        let this = found.filter(|found| found.entry().modified == entry.modified);
        this.map(Held::Open).ok_or_else(|| Unready::Awaited {
            key: entry.key.to_string(),
            why: mirror
                .problem()
                .map(|why| format!(": {why}"))
                .unwrap_or_default(),
        })
    }
}

/// How long what is on its way may take before it is a problem.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const RECENT: Duration = Duration::from_secs(60);
