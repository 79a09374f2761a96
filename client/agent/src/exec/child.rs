//! The command while it runs.
//!
//! Without a terminal it leads a process group of its own, so that all that it started can be ended with
//! it. At a terminal it shares this process's group: otherwise it could not read from the keyboard.

use std::{
    ffi::OsString,
    io::{self, ErrorKind},
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
};

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, test_kill_process_group, waitpgid,
};
use tokio::{
    process::{Child, Command},
    time::{Duration, Instant, sleep},
};

use super::{environment::Environment, signals};
use crate::failure::{Exit, Failure};

/// A command that runs. Killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    pid: Option<Pid>,
    has_group: bool,
}

impl Running {
    /// Starts it, without a shell.
    pub(crate) fn start(words: &[OsString], environment: &Environment) -> Result<Self, Failure> {
        let [program, arguments @ ..] = words else {
            return Err(Failure::new(Exit::Usage, "name the command behind --"));
        };
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        environment.fill(&mut command);
        let has_group = terminal().is_none();
        if has_group {
            command.process_group(0);
        }
        let child = command.spawn().map_err(|error| {
            // As shells tell it.
            let exit = match error.kind() {
                ErrorKind::NotFound => Exit::NotFound,
                _ => Exit::NotRunnable,
            };
            Failure::new(
                exit,
                format!("{} could not be started: {error}", program.display()),
            )
        })?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self {
            child,
            pid,
            has_group,
        })
    }

    /// Its number, as long as that is its own.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.child.id().and(self.pid)
    }

    /// Its end.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Passes a signal on to it, unless it has ended, or the terminal has sent it the same one.
    pub(crate) fn pass(&self, signal: Signal) {
        let is_told = signals::comes_from_a_terminal(signal)
            && terminal().is_some_and(|terminal| terminal.is_foreground);
        if let (Some(pid), false) = (self.pid(), is_told) {
            // It fails only if the process is gone.
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it, and all that it started, to end.
    pub(crate) fn ask_all_to_end(&self) {
        match self.has_group {
            true => self.signal_group(Signal::TERM),
            false => self.pass(Signal::TERM),
        }
    }

    /// Kills it, and all that it started.
    pub(crate) fn kill_all(&self) {
        self.signal_group(Signal::KILL);
        self.pass(Signal::KILL);
    }

    /// Once it has ended: waits for all that it started, and kills at `deadline` what is left of it.
    pub(crate) async fn end_rest(&self, deadline: Instant) {
        while self.has_others() {
            if Instant::now() >= deadline {
                return self.signal_group(Signal::KILL);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn has_others(&self) -> bool {
        let Some(group) = self.pid.filter(|_| self.has_group) else {
            return false;
        };
        // Those whose parents have ended are this process's own if it is the first of a container.
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
        test_kill_process_group(group).is_ok()
    }

    fn signal_group(&self, signal: Signal) {
        if let (Some(group), true) = (self.pid, self.has_group) {
            // None of them may be left.
            let _ = kill_process_group(group, signal);
        }
    }
}

/// As a shell has it: a command's own code, or 128 and the signal that ended it.
pub(crate) fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The terminal that controls this process.
struct Terminal {
    /// Whether what is typed there is for this process.
    is_foreground: bool,
}

fn terminal() -> Option<Terminal> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name is in parentheses and may hold anything. Behind it: state, parent, group, session,
    // terminal, and the terminal's foreground group.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<i32> = rest
        .split(' ')
        .skip(1)
        .take(5)
        .filter_map(|field| field.parse().ok())
        .collect();
    match fields[..] {
        [_, group, _, terminal, foreground] if terminal != 0 => Some(Terminal {
            is_foreground: group == foreground,
        }),
        _ => None,
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(5);
