//! Whether the past of the last run can be trusted.
//!
//! `CONDITION` beside the rows: one line, `clean|open BOOT COVERED GENERATION`. It can be trusted if it was
//! closed cleanly, or if only the process died (the kernel still has what sled wrote); and if it
//! covers the newest archive: an older copy that somebody put back does not.

use std::{fs, io::Write as _, path::Path};

use crate::marker;

const FILE: &str = "CONDITION";

/// What the last run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) clean: bool,
    /// The kernel's boot id.
    pub(crate) boot: String,
    /// Every value that left memory up to this log index is in it.
    pub(crate) covered: u64,
    /// Which folder of rows is the current one.
    pub(crate) generation: u64,
}

impl Condition {
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        let line = fs::read_to_string(dir.join(FILE)).ok()?;
        let mut words = line.split_whitespace();
        let clean = match words.next()? {
            "clean" => true,
            "open" => false,
            _ => return None,
        };
        let boot = words.next()?.to_owned();
        let covered = words.next()?.parse().ok()?;
        let generation = words.next()?.parse().ok()?;
        Some(Self {
            clean,
            boot,
            covered,
            generation,
        })
    }

    pub(crate) fn write(&self, dir: &Path) -> std::io::Result<()> {
        let temporary = dir.join("CONDITION.new");
        let mut file = fs::File::create(&temporary)?;
        let word = if self.clean { "clean" } else { "open" };
        writeln!(
            file,
            "{word} {} {} {}",
            self.boot, self.covered, self.generation
        )?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(FILE))?;
        marker::sync_folder(dir)
    }

    /// Why it cannot be trusted, if it cannot.
    pub(crate) fn doubt(&self, boot: &str, archive_index: u64) -> Option<&'static str> {
        if self.covered < archive_index {
            return Some("it is older than the newest archive");
        }
        if !self.clean && self.boot != boot {
            return Some("the machine was booted anew and the last stop was not clean");
        }
        None
    }
}

/// The kernel's boot id; where there is none, one that no other run shares.
pub(crate) fn boot_id() -> String {
    match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        Err(_) => format!("process-{}", std::process::id()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(clean: bool, boot: &str, covered: u64) -> Condition {
        Condition {
            clean,
            boot: boot.to_owned(),
            covered,
            generation: 3,
        }
    }

    #[test]
    fn a_killed_process_leaves_a_past_that_can_be_trusted_and_a_power_cut_does_not() {
        assert_eq!(condition(false, "a", 7).doubt("a", 7), None);
        assert!(condition(false, "a", 7).doubt("b", 7).is_some());
        assert_eq!(condition(true, "a", 7).doubt("b", 7), None);
    }

    #[test]
    fn an_older_copy_is_noticed() {
        assert!(condition(true, "a", 6).doubt("a", 7).is_some());
    }

    #[test]
    fn it_comes_back_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let written = condition(true, "boot", 42);
        written.write(dir.path()).unwrap();
        assert_eq!(Condition::read(dir.path()), Some(written));
    }
}
