//! What a person at a terminal sees of `kvctl` before any server is asked.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use tempfile::TempDir;

/// A person at a terminal with `kvctl` in it.
struct Person {
    keyboard: File,
    terminal: OwnedFd,
    kvctl: Child,
    seen: String,
    _home: TempDir,
}

impl Person {
    fn runs(arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
        let stdio = || Stdio::from(theirs.try_clone().unwrap());
        let kvctl = Command::new(env!("CARGO_BIN_EXE_kvctl"))
            .args(["--timeout", "300ms"])
            .args(arguments)
            .env("HOLDFAST_CONTEXT", context(home.path()))
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
            _home: home,
        }
    }

    /// Waits until the terminal has shown this.
    fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            self.look();
            assert!(
                Instant::now() < deadline,
                "{text:?} is not in {:?}",
                self.seen
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn look(&mut self) {
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = self.keyboard.read(&mut bytes) {
            self.seen
                .push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    fn types(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for its end; returns all that was shown.
    fn leaves(mut self) -> (ExitStatus, String, bool) {
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
        (status, self.seen, echoes)
    }
}

/// A context whose files are all there, at a port where nobody listens.
fn context(folder: &Path) -> PathBuf {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let path = folder.join("context.toml");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let (certificate, key) = (data.join("nobody.crt"), data.join("nobody.key"));
    let text = format!(
        "cluster = \"home\"\nendpoints = [\"{address}\"]\nca = {certificate:?}\n\
         cert = {certificate:?}\nkey = {key:?}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_secret_is_asked_for_twice_and_never_shown() {
    let mut person = Person::runs(&["secret", "put", "svc/db"]);
    person.sees("secret for svc/db");
    person.sees("(not shown): ");
    assert!(!person.echoes(), "what is typed would be shown");
    person.types(b"hunter2\n");
    person.sees("once more: ");
    person.types(b"hunter3\n");
    let (status, seen, echoes) = person.leaves();
    assert_eq!(status.code(), Some(1), "{seen}");
    assert!(
        seen.contains("the two are not the same; nothing was put"),
        "{seen}"
    );
    assert!(!seen.contains("hunter"), "{seen}");
    assert!(echoes, "the terminal was left as it should not be");
}

#[test]
fn a_secret_that_is_typed_twice_goes_to_the_cluster() {
    let mut person = Person::runs(&["secret", "put", "svc/db"]);
    person.sees("(not shown): ");
    // Typed ahead, as a paste does.
    person.types("pässword\x7fd\nbeside\x15pässword\x7fd\r".as_bytes());
    let (status, seen, echoes) = person.leaves();
    assert_eq!(status.code(), Some(4), "{seen}");
    assert!(!seen.contains("sswor"), "{seen}");
    assert!(echoes);
}

#[test]
fn ctrl_c_and_an_arrow_key_end_the_asking_and_leave_the_terminal_well() {
    for (keys, words) in [
        (&b"hunter2\x03"[..], "interrupted; nothing was done"),
        (b"hunter2\x1b[A", "a control character"),
    ] {
        let mut person = Person::runs(&["secret", "put", "svc/db"]);
        person.sees("(not shown): ");
        person.types(keys);
        let (status, seen, echoes) = person.leaves();
        assert_eq!(status.code(), Some(1), "{seen}");
        assert!(seen.contains(words), "{seen}");
        assert!(!seen.contains("hunter2"), "{seen}");
        assert!(echoes);
    }
}

#[test]
fn destroying_is_explained_and_asked_for() {
    let mut person = Person::runs(&["secret", "destroy", "svc/db"]);
    person.sees("[y/N] ");
    person.types(b"\n");
    let (status, seen, _) = person.leaves();
    assert_eq!(status.code(), Some(1), "{seen}");
    for words in [
        "every version of svc/db, and the key",
        "thrown away on every node",
        "Backups made before",
        "nothing was destroyed",
    ] {
        assert!(seen.contains(words), "{words:?} is not in {seen}");
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
