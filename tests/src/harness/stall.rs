//! A disk that stands still: a file system of its own in a file, frozen for a moment.
//!
//! While it is frozen every write and every sync waits, as on a device that does not answer.
//! Needs root, a loop device and `fsfreeze`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Folder, cluster::succeed, reaper};

/// A small ext4, unmounted when dropped.
pub struct StallingDisk {
    folder: Folder,
}

impl StallingDisk {
    /// Makes and mounts one of so many megabytes.
    pub fn create(megabytes: u64) -> anyhow::Result<Self> {
        let disk = Self {
            folder: Folder::new()?,
        };
        let (image, mount) = (disk.folder.join("image"), disk.path());
        std::fs::File::create(&image)?.set_len(megabytes << 20)?;
        std::fs::create_dir(&mount)?;
        succeed(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        reaper::at_end(&format!("umount -l {}", mount.display()));
        succeed(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&mount),
        )?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// Freezes it for so long. Blocks.
    pub fn stall(&self, length: Duration) -> anyhow::Result<()> {
        freeze("--freeze", &self.path())?;
        // The length is the fault itself.
        std::thread::sleep(length);
        freeze("--unfreeze", &self.path())
    }
}

impl Drop for StallingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

fn freeze(what: &str, mount: &Path) -> anyhow::Result<()> {
    succeed(Command::new("fsfreeze").arg(what).arg(mount)).map(drop)
}
