//! A program that is run to its end, or killed with all that it started.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use super::{About, HookError};

pub(super) async fn run(exec: &[String], about: &About, limit: Duration) -> Result<(), HookError> {
    let [program, arguments @ ..] = exec else {
        // Settings are checked when they are read.
        return Ok(());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("HOLDFAST_SET", &about.set)
        .env("HOLDFAST_REVISION", about.revision.to_string())
        .stdin(Stdio::null())
        // So that all that it starts can be killed.
        .process_group(0)
        .kill_on_drop(true);
    if let Some(folder) = &about.folder {
        command.env("HOLDFAST_FOLDER", folder);
    }
    let mut child = command.spawn().map_err(|source| HookError::Start {
        program: program.clone(),
        source,
    })?;
    let mut group = Group::of(child.id());
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) => {
            group.release();
            judge(program, status)
        }
        Ok(Err(source)) => Err(HookError::Start {
            program: program.clone(),
            source,
        }),
        Err(_) => {
            group.signal(Signal::TERM);
            // Whoever can end by itself may do so.
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
            Err(HookError::TimedOut {
                program: program.clone(),
                limit,
            })
        }
    }
}

fn judge(program: &str, status: ExitStatus) -> Result<(), HookError> {
    let status = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    };
    Err(HookError::Failed {
        program: program.to_owned(),
        status,
    })
}

/// The processes of a program. Killed when this is dropped, unless they were released.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|pid| Pid::from_raw(pid.cast_signed())))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // None of them may be left.
            let _ = kill_process_group(group, signal);
        }
    }

    /// The program ended by itself: what it left running is meant to run.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

const GRACE: Duration = Duration::from_secs(1);
