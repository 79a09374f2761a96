//! The socket for this node's services, and who of them may do what.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};

use super::{Mode, Wrong};

/// A Unix socket that serves the SDK.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SocketSettings {
    /// Where. Its folder is made (0755) if there is none.
    #[serde(default = "default_path")]
    pub(crate) path: PathBuf,
    /// Who may connect at all. Who may do what is decided by the entries below, not by this.
    #[serde(default = "default_mode")]
    pub(crate) mode: Mode,
    /// Who may do what. Whoever is named by none may do nothing; several add up, each for its own
    /// prefixes.
    #[serde(default)]
    pub(crate) allow: Vec<Allow>,
}

/// What a user or a group may do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allow {
    /// A user, by name or number.
    #[serde(default, deserialize_with = "name_or_number")]
    pub(crate) user: Option<String>,
    /// Or a group, by name or number, of which the user is a member by the system's books.
    #[serde(default, deserialize_with = "name_or_number")]
    pub(crate) group: Option<String>,
    /// May read and watch the keys that begin with one of these. `""`: all of them.
    #[serde(default)]
    pub(crate) prefixes: Vec<String>,
    /// May open secrets there, too.
    #[serde(default)]
    pub(crate) reveal: bool,
    /// May put and delete there, too.
    #[serde(default)]
    pub(crate) write: bool,
    /// May make every call, as far as the agent itself may: for an operator. Excludes the others.
    #[serde(default)]
    pub(crate) all: bool,
}

impl SocketSettings {
    pub(super) fn rebase(&mut self, folder: &Path) {
        self.path = folder.join(&self.path);
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        if self.path.file_name().is_none() {
            return Err(Wrong::new("path", "that is a folder; name a file in it"));
        }
        if self.allow.is_empty() {
            let why = "nobody may do anything there; add [[socket.allow]], or leave the socket out";
            return Err(Wrong::new("allow", why));
        }
        for (place, allow) in self.allow.iter().enumerate() {
            allow
                .check()
                .map_err(|wrong| wrong.within(&format!("allow[{place}]")))?;
        }
        Ok(())
    }

    /// What is to be at hand before anybody asks: the prefixes, and whether their secrets are to be open.
    pub(crate) fn wanted(&self) -> BTreeSet<(String, bool)> {
        let of = |allow: &'_ Allow| {
            let reveal = allow.reveal;
            let prefixes = allow.prefixes.clone().into_iter();
            prefixes.map(move |prefix| (prefix, reveal))
        };
        let mut wanted: BTreeSet<_> = self.allow.iter().flat_map(of).collect();
        // One with its secrets open has the rest as well.
        let opened: Vec<_> = wanted
            .iter()
            .filter(|(_, reveal)| *reveal)
            .cloned()
            .collect();
        for (prefix, _) in opened {
            wanted.remove(&(prefix, false));
        }
        wanted
    }
}

impl Allow {
    fn check(&self) -> Result<(), Wrong> {
        if self.user.is_some() == self.group.is_some() {
            return Err(Wrong::new("user", "name either a user or a group"));
        }
        let has_others = !self.prefixes.is_empty() || self.reveal || self.write;
        match (self.all, has_others) {
            (true, true) => Err(Wrong::new(
                "all",
                "it stands for every call; leave out prefixes, reveal and write",
            )),
            (false, _) if self.prefixes.is_empty() => Err(Wrong::new(
                "prefixes",
                "there are none, so nothing is allowed; name some",
            )),
            _ => Ok(()),
        }
    }
}

fn name_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a name, or a number")]
    enum Either {
        Name(String),
        Number(u32),
    }
    Ok(Some(match Either::deserialize(deserializer)? {
        Either::Name(name) => name,
        Either::Number(number) => number.to_string(),
    }))
}

fn default_path() -> PathBuf {
    "/run/kvagent/kvagent.sock".into()
}

fn default_mode() -> Mode {
    Mode::of(0o666)
}
