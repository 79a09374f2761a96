//! Opening a configuration: for whom, with which defaults, checked by what, started with what.

use std::{
    fmt,
    marker::PhantomData,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use holdfast_seal::SymmetricKey;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use tokio::{sync::watch, time::Instant};

use super::{
    Config, ConfigError, Live, Loaded, Rejected, Shared,
    follower::{Follower, Recipe},
    layers::Place,
    reporting::{self, Reporting},
};
use crate::{
    CacheError, Client, Mirror, MirrorOptions, MirrorReveal, Secret, StartPolicy, Subject,
    cache::{Cache, Job, Saved, Saver},
    default_instance,
};

/// What a configuration is to be. From [`Client::config`].
#[must_use = "nothing is read before `open`"]
pub struct ConfigBuilder<T> {
    client: Client,
    prefix: String,
    place: Place,
    defaults: Result<Option<Json>, ConfigError>,
    validator: Validator<T>,
    mirror: MirrorOptions,
    cache: Option<CacheAt>,
    start: StartPolicy,
    reports: bool,
    instance: Option<String>,
    of: PhantomData<fn() -> T>,
}

/// Where the cache is, and with which key if not with one of the client's own.
struct CacheAt {
    folder: PathBuf,
    key: Option<Secret<[u8; 32]>>,
}

/// What a configuration starts with.
struct Start<T> {
    mirror: Mirror,
    first: Loaded<T>,
    /// The newer state that the cluster has, and that was not taken.
    rejected: Option<Rejected>,
    /// What is to be saved, if it is not what was.
    job: Option<Job>,
}

/// Says why a value is not to be used.
pub(super) type Validator<T> = Box<dyn Fn(&T) -> Result<(), String> + Send + Sync>;

impl Client {
    /// The configuration under a prefix, as a type of the caller's. The prefix ends where the names of
    /// the fields begin, usually with `/`.
    pub fn config<T>(&self, prefix: impl Into<String>) -> ConfigBuilder<T> {
        ConfigBuilder {
            client: self.clone(),
            prefix: prefix.into(),
            place: Place::default(),
            defaults: Ok(None),
            validator: Box::new(|_| Ok(())),
            mirror: MirrorOptions::default(),
            cache: None,
            start: StartPolicy::default(),
            reports: true,
            instance: None,
            of: PhantomData,
        }
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> ConfigBuilder<T> {
    /// A role of this service or node: keys with `@role:NAME` count for it. Of several, the later one
    /// counts more.
    pub fn role(mut self, name: impl Into<String>) -> Self {
        self.place.roles.push(name.into());
        self
    }

    /// This node: keys with `@node:NAME` count for it, more than any role's.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.place.node = Some(name.into());
        self
    }

    /// What counts where no key says otherwise: any value that serializes to fields, such as a `T`.
    pub fn defaults(mut self, defaults: impl Serialize) -> Self {
        self.defaults = match serde_json::to_value(defaults) {
            Ok(json @ Json::Object(_)) => Ok(Some(json)),
            Ok(_) => Err(ConfigError::Defaults("they are no fields".to_owned())),
            Err(error) => Err(ConfigError::Defaults(error.to_string())),
        };
        self
    }

    /// Checks each new state before it is used; what it says against one is kept in
    /// [`Config::status`], so it must name no secret.
    pub fn validate<E: fmt::Display>(
        mut self,
        check: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.validator = Box::new(move |value| check(value).map_err(|error| error.to_string()));
        self
    }

    /// Opens the secrets under the prefix. `reason` goes into the audit log.
    pub fn reveal(mut self, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        self.mirror.reveal = Some(MirrorReveal { reason });
        self
    }

    /// How often to ask the cluster whether it is current, see [`MirrorOptions::check`].
    pub fn check_every(mut self, check: Duration) -> Self {
        self.mirror.check = check;
        self
    }

    /// Keeps what is taken in a folder of this node, sealed so that only who has this client's private
    /// key opens it, and starts with it when no server answers: see [`ConfigBuilder::start`]. Make the
    /// client with [`Client::lazy`], which needs no server either. The folder belongs to this service
    /// alone.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        let key = self.cache.take().and_then(|cache| cache.key);
        let folder = folder.into();
        self.cache = Some(CacheAt { folder, key });
        self
    }

    /// The same, sealed with a key of the caller's, such as a credential of the service manager.
    pub fn cache_with_key(self, folder: impl Into<PathBuf>, key: Secret<[u8; 32]>) -> Self {
        let mut this = self.cache(folder);
        if let Some(cache) = &mut this.cache {
            cache.key = Some(key);
        }
        this
    }

    /// What to start with, where there is a cache. Default: a server's word within 5 seconds, else the
    /// cache.
    pub fn start(mut self, policy: StartPolicy) -> Self {
        self.start = policy;
        self
    }

    /// What this process is called in `kvctl fleet`, apart from others of the same identity. Default:
    /// [`crate::default_instance`], which is the same after a restart. Name it where several processes of
    /// one program run on one machine.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Does not tell the cluster what this process runs.
    pub fn without_reports(mut self) -> Self {
        self.reports = false;
        self
    }

    /// Reads it, and follows the cluster from then on. An error where there is no configuration yet, or
    /// none that is taken: a service must not start with half of one.
    pub async fn open(self) -> Result<Config<T>, ConfigError> {
        let Self {
            client,
            prefix,
            place,
            defaults,
            validator,
            mirror: options,
            cache,
            start,
            reports,
            instance,
            ..
        } = self;
        let recipe = Recipe {
            prefix,
            place,
            defaults: defaults?,
            validator,
        };
        let cache = match cache {
            Some(at) => Some(Arc::new(at.open(&client, &recipe.prefix).await?)),
            None => None,
        };
        let opening = Opening {
            client: &client,
            recipe: &recipe,
            options,
            cache: cache.as_ref(),
            seen: AtomicU64::new(0),
        };
        let reporter = reports.then(|| {
            let name = instance.unwrap_or_else(|| default_instance(recipe.place.node.as_deref()));
            client.reporter(name)
        });
        let started = opening.start(start).await;
        if let (Err(error), Some(reporter)) = (&started, &reporter) {
            let seen = opening.seen.load(Ordering::Relaxed);
            reporting::tell_refused(reporter, &recipe, seen, error).await;
        }
        let Start {
            mirror,
            first,
            rejected,
            job,
        } = started?;
        let revision = first.revision;
        let shared = Arc::new(Shared::new(first));
        if let Some(rejected) = rejected {
            shared.reject(rejected);
        }
        let (jobs, to_do) = watch::channel(None);
        if job.is_some() {
            jobs.send_replace(job);
        }
        let cache_state = Arc::default();
        let mut tasks = Vec::new();
        if let Some(cache) = cache {
            let current = Arc::clone(&shared);
            let saver = Saver {
                serial: cache.newest(),
                marked_at: SystemTime::UNIX_EPOCH,
                cache,
                client,
                mirror: mirror.clone(),
                jobs: to_do,
                state: Arc::clone(&cache_state),
                is_current: Box::new(move || current.rejected.lock().is_none()),
            };
            tasks.push(tokio::spawn(saver.run()).abort_handle());
        }
        if let Some(reporter) = &reporter {
            let reporting = Reporting {
                reporter: reporter.clone(),
                subject: Subject::config(&recipe.prefix),
                place: recipe.place.clone(),
                mirror: mirror.clone(),
                shared: Arc::clone(&shared),
            };
            tasks.push(tokio::spawn(reporting.run()).abort_handle());
        }
        let changes = mirror.watch_from(revision);
        let follower = Follower {
            recipe,
            changes,
            mirror: mirror.clone(),
            shared: Arc::clone(&shared),
            jobs,
        };
        tasks.push(tokio::spawn(follower.run()).abort_handle());
        let live = Some(Arc::new(Live {
            mirror,
            tasks,
            cache: cache_state,
            reporter,
        }));
        Ok(Config { shared, live })
    }
}

impl CacheAt {
    async fn open(self, client: &Client, prefix: &str) -> Result<Cache, ConfigError> {
        let key = || match &self.key {
            Some(key) => SymmetricKey::from_slice(key.expose()),
            None => client
                .cache_key()
                .and_then(|key| SymmetricKey::from_slice(key.expose())),
        };
        let none = || {
            ConfigError::Cache(
                "this client has no private key to seal a cache with; give one with \
                 `cache_with_key`"
                    .to_owned(),
            )
        };
        let until = Instant::now() + LET_GO;
        loop {
            let key = key().ok_or_else(none)?;
            match Cache::open(&self.folder, key, client.cluster_name(), prefix) {
                // One that was dropped a moment ago lets go of it in a moment.
                Err(CacheError::InUse { .. }) if Instant::now() < until => {
                    tokio::time::sleep(LOOK).await;
                }
                opened => return opened.map_err(|error| ConfigError::Cache(error.to_string())),
            }
        }
    }
}

/// A configuration that is being opened.
struct Opening<'a, T> {
    client: &'a Client,
    recipe: &'a Recipe<T>,
    options: MirrorOptions,
    cache: Option<&'a Arc<Cache>>,
    /// The newest revision that a server had.
    seen: AtomicU64,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Opening<'_, T> {
    async fn start(&self, policy: StartPolicy) -> Result<Start<T>, ConfigError> {
        let Some(cache) = self.cache else {
            return self.with_server(self.client.timeout()).await;
        };
        let loaded = Arc::clone(cache);
        let saved = tokio::task::spawn_blocking(move || loaded.load()).await;
        // Only a runtime that ends drops the work.
        let saved = saved.unwrap_or(Err(CacheError::Missing));
        if let Ok(saved) = &saved {
            // Servers that came since the context was written.
            self.client.nodes().remember(&saved.endpoints);
        }
        let (wait, max_age) = match policy {
            StartPolicy::ServerOnly => return self.with_server(self.client.timeout()).await,
            StartPolicy::ServerThenCache { wait } => (Some(wait), Duration::MAX),
            StartPolicy::CacheThenServer { max_age } => (None, max_age),
        };
        let saved = saved.and_then(|saved| match saved.age() {
            age if age > max_age => Err(CacheError::TooOld {
                path: cache.path().to_owned(),
                age,
                max_age,
            }),
            _ => Ok(saved),
        });
        if let (Ok(saved), None) = (&saved, wait) {
            return self.with_cache(saved, None);
        }
        let error = match self
            .with_server(wait.unwrap_or(self.client.timeout()))
            .await
        {
            Ok(start) => return Ok(start),
            Err(denied @ ConfigError::Denied { .. }) => return Err(denied),
            Err(error) => error,
        };
        match saved {
            Ok(saved) => {
                tracing::warn!(%error, "the service starts with its cache");
                self.with_cache(&saved, Some(error))
            }
            Err(CacheError::Missing) => Err(error),
            Err(cache) => Err(ConfigError::Offline {
                why: error.to_string(),
                cache: cache.to_string(),
            }),
        }
    }

    /// With what the cluster has.
    async fn with_server(&self, wait: Duration) -> Result<Start<T>, ConfigError> {
        let client = self.client.with_timeout(wait);
        let prefix = self.recipe.prefix.clone();
        let mirror = client.mirror_with(prefix, self.options.clone()).await;
        let mirror = mirror.map_err(|error| ConfigError::read(&self.recipe.prefix, &error))?;
        let (view, secrets) = (mirror.view(), mirror.opened());
        self.seen.store(view.revision(), Ordering::Relaxed);
        Ok(Start {
            first: self.recipe.cook(&view, &secrets)?,
            job: Some(Job::of(&view, &secrets)),
            rejected: None,
            mirror,
        })
    }

    /// With what was taken last; `instead` of what the cluster has, if it has anything.
    fn with_cache(
        &self,
        saved: &Saved,
        instead: Option<ConfigError>,
    ) -> Result<Start<T>, ConfigError> {
        let prefix = self.recipe.prefix.clone();
        let mirror = self.client.mirror_from(prefix, self.options.clone(), saved);
        let first = self.recipe.cook(&saved.view, &mirror.opened())?;
        let rejected = match instead {
            None | Some(ConfigError::Read { .. }) => None,
            // It is looked at again when the mirror reaches it.
            Some(error) => Some(Rejected {
                revision: first.revision,
                error,
            }),
        };
        Ok(Start {
            mirror,
            first,
            rejected,
            job: None,
        })
    }
}

const LET_GO: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
