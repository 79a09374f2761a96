//! The socket for services of this node, and who may do what there.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Mode, Wrong};

/// The socket.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "read by who serves it")]
#[serde(deny_unknown_fields)]
pub(crate) struct SocketSettings {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Who may connect, by the file system.
    #[serde(default = "default_mode")]
    pub(crate) mode: Mode,
    /// Who may do what. Who matches none of these is turned away.
    #[serde(default)]
    pub(crate) allow: Vec<Allow>,
}

/// What some users may do.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "read by who serves it")]
#[serde(deny_unknown_fields)]
pub(crate) struct Allow {
    /// A user, by name.
    pub(crate) user: Option<String>,
    /// A user, by number.
    pub(crate) uid: Option<u32>,
    /// A group, by name.
    pub(crate) group: Option<String>,
    /// A group, by number.
    pub(crate) gid: Option<u32>,
    /// What they may read.
    pub(crate) prefixes: Vec<String>,
    /// Whether secrets among it are opened for them.
    #[serde(default)]
    pub(crate) reveal: bool,
    /// Whether they may write there.
    #[serde(default)]
    pub(crate) write: bool,
}

impl SocketSettings {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        for (place, allow) in self.allow.iter().enumerate() {
            let whom = [
                allow.user.is_some(),
                allow.uid.is_some(),
                allow.group.is_some(),
                allow.gid.is_some(),
            ];
            if whom.into_iter().filter(|named| *named).count() != 1 {
                let why = "name whom it is for, with one of user, uid, group and gid";
                return Err(Wrong::new(format!("allow[{place}]"), why));
            }
        }
        Ok(())
    }
}

fn default_mode() -> Mode {
    Mode::of(0o660)
}
