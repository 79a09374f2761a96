//! Makes a module of the tests that ship in the package of the `etcd-client` crate: those that
//! `tests/etcd_client.rs` runs. They come out of the package that the lock file names, so nothing of them is
//! here.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let tests = package("etcd-client")?.join("tests");
    let read = |file: &str| fs::read_to_string(tests.join(file));
    let modules = [
        ("testing", with_an_endpoint_of_ours(&read("testing.rs")?)?),
        ("client", for_a_module(&read("client.rs")?)),
        ("namespace", for_a_module(&read("namespace.rs")?)),
    ];
    let modules = modules.map(|(name, source)| format!("mod {name} {{\n{source}}}\n"));
    let out = PathBuf::from(env::var("OUT_DIR")?);
    Ok(fs::write(
        out.join("etcd_client_tests.rs"),
        modules.concat(),
    )?)
}

/// The folder of a package that the lock file names.
fn package(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let ran = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()?;
    if !ran.status.success() {
        return Err(String::from_utf8_lossy(&ran.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&ran.stdout)?;
    let packages = metadata["packages"].as_array();
    let package = packages
        .into_iter()
        .flatten()
        .find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = PathBuf::from(manifest.ok_or("the lock file names no such package")?);
    Ok(manifest.parent().ok_or("a file lies in a folder")?.into())
}

/// They connect to where the environment says.
fn with_an_endpoint_of_ours(source: &str) -> Result<String, &'static str> {
    const THEIRS: &str = "pub const DEFAULT_TEST_ENDPOINT: &str = \"localhost:2379\";";
    const OURS: &str = "pub fn endpoint() -> &'static str {
    std::env::var(\"HOLDFAST_ETCD_ENDPOINT\").expect(\"an endpoint\").leak()
}";
    if !source.contains(THEIRS) {
        return Err("the package names its endpoint otherwise");
    }
    Ok(for_a_module(&source.replace(THEIRS, OURS)))
}

/// Each test waits until it is asked for, one at a time.
fn for_a_module(source: &str) -> String {
    source
        .lines()
        .filter(|line| !matches!(*line, "mod testing;" | "#[parallel]" | "#[serial]"))
        .filter(|line| !line.starts_with("use serial_test::"))
        .map(|line| match line {
            "#[tokio::test]" => format!("{line}\n#[ignore = \"needs a server\"]\n"),
            _ => format!("{line}\n"),
        })
        .collect::<String>()
        .replace("crate::testing", "super::testing")
        .replace("DEFAULT_TEST_ENDPOINT}", "endpoint}")
        .replace("DEFAULT_TEST_ENDPOINT", "endpoint()")
}
