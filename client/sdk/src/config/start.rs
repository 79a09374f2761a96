//! What a configuration starts with: the cluster's word or what was kept, under an override if one lies there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::{
    ConfigError, Loaded, Rejected,
    follower::{Recipe, Seen},
    overriding::Overriding,
};
use crate::{
    CacheError, Client, Mirror, MirrorOptions, MirrorView, StartPolicy,
    cache::{Cache, Job, Saved},
    mirror::OpenedSecrets,
    overrides::Administrators,
};

/// What a configuration starts with.
pub(super) struct Start<T> {
    pub(super) mirror: Mirror,
    pub(super) first: Loaded<T>,
    /// The newer state that the cluster has, and that was not taken.
    pub(super) rejected: Option<Rejected>,
    /// What is to be saved, if it is not what was.
    pub(super) job: Option<Job>,
    /// What it was made of.
    pub(super) seen: Seen,
}

/// A configuration that is being opened.
pub(super) struct Opening<'a, T> {
    pub(super) client: &'a Client,
    pub(super) recipe: &'a Recipe<T>,
    pub(super) options: MirrorOptions,
    pub(super) cache: Option<&'a Arc<Cache>>,
    pub(super) administrators: &'a Administrators,
    pub(super) overriding: Option<&'a mut Overriding>,
    /// The newest revision that a server had.
    pub(super) seen: AtomicU64,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Opening<'_, T> {
    pub(super) async fn start(&mut self, policy: StartPolicy) -> Result<Start<T>, ConfigError> {
        let Some(cache) = self.cache else {
            self.look_for_override().await;
            return self.with_server(self.client.timeout()).await;
        };
        let loaded = Arc::clone(cache);
        let saved = tokio::task::spawn_blocking(move || loaded.load()).await;
        // Only a runtime that ends drops the work.
        let saved = saved.unwrap_or(Err(CacheError::Missing));
        if let Ok(saved) = &saved {
            // Servers that came since the context was written.
            self.client.nodes().remember(&saved.endpoints);
            self.administrators.remember(&saved.administrators);
        }
        self.look_for_override().await;
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

    /// One that is there when the service starts counts from the start.
    async fn look_for_override(&mut self) {
        if let Some(overriding) = &mut self.overriding
            && overriding.is_there().await
        {
            self.administrators.until_known(LEARN).await;
            overriding.look().await;
        }
    }

    /// Under the override, if there is one and a configuration comes of it.
    fn cook(
        &mut self,
        view: &MirrorView,
        secrets: &OpenedSecrets,
    ) -> Result<Loaded<T>, ConfigError> {
        let Some(overriding) = &mut self.overriding else {
            return self.recipe.cook(view, secrets, None);
        };
        let wanted = overriding.wanted().cloned();
        let error = match self.recipe.cook(view, secrets, wanted.as_ref()) {
            Err(error) if wanted.is_some() => error,
            done => return done,
        };
        let without = self.recipe.cook(view, secrets, None)?;
        overriding.refuse(error, None);
        Ok(without)
    }

    /// With what the cluster has.
    async fn with_server(&mut self, wait: Duration) -> Result<Start<T>, ConfigError> {
        let client = self.client.with_timeout(wait);
        let prefix = self.recipe.prefix.clone();
        let mirror = client.mirror_with(prefix, self.options.clone()).await;
        let mirror = mirror.map_err(|error| ConfigError::read(&self.recipe.prefix, &error))?;
        let (view, secrets) = (mirror.view(), mirror.opened());
        self.seen.store(view.revision(), Ordering::Relaxed);
        let first = self.cook(&view, &secrets)?;
        let is_whole = first.over.is_none() || self.recipe.cook(&view, &secrets, None).is_ok();
        Ok(Start {
            first,
            job: is_whole.then(|| Job::of(&view, &secrets)),
            rejected: None,
            mirror,
            seen: Seen {
                view,
                secrets: Arc::new(secrets),
            },
        })
    }

    /// With what was taken last; `instead` of what the cluster has, if it has anything.
    fn with_cache(
        &mut self,
        saved: &Saved,
        instead: Option<ConfigError>,
    ) -> Result<Start<T>, ConfigError> {
        let prefix = self.recipe.prefix.clone();
        let mirror = self.client.mirror_from(prefix, self.options.clone(), saved);
        let secrets = mirror.opened();
        let first = self.cook(&saved.view, &secrets)?;
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
            seen: Seen {
                view: Arc::new(saved.view.clone()),
                secrets: Arc::new(secrets),
            },
        })
    }
}

/// Who the administrators are is waited for so long, where an override lies there.
const LEARN: Duration = Duration::from_secs(1);
