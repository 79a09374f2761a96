//! What a set is guarded against: that somebody empties a prefix by mistake.

use serde::Deserialize;

use super::Wrong;

/// What is not installed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Guard {
    /// Whether a set may be made of a prefix without a key, and whether a file may become empty.
    pub(crate) allow_empty: bool,
    /// The largest share of a set's keys that may vanish at once, in percent. More stay installed until
    /// they are back or this is raised. 100: all but the last.
    pub(crate) vanish_percent: u8,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            allow_empty: false,
            vanish_percent: 100,
        }
    }
}

impl Guard {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        match self.vanish_percent {
            0..=100 => Ok(()),
            _ => Err(Wrong::new(
                "vanish_percent",
                "that is more than all; give 0 to 100",
            )),
        }
    }
}
