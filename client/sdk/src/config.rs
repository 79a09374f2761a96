//! Typed configuration: a prefix as a value of the service's own type, hot, checked, never half.
//!
//! ```no_run
//! use holdfast_client::{Client, Context, Secret};
//!
//! #[derive(serde::Deserialize)]
//! struct Billing {
//!     timeout_seconds: u64,
//!     currency: Option<String>,
//!     database: Database,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Database {
//!     host: String,
//!     password: Secret<String>,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(&Context::discover()?).await?;
//! let config = client
//!     .config::<Billing>("billing/")
//!     .role("web")
//!     .reveal("the service starts")
//!     .validate(|billing| match billing.timeout_seconds {
//!         1..=600 => Ok(()),
//!         other => Err(format!("a timeout of {other} s")),
//!     })
//!     .open()
//!     .await?;
//! // Anywhere, at any time, without waiting:
//! let timeout = config.load().timeout_seconds;
//! # Ok(()) }
//! ```
//!
//! In an emergency a signed file beside the service counts more than the store: see
//! [`ConfigBuilder::override_file`].
//!
//! The key `billing/database/host` is the field `database.host`. A role or a node overrides it by
//! `billing/database/host@role:web` or `…@node:db7`; the node counts most. In keys of a
//! configuration `@` has no other use. Values have types in the store; where a field wants a number or
//! a flag, text and bytes that say one are taken as well. A secret opens into a
//! [`Secret`](crate::Secret) field and into no other.
//!
//! Promises:
//! 1. What [`Config::load`] gives is of one revision, and passed the validator. It waits for nobody.
//! 2. What does not fit the type, or does not pass, changes nothing: the service keeps what it has, and
//!    [`Config::status`] says what was rejected and why.
//! 3. A prefix with nothing under it is an error, at the start and later: an empty configuration is never
//!    made of it. A key that was removed is a removal: the field goes back to its default, or the
//!    update is rejected where it has none.
//! 4. No error and no `Debug` shows a value. What a field's own `Deserialize` says is told, but for
//!    secrets: of those no word is passed on.
//! 5. The cluster is told which revision is in use, and what was not taken and why; nothing waits for
//!    that. See [`crate::FleetClient::list`] and `kvctl fleet`.

mod deserialize;
mod error;
mod explain;
mod follower;
mod layers;
mod open;
mod overriding;
mod reporting;
mod start;
mod tree;

pub use self::{
    error::{ConfigError, FieldError},
    explain::{ConfigLayers, LayerEntry},
    layers::{Chosen, Layer, Place},
    open::ConfigBuilder,
};

use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, Guard};
use holdfast_proto::{Key, Revision, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Mirror, Origin, Override, Reporter, cache::CacheStatus, tasks::Tasks};

/// The configuration of a service, as its own type. Clones share it; when the last is dropped, it stops
/// following the cluster.
pub struct Config<T> {
    shared: Arc<Shared<T>>,
    /// None of [`Config::fixed`].
    live: Option<Arc<Live>>,
}

/// A configuration that is being read; dereferences to it. Keep it short; for longer take
/// [`Config::load_full`].
pub struct ConfigRead<T>(Guard<Arc<Loaded<T>>>);

/// How a configuration is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConfigStatus {
    /// The revision that [`Config::load`] is of; 0 of [`Config::fixed`].
    pub revision: u64,
    /// Where it comes from.
    pub origin: Origin,
    /// How long ago the cluster was known to have nothing newer, at most.
    pub age: Duration,
    /// The newer state that was not taken.
    pub rejected: Option<Rejected>,
    /// The revision of a newer state that waits for a secret to be opened.
    pub pending: Option<u64>,
    /// What keeps it from following the cluster, if the cluster said so.
    pub problem: Option<String>,
    /// The revision that is kept on this node's disk; 0: this process kept none yet, or keeps none.
    pub cached: u64,
    /// What keeps it from being kept there.
    pub cache_problem: Option<String>,
    /// Why the cluster does not take what is reported to it.
    pub report_problem: Option<String>,
    /// The emergency override that is in use: an alarm.
    pub override_in_use: Option<Arc<Override>>,
    /// Why the one that lies there is not, or is not any more.
    pub override_problem: Option<String>,
}

