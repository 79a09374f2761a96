//! What a configuration starts with: the cluster's word or what was kept, under an override if one lies there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::{ConfigError, Loaded, Rejected, follower::Recipe, overriding::Overriding};
use crate::{
    Client, Mirror, MirrorOptions, MirrorView, ReadError, StartPolicy,
    cache::{Asked, Cache, Job, Saved, Starter},
    mirror::{Moment, OpenedSecrets},
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
    pub(super) moment: Moment,
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
        let client = self.client;
        let Some(cache) = self.cache else {
            self.look_for_override().await;
            return self.with_server(Asked::of(client)).await;
        };
        let saved = cache.recall(client).await;
        if let Ok(saved) = &saved {
            self.administrators.remember(&saved.administrators);
        }
        self.look_for_override().await;
        policy.start(self, client, cache, saved).await
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
}

impl<T: DeserializeOwned + Send + Sync + 'static> Starter for Opening<'_, T> {
    type Started = Start<T>;
    type Error = ConfigError;

    async fn with_server(&mut self, asked: Asked) -> Result<Start<T>, ConfigError> {
        let mirror = asked.mirror(self.client, &self.recipe.prefix, self.options.clone());
        let mirror = mirror.await.map_err(|error| self.failed(error))?;
        let moment = mirror.moment();
        self.seen.store(moment.view.revision(), Ordering::Relaxed);
        let first = self.cook(&moment.view, &moment.secrets)?;
        let is_whole = first.over.is_none()
            || self
                .recipe
                .cook(&moment.view, &moment.secrets, None)
                .is_ok();
        Ok(Start {
            first,
            job: is_whole.then(|| Job::of(&moment)),
            rejected: None,
            mirror,
            moment,
        })
    }

    fn with_cache(
        &mut self,
        saved: &Saved,
        instead: Option<ConfigError>,
    ) -> Result<Start<T>, ConfigError> {
        let prefix = self.recipe.prefix.clone();
        let mirror = self.client.mirror_from(prefix, self.options.clone(), saved);
        let moment = Moment {
            view: Arc::new(saved.view.clone()),
            ..mirror.moment()
        };
        let first = match (self.cook(&moment.view, &moment.secrets), instead.as_ref()) {
            (Ok(first), _) => first,
            (Err(misfit), None) => return Err(misfit),
            (Err(misfit), Some(_)) => {
                tracing::warn!(error = %misfit, "what was kept does not fit, either");
                return Err(instead.unwrap_or(misfit));
            }
        };
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
            moment,
        })
    }

    fn failed(&self, error: ReadError) -> ConfigError {
        ConfigError::read(&self.recipe.prefix, &error)
    }
}

/// Who the administrators are is waited for so long, where an override lies there.
const LEARN: Duration = Duration::from_secs(1);
