//! A program run to its end, as a user runs it.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::binaries;

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; none: a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// Its standard output; panics with all that it said if it did not succeed.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(self) -> T {
        let stdout = self.success();
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error} in: {stdout}"))
    }

    /// Checks that it failed with `code`, and said each of `words` on standard error, whatever
    /// the case.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(
                said.contains(&word.to_lowercase()),
                "not a word of {word:?}: {self:?}"
            );
        }
    }
}

/// Runs `kvd`.
pub async fn kvd(arguments: &[&str]) -> Ran {
    run(Command::new(binaries::kvd()).args(arguments)).await
}

/// Runs `kvctl` with a context.
pub async fn kvctl(context: &Path, arguments: &[&str]) -> Ran {
    run(Command::new(binaries::kvctl())
        .env("HOLDFAST_CONTEXT", context)
        .args(arguments))
    .await
}

/// `kvctl -o json …`, which must succeed.
pub async fn asked(context: &Path, arguments: &[&str]) -> serde_json::Value {
    kvctl(context, &[&["-o", "json"], arguments].concat())
        .await
        .json()
}

/// Runs `kvctl` with a context, and something on its standard input.
pub async fn kvctl_with_input(context: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder for the input");
    let file = folder.path().join("input");
    std::fs::write(&file, input).expect("the input is written");
    let mut command = Command::new(binaries::kvctl());
    command.env("HOLDFAST_CONTEXT", context).args(arguments);
    command.stdin(std::fs::File::open(file).expect("the input opens"));
    run_as_it_is(&mut command, PATIENCE).await
}

/// Runs a program to its end; kills it and panics if that takes more than a minute.
pub async fn run(command: &mut Command) -> Ran {
    run_for(command, PATIENCE).await
}

/// The same with another patience.
pub async fn run_for(command: &mut Command, patience: Duration) -> Ran {
    run_as_it_is(command.stdin(Stdio::null()), patience).await
}

async fn run_as_it_is(command: &mut Command, patience: Duration) -> Ran {
    let ended = command
        // What the developer's own shell has set must not matter.
        .env_remove("HOLDFAST_LOG")
        .env("NO_COLOR", "1")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(patience, ended)
        .await
        .unwrap_or_else(|_| panic!("{command:?} did not end within {patience:?}"))
        .with_context(|| format!("running {command:?}"))
        .expect("the program is there");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
