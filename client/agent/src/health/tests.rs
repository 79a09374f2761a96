use std::time::Instant;

use super::*;
use crate::status::{FileStatus, Statuses};

fn installed() -> SetStatus {
    SetStatus {
        revision: 7,
        files: vec![FileStatus {
            path: "f".to_owned(),
            digest: String::new(),
        }],
        ..SetStatus::default()
    }
}

fn failed(gave_up: bool) -> SetStatus {
    SetStatus {
        hook: HookStatus::Failed {
            attempts: 3,
            why: "exit status 7".to_owned(),
            gave_up,
        },
        ..installed()
    }
}

fn health(sets: &[(&str, SetStatus)]) -> Health {
    let statuses = Statuses::new();
    for (name, status) in sets {
        statuses.say(name, status.clone());
    }
    let names = ["web", "tls"].map(str::to_owned).to_vec();
    Health::new(names, statuses.subscribe())
}

#[test]
fn only_what_is_installed_and_whose_hook_does_not_fail_is_ready() {
    let health_of = |status| health(&[("web", status), ("tls", installed())]);
    let owed = SetStatus {
        hook: HookStatus::Owed,
        ..installed()
    };
    let behind = SetStatus {
        problem: Some("no".to_owned()),
        ..installed()
    };
    for ready in [installed(), owed, behind] {
        assert!(health_of(ready).not_ready().is_empty());
    }
    let refused = SetStatus {
        problem: Some("the check refused it".to_owned()),
        ..SetStatus::default()
    };
    for (status, line) in [
        (
            refused,
            "web: cannot be installed; the agent's log says why",
        ),
        (
            failed(false),
            "web: its hook failed 3 time(s): exit status 7",
        ),
        (
            failed(true),
            "web: its hook failed 3 time(s), and it is not tried again: exit status 7",
        ),
    ] {
        assert_eq!(health_of(status).not_ready(), [line]);
    }
}

#[test]
fn a_set_that_nothing_is_known_of_is_not_ready_and_not_tried() {
    let confirmed = SetStatus {
        confirmed: Some(Instant::now()),
        ..installed()
    };
    let one = health(&[("web", confirmed.clone())]);
    assert_eq!(one.not_ready(), ["tls: not installed yet"]);
    assert!(!one.is_all_tried());
    // What an agent remembers of its last run was not tried by this one.
    assert!(!health(&[("web", confirmed.clone()), ("tls", installed())]).is_all_tried());
    let refused = SetStatus {
        problem: Some("no server".to_owned()),
        ..SetStatus::default()
    };
    assert!(health(&[("web", confirmed), ("tls", refused)]).is_all_tried());
}

#[test]
fn the_sentence_counts_and_names_the_worst() {
    let both = health(&[("web", installed()), ("tls", installed())]);
    assert_eq!(both.sentence(), "2 of 2 set(s) of files are up to date");
    let behind = SetStatus {
        problem: Some("line 3\nis no template".to_owned()),
        ..installed()
    };
    let one = health(&[("web", behind.clone()), ("tls", installed())]);
    assert_eq!(
        one.sentence(),
        "1 of 2 set(s) of files are up to date; web: line 3 is no template"
    );
    let none = health(&[("web", behind), ("tls", failed(false))]);
    assert_eq!(
        none.sentence(),
        "0 of 2 set(s) of files are up to date; tls: its hook failed 3 time(s): exit status 7"
    );
}
