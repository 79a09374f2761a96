//! Release builds are compiled with the profile, and kvd is linked in the order, that are kept beside cargo's
//! configuration: what stands between cargo and rustc adds them, and to nothing else. It names functions so
//! that both go on knowing them.
//!
//! With HOLDFAST_RELEASE_TESTS=1 a release is built, to see whether both are about this version.

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
        .env("CARGO_PKG_NAME", "a-crate")
        .env("CARGO_PKG_VERSION", "1.2.3")
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
fn names_of_optimised_code_depend_on_the_crates_version_and_on_no_feature() {
    let given = |metadata| {
        let file = ["-C", "extra-filename=-0f", "a file.rs"];
        [&["-C", "opt-level=3", "-C", metadata][..], &file].concat()
    };
    let passed = passed_on(&given("metadata=0f"));
    assert_eq!(passed[..7], given("metadata=a-crate-1.2.3"));
    // Otherwise what counts would count under other names.
    let counting = |metadata| [given(metadata), vec!["-Cprofile-generate"]].concat();
    let passed = passed_on(&counting("metadata=0f"));
    assert_eq!(passed, counting("metadata=a-crate-1.2.3"));
    let others = ["-C", "opt-level=1", "-C", "metadata=0f"];
    assert_eq!(passed_on(&others), others);
}

/// Whoever changes much of what runs, or rustc, is to run `.ci/profile`.
#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn profile_and_order_know_the_functions_of_a_release() {
    use std::{collections::HashSet, env};

    use holdfast_tests::harness::binaries::profile_folder;

    if env::var_os("HOLDFAST_RELEASE_TESTS").is_none() {
        println!("skipped: HOLDFAST_RELEASE_TESTS=1 builds a release first");
        return;
    }
    let root = wrapper().parent().unwrap().parent().unwrap().to_owned();
    let target = profile_folder().parent().unwrap().to_owned();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--bin", "kvd"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&root)
        // What the configuration names is to be used.
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_BUILD_RUSTC_WRAPPER")
        .status();
    assert!(built.unwrap().success());
    let names = Command::new("nm").arg(target.join("release/kvd")).output();
    let names = String::from_utf8(names.unwrap().stdout).unwrap();
    let names: HashSet<&str> = names
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .collect();
    let order = std::fs::read_to_string(root.join(".cargo/kvd.order")).unwrap();
    let known = order.lines().filter(|name| names.contains(name)).count();
    let all = order.lines().count();
    println!("{known} of {all} functions are there");
    assert!(
        known * 10 >= all * 9,
        "only {known} of {all} functions: run .ci/profile"
    );
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
