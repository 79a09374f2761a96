//! `kvd` as a process: what it says and how it exits when something is wrong, and that it serves
//! and stops in order when nothing is.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

fn kvd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvd"));
    command.args(arguments).env("NO_COLOR", "1");
    command
}

/// Runs to the end; its exit code and what it said on standard error.
fn ran(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = kvd(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let (found, said) = ran(arguments);
    assert_eq!(found, Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "nothing about {word:?} in: {said}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn init(dir: &Path, listen: &str) {
    let (code, said) = ran(&["init", "--dir", text(dir), "--listen", listen]);
    assert_eq!(code, Some(0), "{said}");
}

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `kvd run` and reads its JSON log until a line contains `word`.
fn run_until(dir: &Path, word: &str) -> (Running, String) {
    let mut command = kvd(&["run", "--dir", text(dir), "--log-format", "json"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let running = Running(child);
    for line in log.lines() {
        let line = line.unwrap();
        if line.contains(word) {
            return (running, line);
        }
    }
    panic!("kvd ended without a word of {word:?}");
}

#[test]
fn wrong_usage_exits_with_2() {
    refused(&["run"], 2, &["--dir"]);
    refused(
        &["init", "--dir", "d", "--listen", "nowhere"],
        2,
        &["HOST:PORT"],
    );
}

#[test]
fn a_folder_without_a_node_exits_with_1_and_says_how_to_make_one() {
    let temp = tempfile::tempdir().unwrap();
    refused(
        &["run", "--dir", text(temp.path())],
        1,
        &["no node", "kvd init"],
    );
}

#[test]
fn a_taken_port_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = temp.path().join("n1");
    init(&dir, &address);
    refused(&["run", "--dir", text(&dir)], 1, &[&address, "port"]);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("n1");
    init(&dir, "127.0.0.1:7101");
    let file = dir.join("node.toml");
    let newer = fs::read_to_string(&file)
        .unwrap()
        .replace("format = 1", "format = 2");
    fs::write(&file, newer).unwrap();
    refused(
        &["run", "--dir", text(&dir)],
        1,
        &["node.toml", "format 2", "newer kvd"],
    );
}

#[cfg(unix)]
#[test]
fn a_node_serves_keeps_its_folder_to_itself_and_stops_in_order_at_sigterm() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("n1");
    init(&dir, "127.0.0.1:0");
    // Nobody can connect to port 0, but a cluster of one needs nobody.
    let (mut running, line) = run_until(&dir, "the node serves");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "INFO");
    assert!(line["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let pid = running.0.id();
    refused(
        &["run", "--dir", text(&dir)],
        1,
        &["in use", &format!("process {pid}")],
    );
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(running.0.wait().unwrap().success());
}

#[test]
fn a_child_ends_with_the_input_that_its_parent_held() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("n1");
    init(&dir, "127.0.0.1:0");
    let mut command = kvd(&["run", "--dir", text(&dir), "--follow-parent"]);
    let child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    drop(running.0.stdin.take());
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
}
