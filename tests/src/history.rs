//! Histories: what clients asked and what they were told, as JSON lines.
//!
//! Invoke and return are apart, so that a checker sees which calls overlapped. A return is `ok`,
//! `fail` (certainly without effect) or `unknown` (it may have happened, or happen yet). Times
//! are nanoseconds of one monotonic clock, since the history began.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Nanoseconds since the history began.
    pub at_ns: u64,
    /// Which client.
    pub process: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A call begins. `operation` is unique in the history and goes into the write's note.
    Invoke {
        /// Its number.
        operation: u64,
        /// What was asked.
        call: Call,
    },
    /// A call was answered.
    Ok {
        /// Its number.
        operation: u64,
        /// The answer.
        answer: Answer,
    },
    /// A call had certainly no effect.
    Fail {
        /// Its number.
        operation: u64,
        /// Why.
        why: String,
    },
    /// A call may have had its effect, or may have it yet.
    Unknown {
        /// Its number.
        operation: u64,
        /// Why.
        why: String,
    },
    /// A watcher begins: it wants every revision from `from` on.
    Watching {
        /// First revision wanted.
        from: u64,
    },
    /// A watcher was handed changes. Everything up to and with `revision` has been delivered.
    Delivered {
        /// Up to here nothing is missing.
        revision: u64,
        /// In the order of delivery.
        changes: Vec<Change>,
    },
    /// A watcher's view was replaced by a snapshot.
    Reset {
        /// The snapshot's revision.
        revision: u64,
        /// Keys with the revision of each.
        entries: Vec<(String, u64)>,
    },
    /// The holder of a lock was told that it holds it no more.
    Lost {
        /// The lock.
        name: String,
        /// The hold's fencing token.
        token: u64,
    },
    /// Something was done to the cluster.
    Fault {
        /// In words.
        what: String,
    },
}

/// What a client asks. Values are unique within a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// A linearizable read.
    Get {
        /// Of this key.
        key: String,
    },
    /// A write, whatever is there.
    Put {
        /// To this key.
        key: String,
        /// Of this value.
        value: String,
    },
    /// One transaction that writes the same value to several keys.
    PutMany {
        /// To these keys.
        keys: Vec<String>,
        /// Of this value.
        value: String,
    },
    /// A write that wants the key to be as it was read.
    CompareAndSet {
        /// To this key.
        key: String,
        /// The value it must have; none: it must not exist.
        expected: Option<String>,
        /// The new value.
        value: String,
    },
    /// A deletion.
    Delete {
        /// Of this key.
        key: String,
    },
    /// Waits for a lock.
    Lock {
        /// Its name.
        name: String,
    },
    /// Gives a lock back.
    Release {
        /// Its name.
        name: String,
        /// The hold's token.
        token: u64,
    },
}

impl Call {
    /// The keys it touches.
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::CompareAndSet { key, .. }
            | Self::Delete { key } => vec![key],
            Self::PutMany { keys, .. } => keys.iter().map(String::as_str).collect(),
            Self::Lock { .. } | Self::Release { .. } => Vec::new(),
        }
    }

    /// Whether it reads or writes keys, and not locks.
    pub fn is_of_the_keyspace(&self) -> bool {
        !self.keys().is_empty()
    }

    /// Whether it changes the keyspace.
    pub fn writes(&self) -> bool {
        !matches!(
            self,
            Self::Get { .. } | Self::Lock { .. } | Self::Release { .. }
        )
    }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Of a get.
    Read {
        /// The value; none: no such key.
        value: Option<String>,
        /// The revision of the key's version; 0: no such key.
        modified: u64,
        /// The revision of the store that was read.
        revision: u64,
    },
    /// Of a write that was applied.
    Written {
        /// The revision it made.
        revision: u64,
    },
    /// Of a compare-and-set whose key was otherwise.
    Conflict {
        /// The revision found; 0: no such key.
        found: u64,
    },
    /// Of a delete.
    Deleted {
        /// Whether there was something to delete.
        existed: bool,
        /// The revision it made; 0: it changed nothing.
        revision: u64,
    },
    /// Of a lock: held.
    Locked {
        /// The fencing token.
        token: u64,
    },
    /// Of a release.
    Released,
}

/// One changed key at one revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// When, in revisions.
    pub revision: u64,
    /// Which key.
    pub key: String,
    /// Its new value; none: deleted.
    pub value: Option<String>,
    /// The note of the write: the operation's number, if it was one of ours.
    pub note: String,
}

impl Change {
    /// The number of the operation that made it, if it was one of ours.
    pub fn operation(&self) -> Option<u64> {
        self.note.strip_prefix(NOTE)?.parse().ok()
    }
}

/// The note that a write of operation `number` carries.
pub fn note(number: u64) -> String {
    format!("{NOTE}{number}")
}

/// A whole history, with the store's own account of its changes.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order of time.
    pub lines: Vec<Line>,
    /// Every change that the store committed, by revision, as read from it at the end.
    pub changes: Vec<Change>,
}

