//! Where `kvd`, `kvctl`, `kvagent` and the examples are: beside the test, of the same profile, built if need
//! be.
//!
//! Cargo tells a test only of the binaries of its own package. So the first test that needs them
//! asks cargo to build them; that is a quick no-op when they are fresh. `HOLDFAST_BIN_DIR` names a
//! folder with other binaries instead, for instance of an older version.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, bail};

/// The server.
pub fn kvd() -> PathBuf {
    folder().join("kvd")
}

/// The command line.
pub fn kvctl() -> PathBuf {
    folder().join("kvctl")
}

/// The sidecar.
pub fn kvagent() -> PathBuf {
    folder().join("kvagent")
}

/// The folder of the running test's profile, like `target/debug`.
pub fn profile_folder() -> PathBuf {
    let own = std::env::current_exe().expect("a running program knows its file");
    let folder = own.parent().expect("a file lies in a folder");
    match folder.file_name() {
        Some(name) if name == "deps" || name == "examples" => folder
            .parent()
            .expect("cargo's deps lie in the profile's folder")
            .to_path_buf(),
        _ => folder.to_path_buf(),
    }
}

/// An example of the SDK or the server.
pub fn example(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| build(&["--examples"]).expect("the examples build"));
    folder.join("examples").join(name)
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os("HOLDFAST_BIN_DIR") {
        Some(folder) => folder.into(),
        None => {
            let programs = ["--bin", "kvd", "--bin", "kvctl", "--bin", "kvagent"];
            build(&programs).expect("kvd, kvctl and kvagent build")
        }
    })
}

/// Builds what `which` names, of any package. Returns the profile's folder.
fn build(which: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = profile_folder();
    let target = folder
        .parent()
        .context("a profile's folder lies in the target folder")?;
    let lock = File::create(target.join("holdfast-tests-build.lock"))?;
    lock.lock()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--workspace"])
        .args(which)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .arg("--target-dir")
        .arg(target);
    if folder.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    } else {
        // With a test beside them cargo chooses the features that `cargo test --workspace` chose, and the
        // libraries need not be built once more.
        command.args(["--test", "golden"]);
    }
    if cfg!(feature = "faults") {
        command.args(["--features", "holdfast-tests/faults,kvagent/faults"]);
    }
    let output = command.output().context("running cargo")?;
    if !output.status.success() {
        bail!(
            "{command:?} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(folder)
}
