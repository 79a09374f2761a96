//! The agent's settings: one TOML file.
//!
//! ```toml
//! context = "context.toml"          # as whom it goes to the cluster; paths are relative to this file
//! state = "/var/lib/kvagent"        # what is installed, which hooks are owed
//! node = "db7"                      # whose overrides count; the host's name if it is left out
//! roles = ["web"]                   # a later one counts more
//!
//! [[set]]
//! name = "nginx"
//! folder = "/var/lib/kvagent/sets/nginx"
//! prefixes = ["web/"]
//!
//! [[set.file]]
//! path = "site.conf"
//! template = "site.conf.j2"
//!
//! [set.hook]
//! exec = ["nginx", "-s", "reload"]
//!
//! [socket]                          # for services that link the SDK, and for kvctl
//! path = "/run/kvagent/kvagent.sock"
//!
//! [[socket.allow]]
//! user = "billing"
//! prefixes = ["billing/"]
//! reveal = true
//! ```
//!
//! What is read here is checked: names, paths, modes, and what contradicts itself. An error names the
//! field and says what to do. Whether users and templates exist is seen when they are used, so that
//! what is wrong with one set harms no other.

mod file;
mod guard;
mod hook;
mod node;
mod set;
mod socket;
mod text;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub(crate) use self::{
    file::{FileFormat, FileSettings},
    guard::Guard,
    hook::{Action, Check, HookSettings, SignalTo},
    set::{Place, SetName, SetSettings},
    socket::{Allow, SocketSettings},
    text::{Mode, Span},
};

/// What the agent is to do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// As whom it goes to the cluster, and where that is. If left out: `$HOLDFAST_CONTEXT`, else the
    /// user's own.
    pub(crate) context: Option<PathBuf>,
    /// A folder for what must outlive a restart. Nobody else may use it.
    #[serde(default = "default_state")]
    pub(crate) state: PathBuf,
    /// The name whose overrides (`KEY@node:NAME`) count.
    #[serde(default = "node::host_name")]
    pub(crate) node: String,
    /// The roles whose overrides (`KEY@role:NAME`) count; a later one counts more.
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    /// Sets of files.
    #[serde(default, rename = "set")]
    pub(crate) sets: Vec<SetSettings>,
    /// The socket for this node's services; none if it is left out.
    pub(crate) socket: Option<SocketSettings>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SettingsError {
    /// There are none.
    #[error("the settings {} cannot be read; name another file with --config", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Their text is not right.
    #[error("the settings {} are not right: {why}", path.display())]
    Malformed { path: PathBuf, why: String },
    /// A field says what cannot be.
    #[error("the settings {} are not right: {field}: {why}", path.display())]
    Field {
        path: PathBuf,
        field: String,
        why: String,
    },
}

/// A field that says what cannot be.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) field: String,
    pub(crate) why: String,
}

impl Wrong {
    pub(crate) fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }

    /// The same, of a table that holds it.
    pub(crate) fn within(self, table: &str) -> Self {
        Self {
            field: format!("{table}.{}", self.field),
            ..self
        }
    }
}

impl Settings {
    /// Reads them, checks them, and makes their paths absolute.
    pub(crate) fn load(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |source| SettingsError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut settings: Self =
            toml::from_str(&text).map_err(|error| SettingsError::Malformed {
                path: path.to_owned(),
                why: error.to_string(),
            })?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        settings.rebase(folder);
        settings.check().map_err(|wrong| SettingsError::Field {
            path: path.to_owned(),
            field: wrong.field,
            why: wrong.why,
        })?;
        Ok(settings)
    }

    /// Relative paths are relative to the folder of the settings.
    fn rebase(&mut self, folder: &Path) {
        if let Some(context) = &mut self.context {
            *context = folder.join(&context);
        }
        self.state = folder.join(&self.state);
        for set in &mut self.sets {
            set.rebase(folder);
        }
        if let Some(socket) = &mut self.socket {
            socket.rebase(folder);
        }
    }

    fn check(&self) -> Result<(), Wrong> {
        node::check_name("node", &self.node)?;
        for role in &self.roles {
            node::check_name("roles", role)?;
        }
        if let Some(socket) = &self.socket {
            socket.check().map_err(|wrong| wrong.within("socket"))?;
        }
        let mut names = BTreeSet::new();
        let mut places = BTreeSet::new();
        for set in &self.sets {
            let table = format!("set[{}]", set.name);
            set.check().map_err(|wrong| wrong.within(&table))?;
            if !names.insert(&set.name) {
                return Err(Wrong::new(table, "two sets have this name; rename one"));
            }
            for place in set.places() {
                if !places.insert(place.clone()) {
                    let why = format!("{} belongs to another set, too; move one", place.display());
                    return Err(Wrong::new(table, why));
                }
            }
        }
        Ok(())
    }
}

fn default_state() -> PathBuf {
    "/var/lib/kvagent".into()
}

#[cfg(test)]
mod tests;
