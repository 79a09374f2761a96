//! What every log must do, whatever is under it and however often it is opened anew.

use std::sync::mpsc;

use bytes::Bytes;

use super::{Log, LogError, LogOptions, LogPosition, LogRow};

/// A log that may be closed and opened again behind the caller's back.
pub(super) struct Subject {
    dir: tempfile::TempDir,
    options: LogOptions,
    reopen: bool,
    log: Option<Log>,
}

impl Subject {
    pub(super) fn new(options: LogOptions, reopen: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), options.clone()).unwrap();
        Self {
            dir,
            options,
            reopen,
            log: Some(log),
        }
    }

    /// The log, opened anew if that is wanted.
    fn log(&mut self) -> Log {
        if self.reopen {
            self.log = None;
            self.log = Some(Log::open(self.dir.path(), self.options.clone()).unwrap());
        }
        self.log.clone().unwrap()
    }
}

pub(super) fn at(term: u64, index: u64) -> LogPosition {
    LogPosition {
        term,
        node: 1,
        index,
    }
}

pub(super) fn row(term: u64, index: u64) -> LogRow {
    let payload = Bytes::from(format!("entry {index} of term {term}"));
    LogRow {
        position: at(term, index),
        payload,
    }
}

/// Appends and waits until it is on disk.
pub(super) fn append(log: &Log, rows: Vec<LogRow>) -> Result<(), LogError> {
    let (sender, receiver) = mpsc::channel();
    log.append(rows, Box::new(move |outcome| sender.send(outcome).unwrap()));
    let outcome = receiver.recv().unwrap();
    assert!(receiver.recv().is_err(), "told twice");
    outcome
}

pub(super) fn save_vote(log: &Log, vote: &'static [u8]) -> Result<(), LogError> {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |outcome| sender.send(outcome).unwrap());
    log.save_vote(Bytes::from_static(vote), done);
    receiver.recv().unwrap()
}

fn indexes(log: &Log) -> Vec<u64> {
    let rows = log.read(0..u64::MAX, usize::MAX).unwrap();
    rows.iter().map(|row| row.position.index).collect()
}

/// Runs the whole suite.
pub(super) fn run(mut subject: impl FnMut() -> Subject) {
    an_empty_log_holds_nothing(subject());
    the_newest_vote_is_kept(subject());
    entries_are_readable_when_append_returns(subject());
    entries_come_back_as_they_were_given(subject());
    reads_are_cut_by_bytes_but_give_at_least_one(subject());
    truncation_drops_what_is_behind(subject());
    a_truncated_log_takes_other_entries(subject());
    a_purge_drops_what_is_before(subject());
    a_purge_may_go_beyond_the_end(subject());
    what_is_committed_never_goes_back(subject());
}

fn an_empty_log_holds_nothing(mut subject: Subject) {
    assert_eq!(subject.log().state(), super::LogState::default());
    assert_eq!(indexes(&subject.log()), [0; 0]);
}

fn the_newest_vote_is_kept(mut subject: Subject) {
    for vote in [&b"\x02"[..], b"\x01", b"\x01\x01", b""] {
        save_vote(&subject.log(), vote).unwrap();
        assert_eq!(subject.log().state().vote.unwrap(), vote);
    }
}

fn entries_are_readable_when_append_returns(mut subject: Subject) {
    let log = subject.log();
    let (sender, receiver) = mpsc::channel();
    for index in 0..100 {
        let sender = sender.clone();
        log.append(
            vec![row(1, index)],
            Box::new(move |outcome| sender.send((index, outcome)).unwrap()),
        );
        assert_eq!(log.read(index..index + 1, 1).unwrap(), [row(1, index)]);
    }
    drop((sender, log));
    let told: Vec<_> = receiver.iter().collect();
    let expected: Vec<_> = (0..100).map(|index| (index, Ok(()))).collect();
    assert_eq!(told, expected, "in order, and each once");
    assert_eq!(subject.log().state().last, Some(at(1, 99)));
}

