//! Opening a configuration: for whom, with which defaults, checked by what, started with what.

use std::{
    fmt,
    marker::PhantomData,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use tokio::sync::watch;

use super::{
    Config, ConfigError, Live, Shared,
    follower::{Follower, Recipe},
    layers::Place,
    overriding::Overriding,
    reporting::{self, Reporting},
    start::{Opening, Start},
};
use crate::{
    Client, MirrorOptions, MirrorReveal, Secret, StartPolicy, Subject,
    cache::{CachePlace, Saver},
    default_instance,
    overrides::{Administrators, Authority},
    tasks::Tasks,
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
    cache: Option<CachePlace>,
    start: StartPolicy,
    reports: bool,
    instance: Option<String>,
    override_file: Option<PathBuf>,
    override_authority: Option<Vec<u8>>,
    of: PhantomData<fn() -> T>,
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
            override_file: None,
            override_authority: None,
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

    /// What counts where no key says otherwise: any value that serializes to fields, such as a `T`, or
    /// what figment read of files and the environment (`figment.extract::<serde_json::Value>()?`).
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
        self.cache = Some(CachePlace { folder, key });
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

    /// Where an emergency override may be put, on this node: a file that `kvctl override sign` made, which
    /// counts more than anything in the store, for a while, and works with every server down. It is
    /// looked for at the start, and every second from then on. What is in use, or refused, is in
    /// [`Config::status`], in reports and in the log. Goes with [`ConfigBuilder::cache`]: there it is
    /// remembered whose signature counts.
    pub fn override_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.override_file = Some(path.into());
        self
    }

    /// The certificate (PEM) of the authority whose clients sign overrides, for a client that was made
    /// without a context, as over a channel of the caller's.
    pub fn override_authority(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.override_authority = Some(certificate.into());
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
            override_file,
            override_authority,
            ..
        } = self;
        let recipe = Recipe {
            prefix,
            place,
            defaults: defaults?,
            validator,
        };
        let cache = match cache {
            Some(place) => {
                let cache = place.open(&client, &recipe.prefix).await;
                let cache = cache.map_err(|error| ConfigError::Cache(error.to_string()))?;
                Some(Arc::new(cache))
            }
            None => None,
        };
        let mut tasks = Tasks::default();
        let administrators = Arc::new(Administrators::unknown());
        let mut overriding = None;
        if let Some(path) = override_file {
            let authority = match override_authority {
                Some(pem) => Authority::from_pem(client.cluster_name(), pem),
                None => client
                    .authority()
                    .cloned()
                    .ok_or(ConfigError::OverrideAuthority)?,
            };
            tasks.spawn(Arc::clone(&administrators).follow(client.clone()));
            let known = Arc::clone(&administrators);
            overriding = Some(Overriding::new(path, &recipe.prefix, authority, known));
        }
        let mut opening = Opening {
            client: &client,
            recipe: &recipe,
            options,
            cache: cache.as_ref(),
            administrators: &administrators,
            overriding: overriding.as_mut(),
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
            moment,
        } = started?;
        let revision = first.revision;
        let shared = Arc::new(Shared::new(first));
        if let Some(rejected) = rejected {
            shared.reject(rejected);
        }
        shared.note_override_problem(overriding.as_ref().and_then(Overriding::problem));
        let (jobs, to_do) = watch::channel(None);
        if job.is_some() {
            jobs.send_replace(job);
        }
        let cache_status = Arc::default();
        if let Some(cache) = cache {
            let saver = Saver {
                serial: cache.newest(),
                cache,
                client,
                mirror: mirror.clone(),
                jobs: to_do,
                status: Arc::clone(&cache_status),
                administrators: administrators.subscribe(),
            };
            tasks.spawn(saver.run());
        }
        if let Some(reporter) = &reporter {
            let reporting = Reporting {
                reporter: reporter.clone(),
                subject: Subject::config(&recipe.prefix),
                place: recipe.place.clone(),
                mirror: mirror.clone(),
                shared: Arc::clone(&shared),
            };
            tasks.spawn(reporting.run());
        }
        let changes = mirror.watch_from(revision);
        let follower = Follower {
            recipe,
            changes,
            mirror: mirror.clone(),
            shared: Arc::clone(&shared),
            jobs,
            taken: overriding.is_some().then_some(moment),
            overriding,
        };
        tasks.spawn(follower.run());
        let live = Some(Arc::new(Live {
            mirror,
            _tasks: tasks,
            cache: cache_status,
            reporter,
        }));
        Ok(Config { shared, live })
    }
}
