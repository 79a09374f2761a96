//! What is packaged fits what the agent does by default, and systemd takes it.

use std::{path::PathBuf, process::Command};

use clap::Parser as _;

use super::*;
use crate::arguments::{self, Arguments, SETTINGS};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(folder().join("packaging").join(name)).unwrap()
}

/// What a unit says of something, as systemd reads it: all of it, without comments, in one line.
fn said<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = unit.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

fn of(unit: &str, key: &str) -> String {
    said(unit, key)
        .unwrap_or_else(|| panic!("no {key}"))
        .to_owned()
}

fn seconds(unit: &str, key: &str) -> u64 {
    let span: Span = of(unit, key).parse().unwrap();
    span.get().as_secs()
}

/// The words of ExecStart, without the program.
fn started_with(unit: &str) -> Arguments {
    let start = of(&unit.replace("\\\n", " "), "ExecStart");
    Arguments::try_parse_from(start.split_whitespace()).unwrap()
}

fn example() -> Settings {
    Settings::load(&folder().join("examples/kvagent.toml")).unwrap()
}

#[test]
fn the_unit_gives_the_agent_the_folders_that_it_uses_by_default() {
    let unit = unit("kvagent.service");
    let arguments::Command::Run(run) = started_with(&unit).command else {
        panic!("it does not run the agent");
    };
    assert_eq!(run.config, Path::new(SETTINGS));
    let state = Path::new("/var/lib").join(of(&unit, "StateDirectory"));
    assert_eq!(state, default_state());
    let writable = of(&unit, "ReadWritePaths");
    assert_eq!(state, Path::new(&writable));
    let example = example();
    assert_eq!(example.state, state);
    for place in example.sets.iter().flat_map(SetSettings::places) {
        assert!(
            place.starts_with(&state),
            "{place:?} cannot be written there"
        );
    }
}

#[test]
fn the_units_make_the_folders_that_are_named_beside_them() {
    let socket = Settings::load(&folder().join("examples/socket.toml")).unwrap();
    let runtime = Path::new("/run").join(of(&unit("kvagent.service"), "RuntimeDirectory"));
    assert_eq!(socket.socket.unwrap().path.parent(), Some(&*runtime));
    let example = unit("exec-example.service");
    let arguments::Command::Exec(exec) = started_with(&example).command else {
        panic!("it does not run a command");
    };
    let made = Path::new("/var/lib").join(of(&example, "StateDirectory"));
    assert!(exec.state.unwrap().starts_with(made));
}

#[test]
fn the_unit_waits_for_as_long_as_the_agent_may_take() {
    let agent = unit("kvagent.service");
    assert!(seconds(&agent, "TimeoutStartSec") > crate::systemd::LONGEST_START.as_secs());
    assert!(seconds(&agent, "TimeoutStopSec") > crate::agent::LAST_WORDS.as_secs());
    let example = unit("exec-example.service");
    let arguments::Command::Exec(exec) = started_with(&example).command else {
        panic!("it does not run a command");
    };
    assert!(seconds(&example, "TimeoutStopSec") > exec.grace.get().as_secs());
    for unit in [agent, example] {
        // Otherwise systemd tells hooks and commands to end, before the agent does.
        assert_eq!(of(&unit, "KillMode"), "mixed");
    }
}

#[test]
fn systemd_takes_the_units_and_finds_little_that_the_agent_could_do_without() {
    let analyze = |arguments: &[&str], file: &Path| {
        Command::new("systemd-analyze")
            .args(arguments)
            .arg(file)
            .output()
    };
    if analyze(&["--version"], Path::new("")).is_err() {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    for name in ["kvagent.service", "exec-example.service"] {
        // It wants the program to be there.
        let text = unit(name).replace("/usr/bin/kvagent", program.to_str().unwrap());
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let verified = analyze(&["verify"], &file).unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && !said.contains(name), "{said}");
    }
    let file = folder.path().join("kvagent.service");
    let judged = analyze(
        &["security", "--offline=yes", "--threshold=30", "--no-pager"],
        &file,
    );
    let judged = judged.unwrap();
    let said = String::from_utf8_lossy(&judged.stderr);
    if said.contains("unrecognized option") {
        eprintln!("skipped: this systemd-analyze judges no file");
        return;
    }
    let said = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "more than 3.0 of 10: {said}");
}
