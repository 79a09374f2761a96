//! What is done after a set was installed, and the check before.
//!
//! No shell reads a program's arguments. What it writes goes where the agent's own output goes, and
//! nowhere else: it may quote what the files hold.

mod pid_file;
mod program;

use std::{path::PathBuf, time::Duration};

use crate::settings::{Action, Check, HookSettings};

/// What a program learns of the set, in its environment.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// `HOLDFAST_SET`.
    pub(crate) set: String,
    /// `HOLDFAST_FOLDER`: where its files are; not of single files.
    pub(crate) folder: Option<PathBuf>,
    /// `HOLDFAST_REVISION`.
    pub(crate) revision: u64,
}

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("{program} could not be started: {source}")]
    Start {
        program: String,
        source: std::io::Error,
    },
    #[error("{program} ended with {status}; its own output says why")]
    Failed { program: String, status: String },
    #[error("{program} did not end within {limit:?} and was killed")]
    TimedOut { program: String, limit: Duration },
    #[error("the pid file {} {why}", path.display())]
    PidFile { path: PathBuf, why: String },
}

/// Runs a hook once.
pub(crate) async fn run(hook: &HookSettings, about: &About) -> Result<(), HookError> {
    let timeout = hook.timeout.get();
    match hook.action() {
        Action::Exec(exec) => program::run(exec, about, timeout).await,
        Action::Signal(signal) => pid_file::signal(signal),
        Action::Reload(unit) => {
            let reload = ["systemctl", "reload", "--", unit].map(str::to_owned);
            program::run(&reload, about, timeout).await
        }
    }
}

/// Has a program look at a new set before it is installed.
pub(crate) async fn check(check: &Check, about: &About) -> Result<(), HookError> {
    let folder = about.folder.as_deref().unwrap_or(std::path::Path::new(""));
    let folder = folder.to_string_lossy();
    let exec: Vec<String> = check
        .exec
        .iter()
        .map(|word| word.replace("{folder}", &folder))
        .collect();
    program::run(&exec, about, check.timeout.get()).await
}

#[cfg(test)]
mod tests;
