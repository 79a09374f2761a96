//! `lock`: runs a command while a lock is held, and no longer.

use std::{
    ffi::OsString,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use holdfast_client::{LockError, LockGuard, LockOptions, limits};
use tokio::process::{Child, Command};

use crate::{
    duration,
    failure::{Exit, Failure},
    session::Session,
    terminate::{self, Signals},
};

/// Run a command while holding a lock
///
/// The command finds the fencing token in $HOLDFAST_LOCK_TOKEN. When the lock is lost, the command
/// is ended: first asked to, killed 5 s later. kvctl exits as the command did, 1 if the lock was
/// lost. If kvctl itself is killed, the lock is free after --ttl.
#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    /// The lock's name
    #[arg(value_parser = parse_name)]
    name: String,

    /// How long the lock outlives a silent holder: 1s to 30d
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, default_value = "10s")]
    ttl: Duration,

    /// How long to wait for it; 0s: not at all [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    wait: Option<Duration>,

    /// The command and its arguments, behind --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Lock {
    pub(crate) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        let client = session.connect().await?;
        let options = LockOptions {
            ttl: self.ttl,
            wait: self.wait,
        };
        let mut signals = Signals::listen()?;
        let guard = tokio::select! {
            guard = client.lock(self.name.clone(), options) => guard?,
            () = signals.next() => {
                return Err(Failure::refused(format!(
                    "interrupted while waiting for {}; the command was not run", self.name
                )));
            }
        };
        session.output.remark(format_args!(
            "holding {} (token {})",
            self.name,
            guard.token()
        ));
        let child = match self.start(&guard) {
            Ok(child) => child,
            Err(failure) => {
                // What matters is why the command did not start; the lease ends the hold in any case.
                let _ = release(guard).await;
                return Err(failure);
            }
        };
        self.hold(child, guard, signals).await
    }

    fn start(&self, guard: &LockGuard) -> Result<Child, Failure> {
        let [program, arguments @ ..] = &self.command[..] else {
            return Err(Failure::usage("name the command behind --"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("HOLDFAST_LOCK_TOKEN", guard.token().to_string())
            .env("HOLDFAST_LOCK_NAME", &self.name)
            .kill_on_drop(true);
        terminate::prepare(&mut command);
        command.spawn().map_err(|error| {
            Failure::usage(format!(
                "{} could not be started: {error}; the lock is free again",
                program.display()
            ))
        })
    }

    /// Waits for the command's end while the lock is held, and ends it when the lock is lost.
    async fn hold(
        &self,
        mut child: Child,
        guard: LockGuard,
        mut signals: Signals,
    ) -> Result<ExitCode, Failure> {
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = guard.lost() => {
                    terminate::end(&mut child, GRACE).await;
                    return Err(Failure::refused(format!(
                        "the lock {} was lost and the command ended; somebody else may hold it by now",
                        self.name
                    )));
                }
                () = signals.next() => terminate::ask(&child),
            }
        };
        let status = status.map_err(|error| {
            Failure::refused(format!("the command's end could not be awaited: {error}"))
        })?;
        if let Err(error) = release(guard).await {
            Failure::from(error)
                .during("the command has ended, but its lock")
                .tell();
            if status.success() {
                return Ok(Exit::Refused.into());
            }
        }
        Ok(exit_code(status))
    }
}

/// Releases the lock, and waits until its lease is gone too: this program ends next, and what it
/// does in the background ends with it.
async fn release(guard: LockGuard) -> Result<(), LockError> {
    let lease = guard.lease().clone();
    guard.release().await?;
    // It would run out by itself.
    let _ = lease.revoke().await;
    Ok(())
}

/// As a shell has it: the command's own code, or 128 and the signal that ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| terminate::signal(status).map(|signal| 128 + signal));
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

fn parse_name(name: &str) -> Result<String, String> {
    match name {
        "" => Err("a lock needs a name".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration::parse(text)?;
    match u64::try_from(ttl.as_millis()) {
        Ok(millis) if limits::LEASE_TTL_MS.contains(&millis) => Ok(ttl),
        _ => Err("a lock outlives its holder for 1s to 30d".to_owned()),
    }
}

/// Between asking the command to end and killing it.
const GRACE: Duration = Duration::from_secs(5);
