//! Looking on while programs run: at their arguments, their environments, and what they send.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;

use super::{Leak, Scanner, scanner::Searched};
use crate::harness::{Process, wait};

/// Looks at the arguments and the environment of every process, again and again, on a thread of
/// its own.
pub struct Processes {
    over: Arc<AtomicBool>,
    looking: Option<JoinHandle<Searched>>,
}

impl Processes {
    /// Begins. Processes of other users are passed over where they cannot be read.
    pub fn watch(scanner: Arc<Scanner>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let looking = std::thread::spawn(move || {
            let mut searched = Searched::default();
            while !ends.load(Ordering::Relaxed) {
                look(&scanner, &mut searched);
                std::thread::sleep(BETWEEN);
            }
            look(&scanner, &mut searched);
            searched
        });
        Self {
            over,
            looking: Some(looking),
        }
    }

    /// Ends, and tells what was seen.
    pub fn end(mut self) -> Searched {
        self.over.store(true, Ordering::Relaxed);
        let looking = self.looking.take().expect("it ends once");
        looking.join().expect("looking never panics")
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn look(scanner: &Scanner, searched: &mut Searched) {
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    for process in processes.flatten() {
        let path = process.path();
        let is_process = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        if !is_process {
            continue;
        }
        for name in ["cmdline", "environ"] {
            let path = path.join(name);
            // It may be gone, or another's.
            if let Ok(bytes) = fs::read(&path)
                && !bytes.is_empty()
            {
                scanner.bytes(path.display(), &bytes, searched);
            }
        }
    }
}

/// What went over loopback, as tcpdump wrote it.
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

impl Capture {
    /// Begins; `None` where there is no tcpdump, or it may not listen.
    pub async fn begin(folder: &Path) -> anyhow::Result<Option<Self>> {
        let (file, log) = (folder.join("loopback.pcap"), folder.join("tcpdump.log"));
        let mut command = Command::new("tcpdump");
        command
            .args([
                "-i", "lo", "-U", "-s", "0", "-B", "65536", "-Z", "root", "-w",
            ])
            .arg(&file);
        let Ok(mut tcpdump) = Process::spawn(&mut command, &log) else {
            return Ok(None);
        };
        let listens = || {
            fs::read_to_string(&log)
                .unwrap_or_default()
                .contains("listening on")
        };
        wait::until_true("tcpdump", Duration::from_secs(20), || {
            listens() || tcpdump.exited().is_some()
        })
        .await?;
        Ok(listens().then_some(Self { tcpdump, file }))
    }

    /// Ends, and searches what was captured.
    pub fn end(mut self, scanner: &Scanner, searched: &mut Searched) -> anyhow::Result<()> {
        self.tcpdump.signal(rustix::process::Signal::TERM);
        self.tcpdump.wait(Duration::from_secs(20))?;
        scanner
            .file(&self.file, searched)
            .context("searching what tcpdump captured")
    }
}

impl Searched {
    /// Adds what another search found.
    pub fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.leaks.extend(other.leaks);
    }

    /// The leaks, each with its place, without what leaked.
    pub fn leaks(&self) -> &BTreeSet<Leak> {
        &self.leaks
    }
}

const BETWEEN: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::leak::Marks;

    #[tokio::test]
    async fn a_mark_in_an_argument_and_in_an_environment_is_seen() {
        let mut marks = Marks::default();
        let (argument, variable) = (marks.text("argument"), marks.bytes("variable"));
        let scanner = Arc::new(Scanner::new(&marks).unwrap());
        let processes = Processes::watch(Arc::clone(&scanner));
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("100").env("SECRET", hex::encode(&variable));
        let mut sleeping = Process::spawn(&mut command, &folder.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "kill -STOP $$", &argument]);
        let mut shell = Process::spawn(&mut command, &folder.path().join("log")).unwrap();
        let environment = |pid: u32| fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        wait::until_true("both to run", Duration::from_secs(10), || {
            !environment(sleeping.pid()).is_empty() && !environment(shell.pid()).is_empty()
        })
        .await
        .unwrap();
        let searched = processes.end();
        sleeping.kill();
        shell.kill();
        for (mark, place) in [("argument", "cmdline"), ("variable", "environ")] {
            let found = searched
                .leaks
                .iter()
                .any(|leak| leak.mark == mark && leak.place.ends_with(place));
            assert!(found, "{mark}: {searched:?}");
        }
    }

    #[tokio::test]
    async fn a_mark_that_is_sent_in_the_open_is_captured_where_tcpdump_is() {
        let mut marks = Marks::default();
        let text = marks.text("sent");
        let scanner = Scanner::new(&marks).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let Some(capture) = Capture::begin(folder.path()).await.unwrap() else {
            eprintln!("there is no tcpdump here, or it may not listen");
            return;
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.write_all(text.as_bytes()).unwrap();
        drop(sender);
        let mut received = String::new();
        receiver.read_to_string(&mut received).unwrap();
        assert_eq!(received, text);
        // What is captured is written as it comes, and read again until it is there.
        wait::until_true("the capture", Duration::from_secs(10), || {
            let mut searched = Searched::default();
            scanner.file(&capture.file, &mut searched).unwrap();
            !searched.leaks.is_empty()
        })
        .await
        .unwrap();
        let mut searched = Searched::default();
        capture.end(&scanner, &mut searched).unwrap();
        assert_eq!(searched.leaks.len(), 1, "{searched:?}");
    }
}
