//! What to start with: the servers' word or what was kept, as a policy says.
//!
//! Invariants: (1) where the cluster says that the client may not, what was kept is not used. (2) What
//! one node has alone, without a majority, is not preferred to something newer that was kept.

use std::{fmt, sync::Arc, time::Duration};

use super::{Cache, CacheError, Saved, StartPolicy};
use crate::{Client, Mirror, MirrorOptions, ReadError};

/// Who starts with one or the other.
pub(crate) trait Starter {
    type Started;
    type Error: StartError;

    /// With what the cluster has.
    fn with_server(
        &mut self,
        asked: Asked,
    ) -> impl Future<Output = Result<Self::Started, Self::Error>> + Send;

    /// With what was kept; `instead` of what the cluster has, if it was asked.
    fn with_cache(
        &mut self,
        saved: &Saved,
        instead: Option<Self::Error>,
    ) -> Result<Self::Started, Self::Error>;

    /// The cluster was asked in vain.
    fn failed(&self, error: ReadError) -> Self::Error;
}

/// Why there is nothing to start with.
pub(crate) trait StartError: fmt::Display {
    /// The cluster says that this client may not.
    fn is_denied(&self) -> bool;

    /// It is this, and what was kept is of no use.
    fn and_cache(self, cache: CacheError) -> Self;
}

/// How the cluster is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Waits no longer than this for the first state.
    pub(crate) wait: Duration,
    /// The revision of what was kept: what one node has alone is not to be older. 0: nothing was.
    pub(crate) kept: u64,
    /// What the agent of this node says for itself will not do.
    pub(crate) from_server: bool,
}

impl Asked {
    /// Asks a client.
    pub(crate) fn of(client: &Client) -> Self {
        Self {
            wait: client.timeout(),
            kept: 0,
            from_server: false,
        }
    }

    /// What the cluster has.
    pub(crate) async fn mirror(
        self,
        client: &Client,
        prefix: &str,
        options: MirrorOptions,
    ) -> Result<Mirror, ReadError> {
        let mirror = client.mirror_within(prefix.to_owned(), options, self.wait);
        let mirror = mirror.await?;
        if self.from_server && mirror.is_of_agent() {
            return Err(ReadError::Unreachable {
                waited: self.wait,
                last: "the agent of this node answers, and no server answers it".to_owned(),
            });
        }
        if !mirror.is_confirmed() && mirror.revision() < self.kept {
            return Err(ReadError::Unreachable {
                waited: self.wait,
                last: format!(
                    "no majority; one node alone has revision {}, and {} was kept",
                    mirror.revision(),
                    self.kept
                ),
            });
        }
        Ok(mirror)
    }
}

impl StartPolicy {
    /// Starts as it says. `saved` is what [`Cache::recall`] said.
    pub(crate) async fn start<S: Starter>(
        self,
        starter: &mut S,
        client: &Client,
        cache: &Cache,
        saved: Result<Saved, CacheError>,
    ) -> Result<S::Started, S::Error> {
        let mut asked = Asked::of(client);
        asked.kept = saved.as_ref().map_or(0, |saved| saved.view.revision());
        let max_age = match self {
            Self::ServerOnly => {
                asked.from_server = true;
                return starter.with_server(asked).await;
            }
            Self::ServerThenCache { wait } => {
                asked.wait = wait;
                Duration::MAX
            }
            Self::CacheThenServer { max_age } => {
                asked.from_server = true;
                max_age
            }
        };
        let saved = match saved.and_then(|saved| cache.not_older(saved, max_age)) {
            Ok(saved) => saved,
            Err(refused) => {
                let started = starter.with_server(asked).await;
                return started.map_err(|error| match refused {
                    CacheError::Missing => error,
                    _ if error.is_denied() => error,
                    refused => error.and_cache(refused),
                });
            }
        };
        if let Self::CacheThenServer { .. } = self {
            match starter.with_cache(&saved, None) {
                Ok(started) => return Ok(started),
                // The service may want something else than it did when that was kept.
                Err(error) => {
                    tracing::warn!(%error, "what was kept does not fit; asking the servers")
                }
            }
            return starter.with_server(asked).await;
        }
        // The first state, and as long again for what it is to be opened.
        let most = asked.wait.saturating_mul(2);
        let error = match tokio::time::timeout(most, starter.with_server(asked)).await {
            Ok(Ok(started)) => return Ok(started),
            Ok(Err(error)) if error.is_denied() => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => starter.failed(ReadError::Unreachable {
                waited: most,
                last: "not all secrets were open".to_owned(),
            }),
        };
        tracing::warn!(%error, cache = %cache.path().display(), "starting with what was kept");
        starter.with_cache(&saved, Some(error))
    }
}

impl Cache {
    /// Reads what was kept, and lets the client know of the servers that are named there. Warns of what
    /// is refused.
    pub(crate) async fn recall(self: &Arc<Self>, client: &Client) -> Result<Saved, CacheError> {
        let this = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || this.load()).await;
        // Only a runtime that ends drops the work.
        let saved = saved.unwrap_or(Err(CacheError::Missing));
        match &saved {
            // Servers that came since the context was written.
            Ok(saved) => client.nodes().remember(&saved.endpoints),
            Err(CacheError::Missing) => {}
            Err(refused) => tracing::warn!("{refused}"),
        }
        saved
    }

    fn not_older(&self, saved: Saved, max_age: Duration) -> Result<Saved, CacheError> {
        match saved.age() {
            age if age > max_age => Err(CacheError::TooOld {
                path: self.path().to_owned(),
                age,
                max_age,
            }),
            _ => Ok(saved),
        }
    }
}
