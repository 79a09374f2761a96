use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    Log, LogError, LogOptions, LogRow,
    suite::{self, Subject, append, at, row},
};
use crate::error::OpenError;

fn small_files() -> LogOptions {
    LogOptions {
        file_bytes: 64 * 1024,
        cache_bytes: 16 * 1024,
        ..LogOptions::default()
    }
}

fn open(dir: &Path) -> Log {
    Log::open(dir, LogOptions::default()).unwrap()
}

/// Files of the log, oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("log")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    files.sort();
    files
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x80], offset).unwrap();
}

/// A log of some acknowledged entries, closed; the bytes of its only file.
fn filled(dir: &Path) -> Vec<u8> {
    let log = open(dir);
    for index in 0..20 {
        append(&log, vec![row(1, index)]).unwrap();
    }
    drop(log);
    std::fs::read(&files(dir)[0]).unwrap()
}

#[test]
fn the_suite_holds() {
    suite::run(|| Subject::new(LogOptions::default(), false));
}

#[test]
fn the_suite_holds_when_the_log_is_opened_anew_before_every_call() {
    suite::run(|| Subject::new(LogOptions::default(), true));
}

#[test]
fn the_suite_holds_with_small_files() {
    suite::run(|| Subject::new(small_files(), false));
    suite::run(|| Subject::new(small_files(), true));
}

#[test]
fn whatever_bit_is_flipped_no_acknowledged_entry_is_silently_lost() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = filled(dir.path());
    let file = files(dir.path()).remove(0);
    let mut refused = 0;
    for offset in 0..bytes.len() as u64 {
        flip(&file, offset);
        match Log::open(dir.path(), LogOptions::default()) {
            Err(OpenError::Damaged { path, .. }) => {
                assert!(path.starts_with(dir.path().join("log")));
                refused += 1;
            }
            Err(error) => panic!("byte {offset}: {error}"),
            // Only the closing mark, behind every entry, may go without a word.
            Ok(log) => assert_eq!(log.state().last, Some(at(1, 19)), "byte {offset}"),
        }
        std::fs::write(&file, &bytes).unwrap();
    }
    assert!(
        refused > bytes.len() - 200,
        "{refused} of {} were noticed",
        bytes.len()
    );
}

#[test]
fn a_damaged_log_is_refused_by_name_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = files(dir.path()).remove(0);
    flip(&file, 400);
    let error = Log::open(dir.path(), LogOptions::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
    assert!(
        error.contains("does not check") && error.contains("join it anew"),
        "{error}"
    );
}

#[test]
fn a_write_that_was_cut_off_anywhere_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = filled(dir.path());
    let file = files(dir.path()).remove(0);
    for length in (0..bytes.len()).step_by(29) {
        for filling in [None, Some(0)] {
            let mut torn = bytes[..length].to_vec();
            if let Some(byte) = filling {
                torn.resize(bytes.len(), byte);
            }
            std::fs::write(&file, torn).unwrap();
            let log = Log::open(dir.path(), LogOptions::default()).unwrap();
            let next = log.state().last.map_or(0, |last| last.index + 1);
            append(&log, vec![row(2, next)]).unwrap();
            drop(log);
            let log = open(dir.path());
            assert_eq!(log.state().last, Some(at(2, next)));
            drop(log);
            for extra in files(dir.path()).iter().skip(1) {
                std::fs::remove_file(extra).unwrap();
            }
        }
    }
}

#[test]
fn a_copy_of_a_mark_inside_a_value_is_no_mark() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = filled(dir.path());
    let log = open(dir.path());
    let copy = LogRow {
        position: at(1, 20),
        payload: Bytes::from(bytes),
    };
    append(&log, vec![copy]).unwrap();
    let whole = log.bytes();
    drop(log);
    // The end of the entry never reached the disk.
    let file = files(dir.path()).remove(0);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..whole as usize - 300]).unwrap();
    assert_eq!(open(dir.path()).state().last, Some(at(1, 19)));
}

