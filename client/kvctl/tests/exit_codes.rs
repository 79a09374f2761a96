//! What a shell sees of `kvctl` where no cluster is needed: words on standard error, exit codes.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The command, with nothing of the machine's own configuration around it.
fn kvctl(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    command
        .env_remove("HOLDFAST_CONTEXT")
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join(".config"));
    command
}

fn run(command: &mut Command, arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("kvctl runs");
    let text = |bytes| String::from_utf8(bytes).expect("kvctl writes text");
    (
        status.code().expect("kvctl ends by itself"),
        text(stdout),
        text(stderr),
    )
}

/// A context whose files are all there, at a port where nobody listens.
fn context(folder: &Path) -> PathBuf {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    for (name, text) in [
        ("ca.crt", CERTIFICATE),
        ("client.crt", CERTIFICATE),
        ("client.key", KEY),
    ] {
        fs::write(folder.join(name), text).expect("a file is written");
    }
    let path = folder.join("context.toml");
    let text = format!(
        "cluster = \"home\"\nendpoints = [\"127.0.0.1:{port}\"]\nca = \"ca.crt\"\n\
         cert = \"client.crt\"\nkey = \"client.key\"\n"
    );
    fs::write(&path, text).expect("a file is written");
    path
}

#[test]
fn wrong_usage_exits_with_2_and_says_how() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, word) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["put", "a"], "<VALUE"),
        (&["put", "", "x"], "the key is empty"),
        (&["put", "a", "x", "--type", "int"], "use text, integer"),
        (&["delete", "--prefix", ""], "would delete every key"),
        (&["get", "a", "--revision", "0"], "from 1 on"),
        (&["export", "p", "--format", "csv"], "use reg, json"),
        (&["lock", "l", "true"], "--"),
        (&["secret", "put", "a"], "there is no context"),
        (
            &["secret", "put", "a", "--file", "/no/such"],
            "could not be read",
        ),
        (&["secret", "put", "a", "-"], "the secret is empty"),
        (&["secret", "destroy", "a"], "add --yes"),
        (
            &["secret", "generate", "a", "--alphabet", "greek"],
            "base64url",
        ),
        (
            &["-o", "json", "secret", "generate", "a", "--show"],
            "use one of them",
        ),
        (&["keyring", "rotate"], "--reason"),
    ] {
        let (code, out, err) = run(&mut kvctl(home.path()), arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(word), "{arguments:?}: {err}");
        assert!(out.is_empty(), "{arguments:?}: {out}");
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let home = tempfile::tempdir().unwrap();
    for word in ["hunter2", "-hunter2", "--hunter2"] {
        let (code, out, err) = run(&mut kvctl(home.path()), &["secret", "put", "a", word]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("nothing was put"), "{err}");
        assert!(!err.contains("hunter2") && out.is_empty(), "{err}{out}");
    }
}

#[test]
fn without_a_terminal_no_secret_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let context = context(home.path());
    let context = context.to_str().unwrap();
    for (arguments, word) in [
        (["secret", "put", "a"], "--file FILE or -"),
        (["secret", "destroy", "a"], "--yes"),
    ] {
        let mut command = kvctl(home.path());
        let (code, _, err) = run(command.args(["--context", context]), &arguments);
        assert_eq!(code, 2, "{err}");
        assert!(
            err.contains("no terminal to ask") && err.contains(word),
            "{err}"
        );
    }
}

#[test]
fn a_secret_that_is_too_large_is_refused_before_any_server_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("large");
    fs::write(&file, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    let file = file.to_str().unwrap();
    let (code, _, err) = run(
        &mut kvctl(home.path()),
        &["secret", "put", "a", "--file", file],
    );
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("1048576 bytes"), "{err}");
}

#[test]
fn a_value_of_another_type_is_refused_before_any_server_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let (code, _, err) = run(
        &mut kvctl(home.path()),
        &["put", "a", "five", "--type", "integer"],
    );
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("\"five\" is no whole number"), "{err}");
}

