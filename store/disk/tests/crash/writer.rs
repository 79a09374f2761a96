//! The process that is killed, and what must be true of what it leaves behind.

use std::{
    io::Write as _,
    path::Path,
    sync::mpsc::{self, Sender},
};

use bytes::Bytes;
use holdfast_disk::{Log, LogError, LogOptions, LogPosition, LogRow};

/// Appends that nobody has been told of yet, at most.
const OUTSTANDING: usize = 4;

fn open(dir: &Path) -> Log {
    let options = LogOptions {
        file_bytes: 64 * 1024,
        cache_bytes: 16 * 1024,
        ..LogOptions::default()
    };
    Log::open(dir, options).unwrap()
}

fn position(index: u64) -> LogPosition {
    LogPosition {
        term: 1,
        node: 1,
        index,
    }
}

fn row(index: u64) -> LogRow {
    LogRow {
        position: position(index),
        payload: payload(index),
    }
}

/// Up to 3 KiB that no other entry has.
pub(crate) fn payload(index: u64) -> Bytes {
    let mut bytes = index.to_le_bytes().to_vec();
    let length = index.wrapping_mul(7919) % 3000;
    bytes.extend((0..length).map(|at| (index ^ (at * 31)) as u8));
    bytes.into()
}

/// Appends and waits to be told.
pub(crate) fn append(log: &Log, rows: Vec<LogRow>) -> Result<(), LogError> {
    let (sender, receiver) = mpsc::channel();
    log.append(rows, Box::new(move |outcome| drop(sender.send(outcome))));
    receiver.recv().unwrap()
}

/// One line, written at once.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").unwrap();
    output.flush().unwrap();
}

/// The entry that a line of the writer acknowledges.
pub(crate) fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.parse().ok()
}

/// Appends `entries` entries and says which are acknowledged; votes and purges in between.
pub(crate) fn run(dir: &Path, entries: u64) {
    let log = open(dir);
    let (sender, receiver) = mpsc::channel();
    let mut asked = 0;
    let mut told = 0;
    let mut next = log.state().last.map_or(0, |last| last.index + 1);
    let end = next.saturating_add(entries);
    // The test program has not ended its own line yet.
    say("");
    while next < end && log.failed().is_none() {
        let rows: Vec<_> = (next..next + 1 + next % 3).map(row).collect();
        next += rows.len() as u64;
        ask(&log, rows, &sender);
        asked += 1;
        if next % 40 < 3 {
            log.save_vote(payload(next).slice(..8), Box::new(|_| ()));
        }
        if next % 150 < 3 && next > 100 {
            // A failure shows itself in what follows.
            drop(log.purge(position(next - 100)));
        }
        while asked - told > OUTSTANDING {
            receiver.recv().unwrap();
            told += 1;
        }
    }
    drop(log);
    drop(sender);
    if told + receiver.iter().count() == asked {
        say("everybody was told once");
    }
}

fn ask(log: &Log, rows: Vec<LogRow>, sender: &Sender<()>) {
    let sender = sender.clone();
    let last = rows.last().unwrap().position.index;
    let done = move |outcome| {
        match outcome {
            Ok(()) => say(&format!("acknowledged {last}")),
            Err(error) => say(&format!("failed {last}: {error}")),
        }
        sender.send(()).unwrap();
    };
    log.append(rows, Box::new(done));
}

/// Everything up to the newest acknowledged entry is there, nothing is wrong, and the log goes on.
pub(crate) fn verify(dir: &Path, newest: Option<u64>) {
    let log = open(dir);
    let state = log.state();
    let last = state.last.map(|last| last.index);
    assert!(
        last >= newest,
        "acknowledged {newest:?}, but the log ends at {last:?}"
    );
    let first = state.purged.map_or(0, |purged| purged.index + 1);
    let end = last.map_or(0, |last| last + 1);
    let rows = log.read(first..end, usize::MAX).unwrap();
    let expected: Vec<_> = (first..end).collect();
    let found: Vec<_> = rows.iter().map(|row| row.position.index).collect();
    assert_eq!(found, expected);
    assert!(
        rows.iter()
            .all(|row| row.payload == payload(row.position.index))
    );
    append(&log, vec![row(end)]).unwrap();
    drop(log);
    assert_eq!(open(dir).state().last, Some(position(end)));
}
