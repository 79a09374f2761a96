//! Making a configuration of each state of a prefix, and the task that does so again and again.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::sync::watch;

use super::{
    ConfigError, Explanation, Loaded, Rejected, Shared, deserialize,
    layers::{Chosen, Layer, Place},
    open::Validator,
    tree,
};
use crate::{
    Mirror, MirrorView,
    cache::Job,
    mirror::{AnyChange, OpenedSecrets},
};

/// How a state of the prefix becomes a configuration.
pub(super) struct Recipe<T> {
    pub(super) prefix: String,
    pub(super) place: Place,
    pub(super) defaults: Option<Json>,
    pub(super) validator: Validator<T>,
}

/// Makes one of each state that the mirror reaches.
pub(super) struct Follower<T> {
    pub(super) recipe: Recipe<T>,
    pub(super) changes: AnyChange,
    pub(super) mirror: Mirror,
    pub(super) shared: Arc<Shared<T>>,
    /// Where what was taken is kept.
    pub(super) jobs: watch::Sender<Option<Job>>,
}

impl<T: DeserializeOwned> Recipe<T> {
    /// Of one state, with the secrets that are open.
    pub(super) fn cook(
        &self,
        view: &MirrorView,
        secrets: &OpenedSecrets,
    ) -> Result<Loaded<T>, ConfigError> {
        if view.is_empty() {
            return Err(ConfigError::Empty {
                prefix: self.prefix.clone(),
            });
        }
        let chosen = self.place.choose(&self.prefix, view)?;
        let fields = tree::build(self.defaults.as_ref(), &chosen, secrets)?;
        let value = deserialize::read(&fields)?;
        (self.validator)(&value).map_err(ConfigError::Invalid)?;
        Ok(Loaded {
            value: Arc::new(value),
            revision: view.revision(),
            sources: sources(self.defaults.as_ref(), chosen),
        })
    }
}

impl<T: DeserializeOwned + Send + Sync> Follower<T> {
    pub(super) async fn run(mut self) {
        while self.changes.changed().await {
            let view = self.mirror.view();
            let secrets = self.mirror.opened();
            // A secret that is being opened is no reason to reject anything: another change comes.
            if secrets.is_awaited(&view) && self.mirror.problem().is_none() {
                self.shared.pending.send_replace(view.revision());
                continue;
            }
            match self.recipe.cook(&view, &secrets) {
                Ok(loaded) => {
                    self.shared.take(loaded);
                    self.jobs.send_replace(Some(Job::of(&view, &secrets)));
                }
                Err(error) => self.reject(view.revision(), error),
            }
        }
    }

    fn reject(&self, revision: u64, error: ConfigError) {
        let error = match (error, self.mirror.problem()) {
            (ConfigError::Secret { key, .. }, Some(why)) => ConfigError::Secret { key, why },
            (error, _) => error,
        };
        tracing::warn!(revision, %error, "a change of the configuration was not taken");
        self.shared.reject(Rejected { revision, error });
    }
}

/// Where each field comes from.
fn sources(
    defaults: Option<&Json>,
    chosen: BTreeMap<String, Chosen>,
) -> BTreeMap<String, Explanation> {
    let mut sources = BTreeMap::new();
    if let Some(Json::Object(fields)) = defaults {
        name_defaults("", fields, &mut sources);
    }
    let of_keys = chosen.into_iter().map(|(field, Chosen { layer, entry })| {
        let explanation = Explanation {
            layer,
            key: Some(entry.key.clone()),
            revision: Some(entry.modified),
            author: entry.author.clone(),
            note: entry.note.clone(),
            at: Some(entry.at),
        };
        (field, explanation)
    });
    sources.extend(of_keys);
    sources
}

fn name_defaults(
    above: &str,
    fields: &serde_json::Map<String, Json>,
    sources: &mut BTreeMap<String, Explanation>,
) {
    for (name, value) in fields {
        let field = format!("{above}{name}");
        if let Json::Object(fields) = value {
            name_defaults(&format!("{field}/"), fields, sources);
            continue;
        }
        let explanation = Explanation {
            layer: Layer::Default,
            key: None,
            revision: None,
            author: String::new(),
            note: String::new(),
            at: None,
        };
        sources.insert(field, explanation);
    }
}
