//! Opening a configuration: for whom, with which defaults, checked by what.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use super::{
    Config, ConfigError, Live, Shared,
    follower::{Follower, Recipe},
    layers::Place,
};
use crate::{Client, MirrorOptions, MirrorReveal};

/// What a configuration is to be. From [`Client::config`].
#[must_use = "nothing is read before `open`"]
pub struct ConfigBuilder<T> {
    client: Client,
    prefix: String,
    place: Place,
    defaults: Result<Option<Json>, ConfigError>,
    validator: Validator<T>,
    mirror: MirrorOptions,
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

    /// Reads it, and follows the cluster from then on. An error where there is no configuration yet, or
    /// none that is taken: a service must not start with half of one.
    pub async fn open(self) -> Result<Config<T>, ConfigError> {
        let recipe = Recipe {
            prefix: self.prefix,
            place: self.place,
            defaults: self.defaults?,
            validator: self.validator,
        };
        let mirror = self
            .client
            .mirror_with(recipe.prefix.clone(), self.mirror)
            .await
            .map_err(|error| ConfigError::read(&recipe.prefix, &error))?;
        let changes = mirror.watch();
        let first = recipe.cook(&mirror.view(), &mirror.opened())?;
        let shared = Arc::new(Shared::new(first));
        let follower = Follower {
            recipe,
            changes,
            mirror: mirror.clone(),
            shared: Arc::clone(&shared),
        };
        let task = tokio::spawn(follower.run()).abort_handle();
        let live = Some(Arc::new(Live { mirror, task }));
        Ok(Config { shared, live })
    }
}
