//! One cluster at a time: tests that measure or break things must not starve each other.

use std::fs::File;

use super::binaries;

/// Held while a test runs a cluster; others of the same target folder wait.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "closing the file ends the turn")] File);

impl Turn {
    /// Waits for it.
    pub fn take() -> anyhow::Result<Self> {
        let file = File::create(binaries::profile_folder().join("holdfast-tests-turn.lock"))?;
        file.lock()?;
        Ok(Self(file))
    }
}
