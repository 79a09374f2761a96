//! Contents of files, made of values.
//!
//! A file is made in two ways: with its secrets, to be installed; or *veiled*, with `[secret KEY]` in
//! their place, to be shown. What is shown was made without any secret, so no filter and no detour of a
//! template brings one into it.

mod bounded;
mod env;
mod nested;
mod plain;
mod template;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use holdfast_client::Secret;
use zeroize::Zeroizing;

pub(crate) use self::env::Variable;
use crate::{
    settings::{FileFormat, FileSettings},
    values::{Held, Missing, Values},
};

/// What a file is to hold. Wiped when it is dropped.
pub(crate) struct Content {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// The secrets that went into it, by key.
    pub(crate) secrets: BTreeSet<String>,
}

/// Whether secrets are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// As they are.
    Told,
    /// `[secret KEY]` stands for them.
    Veiled,
}

/// Why a file cannot be made. Says no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("the template {} cannot be read: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the template {}: {why}", path.display())]
    Template { path: PathBuf, why: String },
    #[error("{key}: {why}")]
    Unsayable { key: String, why: String },
}

/// Makes a file. `set` is the name of its set.
pub(crate) fn render(
    set: &str,
    file: &FileSettings,
    default_prefix: &str,
    values: &Arc<Values>,
    secrets: Secrets,
) -> Result<Content, RenderError> {
    if let Some(template) = &file.template {
        return template::render(set, template, values, secrets);
    }
    let prefix = file.prefix.as_deref().unwrap_or(default_prefix);
    let mut told = Telling::new(values, secrets);
    let bytes = match (file.format, &file.key) {
        (Some(FileFormat::Raw), Some(key)) => told.raw(key)?,
        (Some(FileFormat::Env), _) => env::write(&mut told, prefix)?,
        (Some(FileFormat::Json), _) => nested::json(&mut told, prefix)?,
        (Some(FileFormat::Yaml), _) => nested::yaml(&mut told, prefix)?,
        (Some(FileFormat::Toml), _) => nested::toml(&mut told, prefix)?,
        // Settings are checked when they are read.
        (Some(FileFormat::Raw) | None, _) => {
            return Err(RenderError::Unsayable {
                key: file.path.display().to_string(),
                why: "it has neither key nor template; look at its settings".to_owned(),
            });
        }
    };
    Ok(Content {
        bytes,
        secrets: told.used,
    })
}

/// The variables that an `env` file of these prefixes would set, secrets as they are.
pub(crate) fn variables(
    values: &Values,
    prefixes: &[String],
) -> Result<Vec<Variable>, RenderError> {
    let mut telling = Telling::new(values, Secrets::Told);
    env::variables(&mut telling, prefixes.iter().map(String::as_str))
}

/// Whether a template parses.
pub(crate) fn check(template: &Path) -> Result<(), RenderError> {
    template::check(template)
}

/// Tells values and remembers which secrets went along.
struct Telling<'a> {
    values: &'a Values,
    secrets: Secrets,
    used: BTreeSet<String>,
}

/// What is told of a key.
enum Told<'a> {
    Value(&'a holdfast_client::Value),
    Secret(&'a Secret),
    Veil(String),
}

impl<'a> Telling<'a> {
    fn new(values: &'a Values, secrets: Secrets) -> Self {
        Self {
            values,
            secrets,
            used: BTreeSet::new(),
        }
    }

    fn tell(&mut self, key: &str, held: &'a Held) -> Result<Told<'a>, RenderError> {
        if let Held::Plain(entry) = held {
            let none = || RenderError::Missing(Missing::Key(key.to_owned()));
            return entry.value.as_ref().map(Told::Value).ok_or_else(none);
        }
        self.used.insert(key.to_owned());
        if self.secrets == Secrets::Veiled {
            return Ok(Told::Veil(veil(key)));
        }
        Ok(Told::Secret(self.values.secret(key)?))
    }

    /// Each key under a prefix: its name from there on, and what is told of it.
    fn under(&mut self, prefix: &'a str) -> Result<Vec<(String, Told<'a>)>, RenderError> {
        let values = self.values;
        let keys: Vec<(String, &'a Held)> = values
            .under(prefix)?
            .map(|(name, held)| (name.to_owned(), held))
            .collect();
        keys.into_iter()
            .map(|(name, held)| {
                let told = self.tell(&format!("{prefix}{name}"), held)?;
                Ok((name, told))
            })
            .collect()
    }

    /// One key's value, byte for byte.
    fn raw(&mut self, key: &str) -> Result<Zeroizing<Vec<u8>>, RenderError> {
        let held = self.values.held(key)?;
        let held = held.ok_or_else(|| Missing::Key(key.to_owned()))?;
        let bytes = match self.tell(key, held)? {
            Told::Value(holdfast_client::Value::Bytes(bytes)) => bytes.to_vec(),
            Told::Value(value) => plain::text(value).into_bytes(),
            Told::Secret(secret) => secret.expose().clone(),
            Told::Veil(veil) => veil.into_bytes(),
        };
        Ok(Zeroizing::new(bytes))
    }
}

/// What stands for a secret.
fn veil(key: &str) -> String {
    format!("[secret {key}]")
}

#[cfg(test)]
mod tests;
