//! What the cluster has under a set's prefixes: all of it of one moment, as it counts on this node, with
//! the secrets that the set may have.
//!
//! Invariants: (1) everything in a [`Values`] was so at [`Values::revision`], across prefixes too.
//! (2) A secret's plaintext is the very version that the other values stand beside.

mod moment;

use std::{collections::BTreeMap, sync::Arc};

use holdfast_client::{Chosen, ConfigError, Entry, MirroredSecret, Place, Secret, Value};

pub(crate) use self::moment::{Feed, Unready};

/// Values of one moment. Keys are whole, and without `@`.
pub(crate) struct Values {
    /// All of it is of this revision.
    pub(crate) revision: u64,
    /// The newest version among it: it changes only with them.
    pub(crate) newest: u64,
    /// Whether a server said within a short time that this is current.
    pub(crate) is_confirmed: bool,
    pub(crate) place: Place,
    prefixes: Vec<String>,
    keys: BTreeMap<String, Held>,
}

/// What is under a key.
pub(crate) enum Held {
    /// A value.
    Plain(Arc<Entry>),
    /// A secret, in the open.
    Open(MirroredSecret),
    /// A secret that the set was not told to open.
    Closed,
}

/// Why a file cannot have what it asks for. Says no value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    #[error("there is no key {0:?}; put it, or give a default")]
    Key(String),
    #[error("{0:?} is under none of the set's prefixes; add its prefix to them")]
    Prefix(String),
    #[error("{0:?} is a secret; ask for it with secret(..), in a set with secrets = true")]
    IsSecret(String),
    #[error("{0:?} is no secret; ask for it with key(..)")]
    IsPlain(String),
    #[error("{0:?} is a secret, and the set may have none; say secrets = true in its settings")]
    Closed(String),
}

impl Values {
    /// What is under a key.
    pub(crate) fn held(&self, key: &str) -> Result<Option<&Held>, Missing> {
        if !self.prefixes.iter().any(|prefix| key.starts_with(prefix)) {
            return Err(Missing::Prefix(key.to_owned()));
        }
        Ok(self.keys.get(key))
    }

    /// A value that is no secret.
    pub(crate) fn plain(&self, key: &str) -> Result<Option<&Value>, Missing> {
        match self.held(key)? {
            None => Ok(None),
            Some(Held::Plain(entry)) => Ok(entry.value.as_ref()),
            Some(Held::Open(_) | Held::Closed) => Err(Missing::IsSecret(key.to_owned())),
        }
    }

    /// A secret.
    pub(crate) fn secret(&self, key: &str) -> Result<&Secret, Missing> {
        match self.held(key)? {
            None => Err(Missing::Key(key.to_owned())),
            Some(Held::Plain(_)) => Err(Missing::IsPlain(key.to_owned())),
            Some(Held::Open(secret)) => Ok(secret.secret()),
            Some(Held::Closed) => Err(Missing::Closed(key.to_owned())),
        }
    }

    /// The revision that wrote a secret; 0: there is none.
    pub(crate) fn version(&self, key: &str) -> u64 {
        match self.keys.get(key) {
            Some(Held::Open(secret)) => secret.entry().modified.get(),
            _ => 0,
        }
    }

    /// What begins so, by key; the names are what follows.
    pub(crate) fn under<'a>(
        &'a self,
        prefix: &'a str,
    ) -> Result<impl Iterator<Item = (&'a str, &'a Held)>, Missing> {
        if !self.prefixes.iter().any(|own| prefix.starts_with(own)) {
            return Err(Missing::Prefix(prefix.to_owned()));
        }
        let from = self.keys.range(prefix.to_owned()..);
        let within = from.take_while(move |(key, _)| key.starts_with(prefix));
        Ok(within.map(move |(key, held)| (&key[prefix.len()..], held)))
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A prefix without a key.
    pub(crate) fn empty_prefix(&self) -> Option<&str> {
        let is_empty = |prefix: &&String| {
            self.under(prefix)
                .is_ok_and(|mut keys| keys.next().is_none())
        };
        self.prefixes.iter().find(is_empty).map(String::as_str)
    }

    fn new(place: Place, revision: u64, is_confirmed: bool) -> Self {
        Self {
            revision,
            newest: 0,
            is_confirmed,
            place,
            prefixes: Vec::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Takes in what was chosen under a prefix.
    fn add(
        &mut self,
        prefix: &str,
        chosen: BTreeMap<String, Chosen>,
        mut open: impl FnMut(&Entry) -> Result<Held, Unready>,
    ) -> Result<(), Unready> {
        for (name, Chosen { entry, .. }) in chosen {
            self.newest = self.newest.max(entry.modified.get());
            let held = match entry.is_secret() {
                true => open(&entry)?,
                false => Held::Plain(entry),
            };
            self.keys.insert(format!("{prefix}{name}"), held);
        }
        self.prefixes.push(prefix.to_owned());
        Ok(())
    }
}

/// A key that is neither field nor override.
impl From<ConfigError> for Unready {
    fn from(error: ConfigError) -> Self {
        Self::Wrong(error.to_string())
    }
}

#[cfg(test)]
pub(crate) mod tests;
