//! A person at a terminal.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::OFlags,
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

/// A person at a terminal with `kvctl` in it.
pub(crate) struct Person {
    keyboard: File,
    terminal: OwnedFd,
    kvctl: Child,
    seen: String,
}

impl Person {
    pub(crate) fn runs(mut command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
        let size = Winsize {
            ws_row: 40,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&theirs, size).unwrap();
        let stdio = || Stdio::from(theirs.try_clone().unwrap());
        let kvctl = command
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK).unwrap();
        Self {
            keyboard: File::from(ours),
            terminal: theirs,
            kvctl,
            seen: String::new(),
        }
    }

    /// Waits until the terminal has shown this.
    pub(crate) fn sees(&mut self, text: &str) {
        self.sees_times(text, 1);
    }

    /// Waits until the terminal has shown this so many times.
    pub(crate) fn sees_times(&mut self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.seen.matches(text).count() < times {
            self.look();
            assert!(
                Instant::now() < deadline,
                "{text:?} is not in {:?}",
                self.seen
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that it has shown.
    pub(crate) fn seen(&self) -> &str {
        &self.seen
    }

    fn look(&mut self) {
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = self.keyboard.read(&mut bytes) {
            self.seen
                .push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    pub(crate) fn types(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Ctrl-C, as a shell's terminal turns it into a signal.
    pub(crate) fn interrupts(&self) {
        kill_process(Pid::from_child(&self.kvctl), Signal::INT).unwrap();
    }

    pub(crate) fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for its end; returns its exit code, all that was shown, and whether the terminal shows
    /// what is typed again.
    pub(crate) fn leaves(mut self) -> (i32, String, bool) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            self.look();
            if let Some(status) = self.kvctl.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                self.kvctl.kill().unwrap();
                self.kvctl.wait().unwrap();
                panic!("kvctl did not end after {:?}", self.seen);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.look();
        let echoes = self.echoes();
        (status.code().unwrap(), self.seen, echoes)
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
