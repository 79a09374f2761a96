//! Why a state of a prefix is no configuration. No text here shows a value.

use std::fmt;

use holdfast_proto::Key;
use serde::de::Expected;

use crate::{CacheError, ReadError, cache::StartError};

/// Why a state of the prefix was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Nothing is under the prefix: an empty configuration is never made of it.
    #[error("there is no key under {prefix}; put the configuration first, or look at the prefix")]
    Empty {
        /// The prefix.
        prefix: String,
    },
    /// A key cannot be a field.
    #[error("{key} is no key of a configuration: {why}")]
    Key {
        /// The key.
        key: Key,
        /// Why not.
        why: &'static str,
    },
    /// One key is a value and the other is below it.
    #[error("{key} is a value, and {below} lies below it; move one of them")]
    Clash {
        /// The key that has a value.
        key: Key,
        /// The key below it.
        below: Key,
    },
    /// The values do not fit the type.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The validator said no.
    #[error("it was not accepted: {0}")]
    Invalid(String),
    /// A secret is not open.
    #[error("the secret {key} is not open: {why}")]
    Secret {
        /// The key.
        key: Key,
        /// What keeps it closed.
        why: String,
    },
    /// No server answered, and there is nothing to start with on this node's disk.
    #[error("{why}; and the cache is of no use: {cache}")]
    Offline {
        /// Why there is nothing from a server.
        why: String,
        /// Why there is nothing from the cache.
        cache: String,
    },
    /// The cache cannot be used at all.
    #[error("{0}")]
    Cache(String),
    /// It is not known whose overrides count.
    #[error(
        "this client has no context that says which authority the signers of overrides belong to; give \
         its certificate with `override_authority`"
    )]
    OverrideAuthority,
    /// The defaults in the code are no map of fields.
    #[error("the defaults cannot be read: {0}")]
    Defaults(String),
    /// The cluster says that this client may not. A cache is no way around that.
    #[error("the configuration under {prefix} may not be read: {why}")]
    Denied {
        /// The prefix.
        prefix: String,
        /// The cluster's words.
        why: String,
    },
    /// The cluster did not answer, or refused.
    #[error("the configuration under {prefix} could not be read: {why}")]
    Read {
        /// The prefix.
        prefix: String,
        /// What happened.
        why: String,
    },
}

/// A field that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Its parts, the innermost first.
    path: Vec<String>,
    message: String,
    /// What was found there is to be added yet.
    is_open: bool,
    /// The words are of the field's own type, and may quote what was found.
    is_foreign: bool,
}

impl ConfigError {
    /// Whether it is about what is under the prefix, and not about how to get there.
    pub(super) fn is_about_content(&self) -> bool {
        matches!(
            self,
            Self::Empty { .. }
                | Self::Key { .. }
                | Self::Clash { .. }
                | Self::Field(_)
                | Self::Invalid(_)
                | Self::Secret { .. }
        )
    }

    pub(super) fn read(prefix: &str, error: &ReadError) -> Self {
        let (prefix, why) = (prefix.to_owned(), error.to_string());
        match error {
            ReadError::Denied { .. } => Self::Denied { prefix, why },
            _ => Self::Read { prefix, why },
        }
    }
}

impl StartError for ConfigError {
    fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }

    fn and_cache(self, cache: CacheError) -> Self {
        Self::Offline {
            why: self.to_string(),
            cache: cache.to_string(),
        }
    }
}

impl FieldError {
    /// In the words of the field's own type.
    pub(super) fn foreign(message: impl Into<String>) -> Self {
        Self {
            is_foreign: true,
            ..Self::new(message)
        }
    }

    /// Of what was read into a secret: words that may quote it are left out.
    pub(super) fn of_secret(self) -> Self {
        match self.is_foreign {
            true => Self {
                message: "the secret does not fit the type of its field, whose own words are left out, for \
                          they may quote it"
                    .to_owned(),
                ..self
            },
            false => self,
        }
    }

    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            message: message.into(),
            is_open: false,
            is_foreign: false,
        }
    }

    /// Something else was expected.
    pub(super) fn expecting(expected: &dyn Expected) -> Self {
        Self {
            is_open: true,
            ..Self::new(format!("expected {expected}"))
        }
    }

    /// Says what was found, where that is not said yet.
    pub(super) fn with_found(mut self, found: impl FnOnce() -> String) -> Self {
        if std::mem::take(&mut self.is_open) {
            self.message = format!("{}, found {}", self.message, found());
        }
        self
    }

    pub(super) fn below(mut self, part: &str) -> Self {
        self.path.push(part.to_owned());
        self
    }

    /// The field, such as `database.host`; empty: the whole.
    pub fn field(&self) -> String {
        let parts: Vec<_> = self.path.iter().rev().map(String::as_str).collect();
        parts.join(".")
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.field(), self.message),
        }
    }
}

impl std::error::Error for FieldError {}
