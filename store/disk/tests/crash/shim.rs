//! The library between a process and its disk.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// `interpose.c`, compiled.
pub(crate) struct Shim {
    library: PathBuf,
    _dir: tempfile::TempDir,
}

impl Shim {
    /// `None`, with a word, where there is no C compiler or no way to put a library in between.
    pub(crate) fn build() -> Option<Self> {
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            println!("skipped: this needs Linux with glibc");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("interpose.so");
        let source = dir.path().join("interpose.c");
        std::fs::write(&source, include_str!("interpose.c")).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .status();
        if !compiled.is_ok_and(|status| status.success()) {
            println!("skipped: there is no C compiler");
            return None;
        }
        Some(Self { library, _dir: dir })
    }

    /// Records what `command` does to the files in `dir`.
    pub(crate) fn record<'c>(
        &self,
        command: &'c mut Command,
        dir: &Path,
        trace: &Path,
    ) -> &'c mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("DISK_DIR", dir)
            .env("DISK_TRACE", trace)
    }

    /// Makes the `nth` write or sync of the log fail, once.
    pub(crate) fn fail<'c>(
        &self,
        command: &'c mut Command,
        dir: &Path,
        kind: &str,
        nth: u32,
    ) -> &'c mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("DISK_DIR", dir)
            .env("DISK_FAIL", format!("{kind}:{nth}"))
    }
}
