//! Making a configuration of each state of a prefix, and the task that does so again and again.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use holdfast_proto::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::sync::watch;

use super::{
    ConfigError, Explanation, Loaded, Rejected, Shared, deserialize,
    layers::{Chosen, Layer, Place},
    open::Validator,
    overriding::Overriding,
    tree,
};
use crate::{
    Mirror, MirrorView, Override,
    cache::Job,
    mirror::{AnyChange, Moment, OpenedSecrets},
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
    /// Where an emergency override may lie.
    pub(super) overriding: Option<Overriding>,
    /// What was taken last; kept only where there may be an override.
    pub(super) taken: Option<Moment>,
}

impl<T: DeserializeOwned> Recipe<T> {
    /// Of one state, with the secrets that are open, and under an emergency override.
    pub(super) fn cook(
        &self,
        view: &MirrorView,
        secrets: &OpenedSecrets,
        over: Option<&Arc<Override>>,
    ) -> Result<Loaded<T>, ConfigError> {
        if view.is_empty() {
            return Err(ConfigError::Empty {
                prefix: self.prefix.clone(),
            });
        }
        let chosen = self.place.choose(&self.prefix, view)?;
        let laid_over = over.map(|over| over.tree());
        let fields = tree::build(self.defaults.as_ref(), &chosen, secrets, laid_over)?;
        let value = deserialize::read(&fields)?;
        (self.validator)(&value).map_err(ConfigError::Invalid)?;
        Ok(Loaded {
            value: Arc::new(value),
            revision: view.revision(),
            sources: sources(self.defaults.as_ref(), chosen, over.map(|over| &**over)),
            over: over.cloned(),
        })
    }
}

impl<T: DeserializeOwned + Send + Sync> Follower<T> {
    pub(super) async fn run(mut self) {
        loop {
            let is_other_override = tokio::select! {
                goes_on = self.changes.changed() => match goes_on {
                    true => false,
                    false => return,
                },
                () = changed(&mut self.overriding) => true,
            };
            self.judge(is_other_override);
        }
    }

    /// Makes a configuration of what there is now, if one comes of it.
    fn judge(&mut self, is_other_override: bool) {
        let now = self.mirror.moment();
        let wanted = self.wanted();
        // A secret that is being opened is no reason to reject anything: another change comes.
        if !now.is_whole() && self.mirror.problem().is_none() {
            self.shared.note_outdated(&self.mirror);
            self.shared.pending.send_replace(now.view.revision());
        } else {
            match self.cook(&now, wanted.as_ref()) {
                Ok(loaded) => return self.take(loaded, now),
                Err(error) => {
                    // Perhaps it is the override that does not fit.
                    let in_use = self.other_in_use(wanted.as_ref());
                    if wanted.is_some()
                        && let Ok(loaded) = self.cook(&now, in_use.as_ref())
                    {
                        self.refuse_override(&error);
                        return self.take(loaded, now);
                    }
                    self.reject(now.view.revision(), error);
                }
            }
        }
        // An override counts, or ends, although what the store has now is of no use.
        if is_other_override && let Some(taken) = self.taken.clone() {
            match self.cook(&taken, wanted.as_ref()) {
                Ok(loaded) => {
                    self.shared.change_override(loaded);
                    self.tell_of_overrides();
                }
                Err(error) if wanted.is_none() => self.keep_what_ended(&error),
                Err(error) => self.refuse_override(&error),
            }
        }
    }

    /// A service must not lose what it has, even if that is no more than what an override made of it.
    fn keep_what_ended(&mut self, error: &ConfigError) {
        if let Some(overriding) = &mut self.overriding {
            overriding.keep_what_ended(error);
        }
        self.tell_of_overrides();
    }

    fn cook(
        &self,
        moment: &Moment,
        over: Option<&Arc<Override>>,
    ) -> Result<Loaded<T>, ConfigError> {
        self.recipe.cook(&moment.view, &moment.secrets, over)
    }

    fn take(&mut self, loaded: Loaded<T>, moment: Moment) {
        // What is kept has to be a whole configuration without the override.
        if loaded.over.is_none() || self.cook(&moment, None).is_ok() {
            self.jobs.send_replace(Some(Job::of(&moment)));
        }
        self.shared.take(loaded);
        if let Some(overriding) = &mut self.overriding {
            // What was refused for what the store had then may be taken now.
            if self
                .taken
                .as_ref()
                .is_some_and(|taken| taken.view.revision() != moment.view.revision())
            {
                overriding.look_again();
            }
            self.taken = Some(moment);
        }
        self.tell_of_overrides();
    }

    fn wanted(&self) -> Option<Arc<Override>> {
        self.overriding.as_ref().and_then(|it| it.wanted().cloned())
    }

    /// The override that is in use, if it is another one than this, and still counts.
    fn other_in_use(&self, wanted: Option<&Arc<Override>>) -> Option<Arc<Override>> {
        let in_use = self.shared.loaded.load().over.clone();
        in_use.filter(|in_use| Some(in_use) != wanted && in_use.expires() > SystemTime::now())
    }

    fn refuse_override(&mut self, error: &ConfigError) {
        let in_use = self.shared.loaded.load().over.clone();
        if let Some(overriding) = &mut self.overriding {
            overriding.refuse(error, in_use);
        }
        self.tell_of_overrides();
    }

    fn tell_of_overrides(&self) {
        if let Some(overriding) = &self.overriding {
            self.shared.note_override_problem(overriding.problem());
        }
    }

    fn reject(&self, revision: u64, error: ConfigError) {
        let error = match (error, self.mirror.problem()) {
            (ConfigError::Secret { key, .. }, Some(why)) => ConfigError::Secret { key, why },
            (error, _) => error,
        };
        tracing::warn!(revision, %error, "a change of the configuration was not taken");
        self.shared.note_outdated(&self.mirror);
        self.shared.reject(Rejected { revision, error });
    }
}

/// Never, where none is allowed.
async fn changed(overriding: &mut Option<Overriding>) {
    match overriding {
        Some(overriding) => overriding.changed().await,
        None => std::future::pending().await,
    }
}

/// Where each field comes from.
fn sources(
    defaults: Option<&Json>,
    chosen: BTreeMap<String, Chosen>,
    over: Option<&Override>,
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
    if let Some(over) = over {
        for field in over.fields() {
            // What lies above or below is not there any more.
            let is_of = |name: &str, other: &str| {
                name.strip_prefix(other)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            sources.retain(|name, _| !is_of(name, &field) && !is_of(&field, name));
            sources.insert(field, of_override(over));
        }
    }
    sources
}

fn of_override(over: &Override) -> Explanation {
    let signed = over.signed().duration_since(SystemTime::UNIX_EPOCH);
    let signed_ms = signed.map_or(0, |since| since.as_millis());
    Explanation {
        layer: Layer::Override,
        key: None,
        revision: None,
        author: over.signer().to_owned(),
        note: over.reason().to_owned(),
        at: Some(Timestamp::from_millis(signed_ms as u64)),
    }
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
