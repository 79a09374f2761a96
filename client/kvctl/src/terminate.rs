//! Ending a command, and hearing that one is to end. All that is Unix-only about `lock` is here.

use std::{process::ExitStatus, time::Duration};

use tokio::process::{Child, Command};

use crate::failure::Failure;

pub(crate) use platform::{Signals, ask, prepare, signal};

/// Asks a command to end, and kills it if it has not within `grace`.
pub(crate) async fn end(child: &mut Child, grace: Duration) {
    ask(child);
    if tokio::time::timeout(grace, child.wait()).await.is_err() {
        platform::kill(child);
        // It cannot refuse; what is left is to reap it.
        let _ = child.wait().await;
    }
}

#[cfg(unix)]
mod platform {
    use std::io::IsTerminal as _;
    use std::os::unix::process::ExitStatusExt as _;

    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    use tokio::signal::unix::{self, SignalKind};

    use super::{Child, Command, ExitStatus, Failure};

    /// The signals that ask this process to end.
    pub(crate) struct Signals {
        interrupt: unix::Signal,
        terminate: unix::Signal,
        hangup: unix::Signal,
    }

    impl Signals {
        pub(crate) fn listen() -> Result<Self, Failure> {
            let listen = |kind| {
                unix::signal(kind)
                    .map_err(|error| Failure::refused(format!("signals cannot be heard: {error}")))
            };
            Ok(Self {
                interrupt: listen(SignalKind::interrupt())?,
                terminate: listen(SignalKind::terminate())?,
                hangup: listen(SignalKind::hangup())?,
            })
        }

        /// Returns at the next of them.
        pub(crate) async fn next(&mut self) {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hangup.recv() => {}
            }
        }
    }

    /// A group of its own, so that its children end with it; but not at a terminal, where it could
    /// not read from the keyboard then.
    pub(crate) fn prepare(command: &mut Command) {
        if has_group() {
            command.process_group(0);
        }
    }

    pub(crate) fn ask(child: &Child) {
        send(child, Signal::TERM);
    }

    pub(super) fn kill(child: &mut Child) {
        send(child, Signal::KILL);
    }

    pub(crate) fn signal(status: ExitStatus) -> Option<i32> {
        status.signal()
    }

    fn send(child: &Child, signal: Signal) {
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else { return };
        // It fails only if the process is gone, which is what is wanted.
        let _ = match has_group() {
            true => kill_process_group(pid, signal),
            false => kill_process(pid, signal),
        };
    }

    fn has_group() -> bool {
        !std::io::stdin().is_terminal()
    }
}

#[cfg(not(unix))]
mod platform {
    use super::{Child, Command, ExitStatus, Failure};

    /// Ctrl-C alone.
    pub(crate) struct Signals;

    impl Signals {
        pub(crate) fn listen() -> Result<Self, Failure> {
            Ok(Self)
        }

        pub(crate) async fn next(&mut self) {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    pub(crate) fn prepare(_: &mut Command) {}

    /// There is no asking: the console's Ctrl-C has reached the command too.
    pub(crate) fn ask(_: &Child) {}

    pub(super) fn kill(child: &mut Child) {
        // It fails only if the process is gone, which is what is wanted.
        let _ = child.start_kill();
    }

    pub(crate) fn signal(_: ExitStatus) -> Option<i32> {
        None
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Child {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true);
        prepare(&mut command);
        command.spawn().unwrap()
    }

    async fn first_line(child: &mut Child) {
        use tokio::io::AsyncReadExt as _;
        let mut byte = [0];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut byte)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_command_is_asked_to_end_before_it_is_killed() {
        let mut child = start("trap 'exit 7' TERM; echo; while :; do sleep 0.01; done");
        first_line(&mut child).await;
        end(&mut child, Duration::from_secs(20)).await;
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn a_command_that_will_not_end_is_killed() {
        let mut child = start("trap '' TERM; echo; while :; do sleep 0.01; done");
        first_line(&mut child).await;
        end(&mut child, Duration::from_millis(50)).await;
        assert_eq!(signal(child.wait().await.unwrap()), Some(9));
    }
}
