//! How each set is, for the fleet. Says no value and no secret.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tokio::sync::watch;

/// How all sets are, by name.
pub(crate) type Sets = BTreeMap<String, SetStatus>;

/// Where each set says how it is.
#[derive(Clone, Debug)]
pub(crate) struct Statuses(Arc<watch::Sender<Sets>>);

/// How a set is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetStatus {
    /// What it is made of.
    pub(crate) prefixes: Vec<String>,
    /// The revision that is installed; 0: none.
    pub(crate) revision: u64,
    /// A newer one that is not, for `problem`; 0: there is none.
    pub(crate) offered: u64,
    /// A hash of what is installed; no secret can be guessed by it. Empty: nothing is.
    pub(crate) digest: String,
    /// What is installed.
    pub(crate) files: Vec<FileStatus>,
    pub(crate) hook: HookStatus,
    /// When the cluster was known to have nothing newer, as far as was looked at; `None`: never yet.
    pub(crate) confirmed: Option<Instant>,
    /// Whether what it is made of is from this node's disk: no server answered yet.
    pub(crate) is_offline: bool,
    /// What keeps it from being up to date.
    pub(crate) problem: Option<String>,
    /// How often it was installed since the agent started.
    pub(crate) installs: u64,
    /// How often something on the disk was found changed since the agent started.
    pub(crate) drifts: u64,
    /// What was found changed last.
    pub(crate) drifted: Option<String>,
}

/// A file that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileStatus {
    pub(crate) path: String,
    pub(crate) digest: String,
}

/// How the hook of what is installed went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum HookStatus {
    /// There is none.
    #[default]
    None,
    /// It is to be run.
    Owed,
    /// It did what it should.
    Succeeded,
    /// It failed, and is tried again unless that was the last attempt.
    Failed {
        attempts: u32,
        why: String,
        gave_up: bool,
    },
}

impl Statuses {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Sets::new())))
    }

    /// Follows them.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Sets> {
        self.0.subscribe()
    }

    /// Says how a set is; who follows is told if that is new.
    pub(crate) fn say(&self, set: &str, status: SetStatus) {
        self.0.send_if_modified(|sets| {
            let is_new = sets.get(set) != Some(&status);
            if is_new {
                sets.insert(set.to_owned(), status);
            }
            is_new
        });
    }
}
