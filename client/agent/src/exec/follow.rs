//! Follows what lies under the prefixes, from one usable environment to the next.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_client::Place;
use tokio::{sync::watch, time::sleep};

use super::environment::{Environment, EnvironmentError};
use crate::{failure::chain, source::Sources, values::Feed};

/// What a command's environment is made of.
pub(crate) struct Follower {
    feed: Feed,
    prefixes: Vec<String>,
    settle: Duration,
}

/// What is known of the prefixes.
#[derive(Clone)]
pub(crate) struct Seen {
    /// The newest that can be used.
    pub(crate) environment: Arc<Environment>,
    /// Why what is newer cannot be used, or is not known.
    pub(crate) problem: Option<String>,
    /// When the cluster was known to have nothing newer; `None`: never yet.
    pub(crate) confirmed: Option<Instant>,
    /// Whether it is from this node's disk: no server answered yet.
    pub(crate) is_offline: bool,
}

impl Follower {
    /// Begins to follow, with a first environment. `settle`: how long it must be quiet before a change
    /// counts, so that many are one.
    pub(crate) async fn open(
        sources: &Sources,
        prefixes: Vec<String>,
        reveals: bool,
        place: Place,
        settle: Duration,
    ) -> Result<(Self, Seen), EnvironmentError> {
        let feed = Feed::open(sources, &prefixes, reveals, place).await?;
        let this = Self {
            feed,
            prefixes,
            settle,
        };
        let environment = this.environment().await?;
        let seen = this.seen(Arc::new(environment), None);
        Ok((this, seen))
    }

    /// Tells what is seen, until nobody follows.
    pub(crate) async fn run(mut self, told: watch::Sender<Seen>) {
        loop {
            let is_troubled = told.borrow().problem.is_some();
            tokio::select! {
                changed = self.feed.changed() => {
                    if !changed {
                        return;
                    }
                    self.feed.until_quiet(self.settle).await;
                }
                () = sleep(if is_troubled { RETRY } else { REPEAT }) => {}
                () = told.closed() => return,
            }
            let usable = Arc::clone(&told.borrow().environment);
            let seen = match self.environment().await {
                Ok(environment) => self.seen(Arc::new(environment), self.feed.problem()),
                Err(error) => self.seen(usable, Some(chain(&error))),
            };
            told.send_replace(seen);
        }
    }

    async fn environment(&self) -> Result<Environment, EnvironmentError> {
        let values = self.feed.values().await?;
        Environment::of(&values, &self.prefixes)
    }

    fn seen(&self, environment: Arc<Environment>, problem: Option<String>) -> Seen {
        Seen {
            environment,
            problem,
            confirmed: Instant::now().checked_sub(self.feed.age()),
            is_offline: self.feed.is_offline(),
        }
    }
}

/// How often it is said how old the newest is.
const REPEAT: Duration = Duration::from_secs(20);
/// When what could not be used is looked at again.
const RETRY: Duration = Duration::from_secs(2);