#[test]
fn a_missing_context_says_where_one_could_be() {
    let home = tempfile::tempdir().unwrap();
    let (code, _, err) = run(&mut kvctl(home.path()), &["get", "a"]);
    assert_eq!(code, 2, "{err}");
    for word in [
        "there is no context",
        "--context",
        "HOLDFAST_CONTEXT",
        ".config/holdfast",
    ] {
        assert!(err.contains(word), "{err}");
    }
}

#[test]
fn a_context_that_is_gone_or_broken_is_named() {
    let home = tempfile::tempdir().unwrap();
    let gone = home.path().join("gone.toml");
    let (code, _, err) = run(
        kvctl(home.path()).env("HOLDFAST_CONTEXT", &gone),
        &["status"],
    );
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("gone.toml"), "{err}");
    let broken = home.path().join("broken.toml");
    fs::write(&broken, "cluster = \"home\"\n").unwrap();
    let (code, _, err) = run(
        &mut kvctl(home.path()),
        &["--context", broken.to_str().unwrap(), "status"],
    );
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("endpoints"), "{err}");
}

#[test]
fn the_context_is_found_in_the_config_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/holdfast");
    fs::create_dir_all(&folder).unwrap();
    context(&folder);
    let (code, _, err) = run(&mut kvctl(home.path()), &["get", "a", "--timeout", "300ms"]);
    assert_eq!(code, 4, "{err}");
}

#[test]
fn unreachable_servers_exit_with_4_and_say_what_to_check() {
    let home = tempfile::tempdir().unwrap();
    let context = context(home.path());
    for arguments in [
        &["get", "a"][..],
        &["put", "a", "b"],
        &["status"],
        &["member", "list"],
        &["watch", "a"],
        &["lock", "l", "--", "true"],
        &["secret", "get", "a"],
        &["secret", "put", "a", "--insecure-argv", "hunter2"],
        &["keyring", "status"],
    ] {
        let mut command = kvctl(home.path());
        command
            .arg("--context")
            .arg(&context)
            .args(["--timeout", "300ms"]);
        let (code, out, err) = run(&mut command, arguments);
        assert_eq!(code, 4, "{arguments:?}: {err}");
        assert!(err.contains("127.0.0.1:"), "{arguments:?}: {err}");
        assert!(out.is_empty(), "{arguments:?}: {out}");
        assert!(!err.contains("hunter2"), "{err}");
        assert!(
            !err.contains('\u{1b}'),
            "colours without a terminal: {err:?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_imported_is_refused_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a.json");
    fs::write(&file, "{\n\"a\": null\n}").unwrap();
    let file = file.to_str().unwrap();
    let (code, _, err) = run(&mut kvctl(home.path()), &["import", file, "--prefix", "p"]);
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("nothing was imported: line 2: a is null"),
        "{err}"
    );
    let (code, _, err) = run(
        &mut kvctl(home.path()),
        &["import", "/no/such/file.json", "--prefix", "p"],
    );
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("could not be read"), "{err}");
    let (code, _, err) = run(&mut kvctl(home.path()), &["import", "-", "--prefix", "p"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--format"), "{err}");
}

#[test]
fn a_transaction_that_makes_no_sense_is_refused_with_its_place() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("t.json");
    fs::write(&file, r#"{"then": [{"put": "a"}]}"#).unwrap();
    let (code, _, err) = run(&mut kvctl(home.path()), &["txn", file.to_str().unwrap()]);
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("\"then\" number 1: a put needs a \"value\""),
        "{err}"
    );
}

#[test]
fn completion_scripts_need_no_cluster() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, err) = run(&mut kvctl(home.path()), &["completion", shell]);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("rollback"), "{shell}");
    }
}

/// Of nobody: well-formed, and trusted by no cluster.
const CERTIFICATE: &str = include_str!("data/nobody.crt");
const KEY: &str = include_str!("data/nobody.key");
