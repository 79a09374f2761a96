//! One node of a local cluster as a process of its own, which does not outlive this one.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::process::{Child, ChildStdin, Command};

use super::{http, ports::Addresses};

/// A node of a local cluster: its folder, its addresses, and its process while it runs.
pub struct LocalNode {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) listen: String,
    pub(super) http: String,
    pub(super) etcd: String,
    process: Option<Child>,
    /// Held here and not in the child's handle, which closes it before it waits: its end is how the
    /// child knows that we are gone.
    lifeline: Option<ChildStdin>,
}

/// A process that ended without being asked to.
pub struct Ended {
    /// The node's name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// In words.
    pub how: String,
}

impl LocalNode {
    pub(super) fn new(name: &str, dir: PathBuf, addresses: &Addresses) -> Self {
        Self {
            name: name.to_owned(),
            dir,
            listen: addresses.listen.clone(),
            http: addresses.http.clone(),
            etcd: addresses.etcd.clone(),
            process: None,
            lifeline: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it listens for etcd's clients.
    pub fn etcd(&self) -> &str {
        &self.etcd
    }

    /// Where it listens for clients and peers.
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// Where its HTTP port is.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// Where it logs.
    pub fn log(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// Starts its process.
    pub(super) fn spawn(&mut self, etcd_plaintext: bool) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("run")
            .arg("--follow-parent")
            .arg("--dir")
            .arg(&self.dir)
            .args(["--http", &self.http, "--etcd-listen", &self.etcd])
            .args(etcd_plaintext.then_some("--etcd-plaintext"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        // Ctrl-c is for us: we stop the children in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        self.lifeline = child.stdin.take();
        self.process = Some(child);
        Ok(())
    }

    /// Waits until it serves. `Ok(Some(…))`: its process ended instead.
    pub(super) async fn ready(&mut self) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if http::is_ready(&self.http).await {
                return None;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether its process has ended; `None` while it runs, or if it was not started.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().ok().flatten()?;
        self.process = None;
        Some(status)
    }

    /// SIGKILL: it gets no chance to tidy up.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        match self.process.take() {
            Some(mut child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Asks it to stop, and makes it if it does not.
    pub(super) async fn stop(&mut self, patience: Duration) {
        let Some(mut child) = self.process.take() else {
            return;
        };
        terminate(&child);
        if tokio::time::timeout(patience, child.wait()).await.is_err() {
            // An error means that it is gone already.
            drop(child.kill().await);
        }
    }

    /// The last words of its log.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().rev().take(2).collect();
        lines
            .into_iter()
            .rev()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[cfg(unix)]
fn terminate(child: &Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // An error means that it is gone already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Without signals the end of its input has to do.
#[cfg(not(unix))]
fn terminate(_: &Child) {}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
