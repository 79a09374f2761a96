//! Release builds are compiled with the profile, and kvd is linked in the order, that are kept beside cargo's
//! configuration: what stands between cargo and rustc adds them, and to nothing else.

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

/// The folder that it is in.
fn beside() -> String {
    wrapper().parent().unwrap().display().to_string()
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
    let profile = format!("profile-use={}/kvd.profdata", beside());
    // What changed since it was recorded is no reason for warnings.
    let options = "-no-pgo-warn-mismatch -enable-split-machine-functions -mfs-psi-cutoff=0";
    let options = format!("llvm-args={options}");
    assert_eq!(passed[given.len()..], ["-C", &profile, "-C", &options]);
}

#[test]
fn other_code_and_code_that_counts_is_compiled_as_cargo_says() {
    for given in [
        &["-C", "opt-level=1", "a file.rs"][..],
        &["-vV"],
        &["-C", "opt-level=3", "-C", "profile-generate=/tmp/a b"],
        &["-C", "opt-level=3", "-Cprofile-use=another"],
        &["--crate-name", "kvd", "-C", "opt-level=1", "a file.rs"],
    ] {
        assert_eq!(passed_on(given), given);
    }
}

#[test]
fn rustc_takes_the_profile() {
    let compiled = compile("any", "pub fn any() {}", &["--crate-type", "lib"]);
    assert_eq!(compiled, "");
}

#[test]
fn kvd_is_linked_in_the_order_by_the_linker_that_knows_one() {
    let linked = |name: &str, arguments: &[&str]| {
        let arguments = [&["--print", "link-args"], arguments].concat();
        compile(name, "fn main() {}", &arguments)
    };
    let order = format!("--symbol-ordering-file={}/kvd.order", beside());
    // As far as this toolchain's own linker is LLVM's.
    let kvd = linked("kvd", &[]);
    assert_eq!(kvd.contains(&order), kvd.contains("-fuse-ld=lld"), "{kvd}");
    assert!(!linked("kvctl", &[]).contains(&order));
    let another = linked("kvd", &["-C", "linker=cc", "-C", "linker-features=-lld"]);
    assert!(!another.contains(&order), "{another}");
}

/// What rustc says when a program or library of this name is compiled as cargo does for a release.
fn compile(name: &str, source: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("source.rs");
    std::fs::write(&file, source).unwrap();
    let ran = Command::new(wrapper())
        .args(["rustc", "--crate-name", name, "-C", "opt-level=3"])
        .args(arguments)
        .arg("--out-dir")
        .arg(folder.path())
        .arg(&file)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert!(ran.stderr.is_empty(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}