/// Without room each sync would also write the file's new length: twice the wait for the disk.
#[test]
fn entries_go_into_room_that_is_there_already() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, vec![row(1, 0)]).unwrap();
    let file = files(dir.path()).remove(0);
    let length = || std::fs::metadata(&file).unwrap().len();
    let with_room = length();
    assert!(with_room > log.bytes(), "{with_room}");
    for index in 1..20 {
        append(&log, vec![row(1, index)]).unwrap();
    }
    assert_eq!(length(), with_room);
    let copied = tempfile::tempdir().unwrap();
    std::fs::create_dir(copied.path().join("log")).unwrap();
    for entry in std::fs::read_dir(dir.path().join("log")).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap();
        std::fs::copy(&from, copied.path().join("log").join(name)).unwrap();
    }
    drop(log);
    let closed = open(dir.path());
    assert_eq!(length(), closed.bytes(), "room was left behind");
    // As a process that is killed leaves it.
    let killed = open(copied.path());
    assert_eq!(killed.state().last, Some(at(1, 19)));
    append(&killed, vec![row(1, 20)]).unwrap();
}

#[test]
fn a_file_that_is_full_keeps_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small_files()).unwrap();
    for index in 0..10 {
        let payload = vec![1; 30 * 1024].into();
        append(
            &log,
            vec![LogRow {
                position: at(1, index),
                payload,
            }],
        )
        .unwrap();
    }
    let files = files(dir.path());
    assert!(files.len() > 2);
    let full = files[..files.len() - 1].iter();
    let lengths = full.map(|file| std::fs::metadata(file).unwrap().len());
    assert!(lengths.sum::<u64>() < log.bytes());
    drop(log);
    let lengths = files
        .iter()
        .map(|file| std::fs::metadata(file).unwrap().len());
    let log = Log::open(dir.path(), small_files()).unwrap();
    assert_eq!(lengths.sum::<u64>(), log.bytes());
}

#[test]
fn a_missing_file_of_the_log_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small_files()).unwrap();
    for index in 0..4 {
        let payload = vec![1; 60 * 1024].into();
        append(
            &log,
            vec![LogRow {
                position: at(1, index),
                payload,
            }],
        )
        .unwrap();
    }
    drop(log);
    let files = files(dir.path());
    assert!(files.len() > 2);
    for file in &files[..2] {
        let bytes = std::fs::read(file).unwrap();
        std::fs::remove_file(file).unwrap();
        let error = Log::open(dir.path(), small_files()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        std::fs::write(file, bytes).unwrap();
    }
}

#[test]
fn a_purge_frees_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small_files()).unwrap();
    for index in 0..20 {
        let payload = vec![1; 30 * 1024].into();
        append(
            &log,
            vec![LogRow {
                position: at(1, index),
                payload,
            }],
        )
        .unwrap();
    }
    log.purge(at(1, 15)).unwrap();
    drop(log);
    assert!(files(dir.path()).len() < 5);
    let log = Log::open(dir.path(), small_files()).unwrap();
    assert_eq!(log.read(0..100, usize::MAX).unwrap().len(), 4);
}

#[test]
fn a_purge_that_was_cut_off_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), small_files()).unwrap();
    let fill = |indexes: std::ops::Range<u64>| {
        for index in indexes {
            let payload = vec![1; 30 * 1024].into();
            let position = at(1, index);
            append(&log, vec![LogRow { position, payload }]).unwrap();
        }
    };
    fill(0..10);
    let old = files(dir.path()).remove(0);
    let bytes = std::fs::read(&old).unwrap();
    log.purge(at(1, 8)).unwrap();
    fill(10..12);
    drop(log);
    assert!(!old.exists());
    std::fs::write(&old, bytes).unwrap();
    let log = Log::open(dir.path(), small_files()).unwrap();
    assert_eq!(log.read(0..100, usize::MAX).unwrap().len(), 3);
    assert!(!old.exists());
}

