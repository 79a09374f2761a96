//! A child process with its output in a file.

use std::{
    fs::{File, OpenOptions},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal};

use super::reaper;

/// Killed and waited for when dropped, or when the whole test dies.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; both its outputs are appended to the file `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let output: File = open().with_context(|| format!("opening {}", log.display()))?;
        Self::start(command.stdout(output.try_clone()?).stderr(output), log)
    }

    /// Starts `command`; its standard output can be read from the child, its errors go to `log`.
    pub fn spawn_piped(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let errors = OpenOptions::new().create(true).append(true).open(log)?;
        Self::start(command.stdout(Stdio::piped()).stderr(errors), log)
    }

    /// Starts `command` with a socket for its standard input, as a service manager hands one over.
    pub fn spawn_on(command: &mut Command, socket: OwnedFd, log: &Path) -> anyhow::Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let output: File = open().with_context(|| format!("opening {}", log.display()))?;
        let command = command.stdout(output.try_clone()?).stderr(output);
        Self::start_with(command, socket.into(), log)
    }

    fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        Self::start_with(command, Stdio::null(), log)
    }

    fn start_with(command: &mut Command, input: Stdio, log: &Path) -> anyhow::Result<Self> {
        let child = command
            .stdin(input)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        reaper::guard(child.id());
        Ok(Self {
            child,
            log: log.to_path_buf(),
            status: None,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, once, if it was piped.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Sends a signal; none if it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let pid = Pid::from_child(&self.child);
            // It may have ended this moment; it is ours until waited for, so nobody else is hit.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.status.is_none() {
            self.status = self.child.wait().ok();
            reaper::release(self.pid());
        }
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
            if self.status.is_some() {
                reaper::release(self.pid());
            }
        }
        self.status
    }

    /// Waits for its end.
    pub fn wait(&mut self, at_most: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "process {} did not end within {at_most:?}; its output is {}",
                self.pid(),
                self.log.display(),
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Bytes of memory that it keeps resident.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        resident_bytes(self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process of this number is there and not a zombie.
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Bytes of memory that process `pid` keeps resident.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmRSS")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}