/// A state of the prefix that was not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// Its revision.
    pub revision: u64,
    /// Why.
    pub error: ConfigError,
}

/// Where the value of a field comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The layer that counts.
    pub layer: Layer,
    /// The key; `None`: it is the default in the code.
    pub key: Option<Key>,
    /// The revision that wrote it.
    pub revision: Option<Revision>,
    /// Who wrote it.
    pub author: String,
    /// Why, as the author said.
    pub note: String,
    /// When, in cluster time.
    pub at: Option<Timestamp>,
}

struct Shared<T> {
    loaded: ArcSwap<Loaded<T>>,
    values: watch::Sender<Arc<T>>,
    rejected: Mutex<Option<Rejected>>,
    /// Something newer is there and was not taken: what is in use was known to be current last then;
    /// `UNIX_EPOCH`: never.
    outdated: Mutex<Option<SystemTime>>,
    /// The revision of the state that was taken or rejected last.
    judged: watch::Sender<u64>,
    /// The revision of the state that was seen, and waits for a secret; 0: none does.
    pending: watch::Sender<u64>,
    /// Why no override is used, if one lies there.
    override_problem: watch::Sender<Option<String>>,
}

/// One state that was taken.
struct Loaded<T> {
    value: Arc<T>,
    revision: u64,
    /// By field, its parts joined with `/`.
    sources: BTreeMap<String, Explanation>,
    over: Option<Arc<Override>>,
}

/// What follows the cluster.
struct Live {
    mirror: Mirror,
    _tasks: Tasks,
    cache: Arc<watch::Sender<CacheStatus>>,
    reporter: Option<Reporter>,
}

impl<T> Config<T> {
    /// One that never changes: for tests of what reads it.
    pub fn fixed(value: T) -> Self {
        Self {
            shared: Arc::new(Shared::new(Loaded {
                value: Arc::new(value),
                revision: 0,
                sources: BTreeMap::new(),
                over: None,
            })),
            live: None,
        }
    }

    /// The configuration as it is now. Wait-free, a few nanoseconds.
    pub fn load(&self) -> ConfigRead<T> {
        ConfigRead(self.shared.loaded.load())
    }

    /// The same, to keep.
    pub fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.shared.loaded.load().value)
    }

    /// Tells of each change that was taken, and holds the newest.
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.shared.values.subscribe()
    }

    /// Where a field's value comes from: `database.host` or `database/host`. `None`: neither a key
    /// nor a default names it.
    pub fn explain(&self, field: &str) -> Option<Explanation> {
        let field = field.replace('.', "/");
        self.shared.loaded.load().sources.get(&field).cloned()
    }

    /// How it is: of which revision, how old, and what was not taken.
    pub fn status(&self) -> ConfigStatus {
        let loaded = self.shared.loaded.load();
        let revision = loaded.revision;
        let rejected = self.shared.rejected.lock().clone();
        let kept = self.live.as_ref().map(|live| live.cache.borrow().clone());
        let kept = kept.unwrap_or_default();
        let mirror = self.live.as_ref().map(|live| &live.mirror);
        let reporter = self.live.as_ref().and_then(|live| live.reporter.as_ref());
        let pending = *self.shared.pending.borrow();
        ConfigStatus {
            revision,
            origin: mirror.map_or(Origin::Cache, Mirror::origin),
            age: mirror.map_or(Duration::ZERO, |mirror| self.shared.age(mirror)),
            rejected,
            problem: mirror.and_then(Mirror::problem),
            cached: kept.revision,
            cache_problem: kept.problem,
            pending: (pending != 0).then_some(pending),
            override_in_use: loaded.over.clone(),
            override_problem: self.shared.override_problem.borrow().clone(),
            report_problem: reporter.and_then(|reporter| reporter.status().problem),
        }
    }

    /// Waits until the state at a revision, such as that of a write of one's own, was taken or
    /// rejected. `false`: it was not within `timeout`.
    pub async fn wait_for(&self, revision: u64, timeout: Duration) -> bool {
        let Some(live) = &self.live else {
            return false;
        };
        let waiting = async {
            if !live.mirror.wait_for(revision, timeout).await {
                return false;
            }
            let newest = live.mirror.last_change();
            let mut judged = self.shared.judged.subscribe();
            judged.wait_for(|judged| *judged >= newest).await.is_ok()
        };
        tokio::time::timeout(timeout, waiting)
            .await
            .unwrap_or(false)
    }
}

