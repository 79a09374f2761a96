//! Release builds are compiled with the profile that is kept beside cargo's configuration: what stands
//! between cargo and rustc adds it to them, and to nothing else.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What stands between cargo and rustc.
fn wrapper() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join(".cargo/rustc")
}

/// The arguments that rustc is started with, when cargo gives these.
fn passed_on(arguments: &[&str]) -> Vec<String> {
    let echo = ["printf", "%s\\n"];
    let ran = Command::new(wrapper())
        .args(echo)
        .args(arguments)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let said = String::from_utf8(ran.stdout).unwrap();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn optimised_code_is_compiled_with_the_profile_and_nothing_else_changes() {
    let given = ["--crate-name", "a", "-C", "opt-level=3", "a file.rs"];
    let passed = passed_on(&given);
    assert_eq!(passed[..given.len()], given);
    let profile = format!(
        "profile-use={}/kvd.profdata",
        wrapper().parent().unwrap().display()
    );
    // What changed since it was recorded is no reason for warnings.
    let added = ["-C", &profile, "-C", "llvm-args=-no-pgo-warn-mismatch"];
    assert_eq!(passed[given.len()..], added);
}

#[test]
fn other_code_and_code_that_counts_is_compiled_as_cargo_says() {
    for given in [
        &["-C", "opt-level=1", "a file.rs"][..],
        &["-vV"],
        &["-C", "opt-level=3", "-C", "profile-generate=/tmp/a b"],
        &["-C", "opt-level=3", "-Cprofile-use=another"],
    ] {
        assert_eq!(passed_on(given), given);
    }
}

#[test]
fn rustc_takes_the_profile() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("any.rs");
    std::fs::write(&source, "pub fn any() {}").unwrap();
    let ran = Command::new(wrapper())
        .args(["rustc", "--crate-type", "lib", "-C", "opt-level=3"])
        .arg("--out-dir")
        .arg(folder.path())
        .arg(&source)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert!(ran.stderr.is_empty(), "{ran:?}");
}