impl History {
    /// Reads a history of JSON lines. `changes` is what the store said at the end.
    pub fn load(path: &Path, changes: Vec<Change>) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let lines = BufReader::new(file)
            .lines()
            .map(|line| Ok(serde_json::from_str(&line?)?))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { lines, changes })
    }

    /// Every call with its outcome.
    pub fn operations(&self) -> Vec<Operation> {
        let mut operations: Vec<Operation> = Vec::new();
        let mut place = std::collections::HashMap::new();
        for line in &self.lines {
            match &line.event {
                Event::Invoke { operation, call } => {
                    place.insert(*operation, operations.len());
                    operations.push(Operation {
                        number: *operation,
                        process: line.process,
                        call: call.clone(),
                        invoked_ns: line.at_ns,
                        returned_ns: u64::MAX,
                        outcome: Outcome::Unknown("it never returned".into()),
                    });
                }
                Event::Ok { operation, .. }
                | Event::Fail { operation, .. }
                | Event::Unknown { operation, .. } => {
                    let Some(at) = place.get(operation) else {
                        continue;
                    };
                    let operation = &mut operations[*at];
                    (operation.returned_ns, operation.outcome) = match &line.event {
                        Event::Ok { answer, .. } => (line.at_ns, Outcome::Ok(answer.clone())),
                        Event::Fail { why, .. } => (line.at_ns, Outcome::Fail(why.clone())),
                        Event::Unknown { why, .. } => (u64::MAX, Outcome::Unknown(why.clone())),
                        _ => continue,
                    };
                }
                _ => {}
            }
        }
        operations
    }
}

/// One call from its begin to its end.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Unique in the history.
    pub number: u64,
    /// Which client.
    pub process: u64,
    /// What was asked.
    pub call: Call,
    /// When it began.
    pub invoked_ns: u64,
    /// When it returned; for ever later, if the outcome is unknown.
    pub returned_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// The revision it made, if it was acknowledged and made one.
    pub fn revision(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::Ok(Answer::Written { revision } | Answer::Deleted { revision, .. }) => {
                (*revision > 0).then_some(*revision)
            }
            _ => None,
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered.
    Ok(Answer),
    /// Certainly without effect.
    Fail(String),
    /// Nobody knows.
    Unknown(String),
}

/// Writes a history while it happens. Clones write to the same one.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    began: Instant,
    next: AtomicU64,
    acknowledged: AtomicU64,
    path: PathBuf,
    written: Mutex<Written>,
}

struct Written {
    file: BufWriter<File>,
    lines: Vec<Line>,
}

impl Recorder {
    /// Begins a history in a new file.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(Arc::new(Inner {
            began: Instant::now(),
            next: AtomicU64::new(1),
            acknowledged: AtomicU64::new(0),
            path: path.to_path_buf(),
            written: Mutex::new(Written {
                file: BufWriter::new(file),
                lines: Vec::new(),
            }),
        })))
    }

    /// A number for an operation.
    pub fn next_operation(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes one line. The time is taken under the lock, so lines are in order of time.
    pub fn record(&self, process: u64, event: Event) {
        if matches!(
            event,
            Event::Ok {
                answer: Answer::Written { .. },
                ..
            }
        ) {
            self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        let mut written = self.0.written.lock();
        let at_ns = u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let line = Line {
            at_ns,
            process,
            event,
        };
        // A history that cannot be written is still checked from memory.
        if serde_json::to_writer(&mut written.file, &line).is_ok() {
            let _ = written.file.write_all(b"\n");
        }
        written.lines.push(line);
    }

    /// Records that a call begins, and gives its number.
    pub fn invoke(&self, process: u64, call: Call) -> u64 {
        let operation = self.next_operation();
        self.record(process, Event::Invoke { operation, call });
        operation
    }

    /// How many writes have been acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.0.acknowledged.load(Ordering::Relaxed)
    }

    /// Where the lines go.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The lines so far, flushed to the file as well.
    pub fn lines(&self) -> Vec<Line> {
        let mut written = self.0.written.lock();
        let _ = written.file.flush();
        written.lines.clone()
    }
}

const NOTE: &str = "operation ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_reads_back_as_it_was_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        let call = Call::Put {
            key: "a".into(),
            value: "1".into(),
        };
        let first = recorder.invoke(7, call.clone());
        let second = recorder.invoke(8, Call::Get { key: "a".into() });
        let written = Answer::Written { revision: 1 };
        recorder.record(
            7,
            Event::Ok {
                operation: first,
                answer: written.clone(),
            },
        );
        recorder.record(
            8,
            Event::Unknown {
                operation: second,
                why: "gone".into(),
            },
        );
        let lines = recorder.lines();

        let history = History::load(&path, Vec::new()).unwrap();
        assert_eq!(history.lines, lines);
        let operations = history.operations();
        assert_eq!(operations[0].call, call);
        assert_eq!(operations[0].outcome, Outcome::Ok(written));
        assert!(operations[0].invoked_ns < operations[0].returned_ns);
        assert_eq!(operations[1].returned_ns, u64::MAX);
    }

    #[test]
    fn a_note_names_its_operation() {
        let change = |note: String| Change {
            revision: 1,
            key: "k".into(),
            value: None,
            note,
        };
        assert_eq!(change(note(42)).operation(), Some(42));
        assert_eq!(change("by hand".into()).operation(), None);
    }
}