impl<T> Shared<T> {
    fn new(first: Loaded<T>) -> Self {
        Self {
            values: watch::Sender::new(Arc::clone(&first.value)),
            judged: watch::Sender::new(first.revision),
            pending: watch::Sender::new(0),
            override_problem: watch::Sender::new(None),
            loaded: ArcSwap::from_pointee(first),
            rejected: Mutex::new(None),
            outdated: Mutex::new(None),
        }
    }

    /// How long ago the cluster was known to have nothing newer than what is in use, at most.
    fn age(&self, mirror: &Mirror) -> Duration {
        let outdated = *self.outdated.lock();
        let since = outdated.map_or(Duration::ZERO, |at| match at {
            SystemTime::UNIX_EPOCH => Duration::MAX,
            at => at.elapsed().unwrap_or_default(),
        });
        mirror.age().max(since)
    }

    /// There is something newer, which is not taken, or not yet.
    fn note_outdated(&self, mirror: &Mirror) {
        let at = || mirror.superseded().unwrap_or(SystemTime::UNIX_EPOCH);
        self.outdated.lock().get_or_insert_with(at);
    }

    fn take(&self, loaded: Loaded<T>) {
        let (value, revision) = (Arc::clone(&loaded.value), loaded.revision);
        self.swap(loaded);
        *self.rejected.lock() = None;
        *self.outdated.lock() = None;
        self.pending.send_replace(0);
        self.values.send_replace(value);
        self.judged.send_replace(revision);
    }

    /// The same state, under another override or none; whatever is said of newer states stays.
    fn change_override(&self, loaded: Loaded<T>) {
        let value = Arc::clone(&loaded.value);
        self.swap(loaded);
        self.values.send_replace(value);
        self.judged.send_modify(|_| {});
    }

    fn swap(&self, loaded: Loaded<T>) {
        let over = loaded.over.clone();
        let before = self.loaded.swap(Arc::new(loaded));
        match over {
            over if before.over == over => {}
            Some(over) => tracing::warn!(
                signer = over.signer(),
                reason = over.reason(),
                fields = ?over.fields(),
                "an EMERGENCY OVERRIDE is in use"
            ),
            None => tracing::warn!("the emergency override is not in use any more"),
        }
    }

    fn note_override_problem(&self, problem: Option<&String>) {
        self.override_problem.send_if_modified(|known| {
            let is_news = known.as_ref() != problem;
            if is_news {
                if let Some(problem) = problem {
                    tracing::warn!("{problem}");
                }
                *known = problem.cloned();
            }
            is_news
        });
    }

    fn reject(&self, rejected: Rejected) {
        let revision = rejected.revision;
        *self.rejected.lock() = Some(rejected);
        self.pending.send_replace(0);
        self.judged.send_replace(revision);
    }
}

impl<T> Deref for ConfigRead<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> ConfigRead<T> {
    /// The revision it is of; 0 of [`Config::fixed`].
    pub fn revision(read: &Self) -> u64 {
        read.0.revision
    }
}

impl<T> Clone for Config<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            live: self.live.clone(),
        }
    }
}

impl<T> fmt::Debug for Config<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
