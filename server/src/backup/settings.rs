//! When backups are made, and how many are kept.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// `[backup]` in `node.toml`. What counts is what the leader's says; keep all nodes' the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupSettings {
    /// Seconds between two. Default 86,400: daily. 0: none are made by themselves.
    pub every_seconds: u64,
    /// So many are kept of those that were made by themselves; at least 1, default 7. Those that somebody
    /// asked for stay until somebody deletes them.
    pub keep: usize,
    /// Where they go. Absent: `backups` in the node's folder. Better on another disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            every_seconds: 86_400,
            keep: 7,
            folder: None,
        }
    }
}

impl BackupSettings {
    /// Between two; `None`: none are made by themselves.
    pub(crate) fn every(&self) -> Option<Duration> {
        (self.every_seconds > 0).then(|| Duration::from_secs(self.every_seconds))
    }
}