fn entries_come_back_as_they_were_given(mut subject: Subject) {
    let empty = LogRow {
        position: at(1, 0),
        payload: Bytes::new(),
    };
    let large = LogRow {
        position: at(1, 1),
        payload: vec![7; 1 << 20].into(),
    };
    append(&subject.log(), vec![empty.clone(), large.clone()]).unwrap();
    append(&subject.log(), vec![row(2, 2)]).unwrap();
    let read = subject.log().read(0..3, usize::MAX).unwrap();
    assert!(read == [empty, large, row(2, 2)]);
    assert!(subject.log().bytes() > 1 << 20);
}

fn reads_are_cut_by_bytes_but_give_at_least_one(mut subject: Subject) {
    append(&subject.log(), (0..10).map(|index| row(1, index)).collect()).unwrap();
    assert_eq!(subject.log().read(3..10, 1).unwrap(), [row(1, 3)]);
    assert_eq!(subject.log().read(3..10, 40).unwrap().len(), 3);
    assert_eq!(subject.log().read(8..100, usize::MAX).unwrap().len(), 2);
    assert_eq!(subject.log().read(7..7, usize::MAX).unwrap(), []);
}

fn truncation_drops_what_is_behind(mut subject: Subject) {
    append(&subject.log(), (0..10).map(|index| row(1, index)).collect()).unwrap();
    subject.log().truncate_after(Some(at(1, 6))).unwrap();
    assert_eq!(subject.log().state().last, Some(at(1, 6)));
    assert_eq!(indexes(&subject.log()), [0, 1, 2, 3, 4, 5, 6]);
    subject.log().truncate_after(None).unwrap();
    assert_eq!(subject.log().state().last, None);
    assert_eq!(indexes(&subject.log()), [0; 0]);
}

fn a_truncated_log_takes_other_entries(mut subject: Subject) {
    append(&subject.log(), (0..5).map(|index| row(1, index)).collect()).unwrap();
    subject.log().truncate_after(Some(at(1, 2))).unwrap();
    append(&subject.log(), vec![row(2, 3)]).unwrap();
    assert_eq!(
        subject.log().read(2..9, usize::MAX).unwrap(),
        [row(1, 2), row(2, 3)]
    );
}

fn a_purge_drops_what_is_before(mut subject: Subject) {
    append(&subject.log(), (0..10).map(|index| row(1, index)).collect()).unwrap();
    subject.log().purge(at(1, 6)).unwrap();
    assert_eq!(subject.log().state().purged, Some(at(1, 6)));
    assert_eq!(indexes(&subject.log()), [7, 8, 9]);
    // Again, and further back: nothing changes.
    subject.log().purge(at(1, 3)).unwrap();
    assert_eq!(subject.log().state().purged, Some(at(1, 6)));
    let refused = subject.log().truncate_after(Some(at(1, 5)));
    assert!(matches!(refused, Err(LogError::Refused { .. })));
    append(&subject.log(), vec![row(1, 10)]).unwrap();
    assert_eq!(indexes(&subject.log()), [7, 8, 9, 10]);
}

fn a_purge_may_go_beyond_the_end(mut subject: Subject) {
    append(&subject.log(), (0..3).map(|index| row(1, index)).collect()).unwrap();
    subject.log().purge(at(4, 99)).unwrap();
    let state = subject.log().state();
    assert_eq!(
        (state.purged, state.last),
        (Some(at(4, 99)), Some(at(4, 99)))
    );
    append(&subject.log(), vec![row(4, 100)]).unwrap();
    assert_eq!(indexes(&subject.log()), [100]);
}

fn what_is_committed_never_goes_back(mut subject: Subject) {
    append(&subject.log(), (0..10).map(|index| row(1, index)).collect()).unwrap();
    subject.log().save_committed(None).unwrap();
    for (saved, kept) in [(3, 3), (7, 7), (5, 7)] {
        subject.log().save_committed(Some(at(1, saved))).unwrap();
        assert_eq!(subject.log().state().committed, Some(at(1, kept)));
    }
}
