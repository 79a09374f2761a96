//! A past that fails while it is used comes back while the store runs.

use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::faulty::{Fault, FaultyPast, Switch};

/// Switches of all engines that a store opened, the newest last.
#[derive(Clone, Default)]
struct Engines(Arc<Mutex<Vec<Switch>>>);

impl Engines {
    /// A store whose engines can be made to fail, and its log to put them back from.
    fn open(&self, dir: &Path) -> Subject {
        let engines = self.clone();
        let open_past = move |_: &Path| -> Result<Box<dyn Past>, PastFault> {
            let engine = FaultyPast::default();
            engines.0.lock().push(engine.switch.clone());
            Ok(Box::new(engine))
        };
        let options = StoreOptions {
            open_past: Arc::new(open_past),
        };
        let (store, _) = Store::open(dir, options).unwrap();
        let log = Vec::new();
        Subject { store, log }
    }

    fn fail(&self, fault: Fault) {
        self.0.lock().last().unwrap().set(fault);
    }

    fn opened(&self) -> usize {
        self.0.lock().len()
    }
}

/// The log as consensus would give it, up to what was applied when it was named.
fn name_log(subject: &Subject) {
    let log = subject.log.clone();
    subject.store.replay_from(Box::new(move |range| {
        let commands: Vec<_> = range
            .map(|index| Ok((context(index), log[index as usize - 1].clone())))
            .collect();
        Box::new(commands.into_iter())
    }));
}

fn is_ready(store: &Store) -> bool {
    store.past_status() == PastStatus::Ready
}

/// What leaves memory now reaches the engine soon.
fn push_out(subject: &mut Subject, from: u64, to: u64) {
    for number in from..=to {
        subject.apply(put("key", format!("value {number}")));
    }
    name_log(subject);
}

#[test]
fn a_past_that_cannot_be_written_comes_back_and_archives_go_on() {
    let (dir, engines) = (tempfile::tempdir().unwrap(), Engines::default());
    let mut subject = engines.open(dir.path());
    push_out(&mut subject, 1, 20);
    archive(&subject.store);
    push_out(&mut subject, 21, 25);
    engines.fail(Fault::Writes);
    // An archive gives the engine what is only in memory, and wants it flushed.
    let written = subject.store.prepare_archive(Bytes::new()).write();
    assert!(matches!(written, Err(ArchiveError::PastNotReady)));
    eventually(|| engines.opened() == 2 && is_ready(&subject.store));
    check_past(&subject.store, 25);

    push_out(&mut subject, 26, 30);
    archive(&subject.store);
    assert_eq!(subject.store.newest_archive().unwrap().index, 30);
    check_past(&subject.store, 30);
    subject.store.close();
    subject.reopen(dir.path());
    check_past(&subject.store, 30);
}

#[test]
fn a_past_that_cannot_be_read_comes_back() {
    let (dir, engines) = (tempfile::tempdir().unwrap(), Engines::default());
    let mut subject = engines.open(dir.path());
    push_out(&mut subject, 1, 20);
    archive(&subject.store);
    engines.fail(Fault::Reads);
    let large = "x".repeat(900_000);
    // The window of recent changes is full, so the oldest values are in the past alone.
    for _ in 0..25 {
        subject.apply(put("push", large.clone()));
    }
    name_log(&subject);
    subject.store.0.keeper.flush().unwrap();
    let read = subject.store.value(&version("key", 15));
    assert_eq!(read, Err(PastError::Damaged));
    eventually(|| engines.opened() == 2 && is_ready(&subject.store));
    check_past(&subject.store, 45);
}

#[test]
fn while_it_cannot_be_put_back_reads_say_so_and_nothing_is_lost() {
    let (dir, engines) = (tempfile::tempdir().unwrap(), Engines::default());
    let mut subject = engines.open(dir.path());
    push_out(&mut subject, 1, 20);
    archive(&subject.store);
    // Behind the archive there is no log: what is there now cannot be had.
    subject.store.replay_from(Box::new(|_| {
        Box::new(std::iter::once(Err("the log is away".to_owned())))
    }));
    for number in 21..=25 {
        subject.apply(put("key", format!("value {number}")));
    }
    engines.fail(Fault::Writes);
    let written = subject.store.prepare_archive(Bytes::new()).write();
    assert!(written.is_err());
    eventually(|| engines.opened() >= 2 && !is_ready(&subject.store));
    let told = subject.store.past_status().to_string();
    assert!(
        told.contains("the log is away") || told.contains("rebuilding"),
        "{told}"
    );
    let refused = subject.store.prepare_archive(Bytes::new()).write();
    assert!(matches!(refused, Err(ArchiveError::PastNotReady)));
    name_log(&subject);
    eventually(|| is_ready(&subject.store));
    check_past(&subject.store, 25);
    archive(&subject.store);
}

#[test]
fn values_that_leave_memory_while_it_is_put_back_are_kept() {
    let (dir, engines) = (tempfile::tempdir().unwrap(), Engines::default());
    let mut subject = engines.open(dir.path());
    push_out(&mut subject, 1, 25);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (asked, was_asked) = std::sync::mpsc::channel();
    let (log, wait) = (subject.log.clone(), Mutex::new(wait));
    subject.store.replay_from(Box::new(move |range| {
        asked.send(range.clone()).unwrap();
        wait.lock().recv().unwrap();
        let log = log.clone();
        Box::new(range.map(move |index| Ok((context(index), log[index as usize - 1].clone()))))
    }));
    engines.fail(Fault::Writes);
    let written = subject.store.prepare_archive(Bytes::new()).write();
    assert!(written.is_err());
    let range = was_asked.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(range, 1..26);
    let large = "x".repeat(900_000);
    for number in 26..=45 {
        subject.apply(put("key", format!("value {number}")));
        subject.apply(put("push", large.clone()));
    }
    go.send(()).unwrap();
    eventually(|| is_ready(&subject.store));
    for meta in subject.store.read(|state| state.history(b"key")) {
        subject
            .store
            .value(&version("key", meta.revision.get()))
            .unwrap();
    }
    archive(&subject.store);
}
