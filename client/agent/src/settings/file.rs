//! One file of a set: what it is made of, and whose it is.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{Mode, Wrong};

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSettings {
    /// Where: in the set's folder; for a set of single files, an absolute path.
    pub(crate) path: PathBuf,
    /// How the keys under a prefix are written. `raw`: one key's value, as it is.
    pub(crate) format: Option<FileFormat>,
    /// A template that makes it instead.
    pub(crate) template: Option<PathBuf>,
    /// With `raw`: the key.
    pub(crate) key: Option<String>,
    /// With the other formats: the keys under it, named from there on. The set's prefix, if it has one.
    pub(crate) prefix: Option<String>,
    /// Its mode; if left out: 0600 where it holds a secret, else 0644.
    pub(crate) mode: Option<Mode>,
    /// Its user, by name or number; if left out, the agent's.
    pub(crate) owner: Option<String>,
    /// Its group, by name or number; if left out, the agent's.
    pub(crate) group: Option<String>,
}

/// How keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileFormat {
    /// One key's value, as it is.
    Raw,
    /// `NAME=value` lines.
    Env,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
}

impl FileSettings {
    pub(super) fn rebase(&mut self, folder: &Path) {
        if let Some(template) = &mut self.template {
            *template = folder.join(&template);
        }
    }

    pub(super) fn check(&self, is_single: bool, prefixes: &[String]) -> Result<(), Wrong> {
        match is_single {
            true => check_single(&self.path),
            false => check_relative(&self.path),
        }
        .map_err(|why| Wrong::new("path", why))?;
        match (self.format, &self.template, &self.key) {
            (None, Some(_), None) => {}
            (Some(FileFormat::Raw), None, Some(key)) => {
                if !prefixes.iter().any(|prefix| key.starts_with(prefix)) {
                    let why =
                        format!("{key:?} is under none of the set's prefixes; add its prefix");
                    return Err(Wrong::new("key", why));
                }
            }
            (Some(FileFormat::Raw), None, None) => {
                return Err(Wrong::new(
                    "key",
                    "a raw file is one key's value; name the key",
                ));
            }
            (Some(_), None, None) => self.check_prefix(prefixes)?,
            (None, None, _) => {
                let why = "give one of raw, env, json, yaml and toml, or a template";
                return Err(Wrong::new("format", why));
            }
            (Some(_), Some(_), _) => {
                let why = "a template makes the whole file; leave out either of them";
                return Err(Wrong::new("format", why));
            }
            (_, _, Some(_)) => {
                let why = "only a raw file has one; leave it out, or say format = \"raw\"";
                return Err(Wrong::new("key", why));
            }
        }
        let is_of_prefix = !matches!(self.format, None | Some(FileFormat::Raw));
        match self.prefix.is_some() && !is_of_prefix {
            true => Err(Wrong::new(
                "prefix",
                "only env, json, yaml and toml have one; leave it out",
            )),
            false => Ok(()),
        }
    }

    fn check_prefix(&self, prefixes: &[String]) -> Result<(), Wrong> {
        match &self.prefix {
            None if prefixes.len() == 1 => Ok(()),
            None => Err(Wrong::new("prefix", "the set has several; say which")),
            Some(own) if prefixes.iter().any(|prefix| own.starts_with(prefix)) => Ok(()),
            Some(own) => {
                let why = format!("{own:?} is under none of the set's prefixes; add it there");
                Err(Wrong::new("prefix", why))
            }
        }
    }
}

/// Refuses whatever could lead out of the folder.
fn check_relative(path: &Path) -> Result<(), String> {
    let plain = |part| matches!(part, Component::Normal(_));
    let shown = path.display();
    if path.as_os_str().is_empty() || !path.components().all(plain) {
        return Err(format!(
            "\"{shown}\" does not stay in the set's folder; give a relative path without `..`"
        ));
    }
    // Components leave out what says nothing.
    let again: PathBuf = path.components().collect();
    match again.as_os_str() == path.as_os_str() {
        true => Ok(()),
        false => Err(format!(
            "\"{shown}\" has parts that say nothing; leave them out"
        )),
    }
}

fn check_single(path: &Path) -> Result<(), String> {
    let parts_are_plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    match path.is_absolute() && parts_are_plain && path.file_name().is_some() {
        true => Ok(()),
        false => Err(format!(
            "\"{}\" is no whole path; of a set of single files each path starts with `/` and has no `..`",
            path.display()
        )),
    }
}