#[test]
fn a_log_is_opened_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let clone = log.clone();
    drop(log);
    let error = Log::open(dir.path(), LogOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(clone);
    open(dir.path());
}

#[test]
fn a_log_dropped_while_it_writes_tells_everybody_first() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let log = open(dir.path());
        let (sender, receiver) = mpsc::channel();
        let next = log.state().last.map_or(0, |last| last.index + 1);
        for index in next..next + 10 {
            let sender = sender.clone();
            // The last callback also owns the last clone: it must not wait for itself.
            let last = (round % 2 == 0).then(|| log.clone());
            let done = Box::new(move |outcome| {
                drop(last);
                sender.send(outcome).unwrap();
            });
            log.append(vec![row(1, index)], done);
        }
        drop((log, sender));
        assert_eq!(receiver.iter().filter(Result::is_ok).count(), 10);
        // The files are let go a moment after the last callback.
        crate::testing::eventually(|| Log::open(dir.path(), LogOptions::default()).is_ok());
    }
}

#[test]
fn a_newer_format_and_a_foreign_folder_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let marker = dir.path().join("log/FORMAT");
    std::fs::write(&marker, "holdfast log 7\n").unwrap();
    let error = Log::open(dir.path(), LogOptions::default()).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 7, .. }),
        "{error}"
    );
    std::fs::write(&marker, "something else\n").unwrap();
    let error = Log::open(dir.path(), LogOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    std::fs::remove_file(&marker).unwrap();
    std::fs::write(dir.path().join("log/holiday.jpg"), "x").unwrap();
    let error = Log::open(dir.path(), LogOptions::default()).unwrap_err();
    assert!(error.to_string().contains("empty folder"), "{error}");
}

#[test]
fn a_disk_without_room_refuses_appends_and_takes_votes() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        reserve_bytes: u64::MAX,
        ..LogOptions::default()
    };
    let log = Log::open(dir.path(), options).unwrap();
    let refused = append(&log, vec![row(1, 0)]);
    assert!(matches!(refused, Err(LogError::Full { .. })), "{refused:?}");
    suite::save_vote(&log, b"vote").unwrap();
    assert_eq!(log.failed(), None);
    drop(log);
    append(&open(dir.path()), vec![row(1, 0)]).unwrap();
}

#[test]
fn a_later_flush_begins_when_it_is_let_go_or_another_does_or_the_log_is_closed() {
    const LIMIT: Duration = Duration::from_secs(10);
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let file = files(dir.path()).remove(0);
    let (told, outcomes) = mpsc::channel();
    let later = |index| {
        let told = told.clone();
        let done = move |outcome: Result<(), LogError>| {
            outcome.unwrap();
            told.send(index).unwrap();
        };
        log.append_later(vec![row(1, index)], Box::new(done))
    };

    let before = std::fs::read(&file).unwrap();
    let first = later(0);
    assert_eq!(log.read(0..1, usize::MAX).unwrap(), [row(1, 0)]);
    assert_eq!(std::fs::read(&file).unwrap(), before, "nothing is written");
    assert!(outcomes.try_recv().is_err());
    drop(first);
    assert_eq!(outcomes.recv_timeout(LIMIT), Ok(0));
    assert_ne!(std::fs::read(&file).unwrap(), before);

    let second = later(1);
    append(&log, vec![row(1, 2)]).unwrap();
    assert_eq!(outcomes.try_recv(), Ok(1), "before the one that began it");
    drop(second);

    let third = later(3);
    drop(log);
    assert_eq!(outcomes.recv_timeout(LIMIT), Ok(3));
    drop(third);
    let rows = open(dir.path()).read(0..4, usize::MAX).unwrap();
    assert_eq!(rows.len(), 4);
}
