use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use holdfast_core::{
    Body, Command, Context, LeaseChoice, Put, PutOperation, Refusal, State, VersionId,
};
use holdfast_proto::{
    Key, Revision, Timestamp, Value,
    log::v1::{LogId, SnapshotMeta},
};
use prost::Message as _;

use super::{Recovered, Store, StoreOptions};
use crate::{
    ArchiveError, LogPosition, LogState, OpenError, PastError, PastStatus,
    past::{Past, PastFault, PastRow, sled::SledPast},
    testing::eventually,
};

mod hashes;
mod healing;

/// A store whose commands are numbered from 1, as a log would.
struct Subject {
    store: Store,
    log: Vec<Bytes>,
}

fn put(key: &str, value: impl Into<Value>) -> Bytes {
    let put = PutOperation {
        seal: None,
        replaces_secret: false,
        key: Key::try_from(key).unwrap(),
        value: Some(value.into()),
        lease: LeaseChoice::Unbound,
        previous: false,
    };
    let body = Body::Put(Put {
        put,
        expected: None,
    });
    let (author, note) = (Arc::from("client/test"), Arc::from(""));
    Command {
        request: None,
        author,
        note,
        body,
    }
    .encode()
}

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap().0
}

impl Subject {
    fn open(dir: &Path) -> Self {
        Self {
            store: open(dir),
            log: Vec::new(),
        }
    }

    fn apply(&mut self, command: Bytes) {
        self.log.push(command.clone());
        apply(&self.store, self.log.len() as u64, [command]);
    }

    /// What consensus does after a start: everything behind the archive comes again.
    fn reopen(&mut self, dir: &Path) {
        let (store, recovered) = Store::open(dir, StoreOptions::default()).unwrap();
        self.store = store;
        self.replay(recovered.archive_index);
    }

    fn replay(&self, archive_index: u64) {
        let rest = self.log[archive_index as usize..].iter().cloned();
        apply(&self.store, archive_index + 1, rest);
    }
}

fn apply(store: &Store, from: u64, commands: impl IntoIterator<Item = Bytes>) {
    let batch = commands
        .into_iter()
        .enumerate()
        .map(|(offset, command)| (context(from + offset as u64), command));
    for reply in store.apply(batch) {
        assert_eq!(reply.refusal(), None::<&Refusal>);
    }
}

fn context(index: u64) -> Context {
    let at = Timestamp::from_millis(1_000 * index);
    Context { index, term: 1, at }
}

fn version(key: &str, revision: u64) -> VersionId {
    let key = Key::try_from(key).unwrap();
    VersionId {
        key,
        revision: Revision::new(revision).unwrap(),
    }
}

fn archive(store: &Store) {
    eventually(|| store.past_status() == PastStatus::Ready);
    store
        .prepare_archive(Bytes::from_static(b"meta"))
        .write()
        .unwrap();
}

/// The text that the store has for a version, once the past is back.
fn text(store: &Store, id: &VersionId) -> Result<String, PastError> {
    eventually(|| !matches!(store.past_status(), PastStatus::Rebuilding { .. }));
    match store.value(id)? {
        Value::Text(text) => Ok(text),
        other => panic!("{other:?}"),
    }
}

/// 30 versions of one key, of which 20 are kept: some in the archive, some behind it.
fn aged(dir: &Path) -> Subject {
    let mut subject = Subject::open(dir);
    for number in 1..=20 {
        subject.apply(put("key", format!("value {number}")));
    }
    archive(&subject.store);
    for number in 21..=25 {
        subject.apply(put("key", format!("value {number}")));
    }
    subject
}

/// No version has a wrong value, and every one that the state knows of can be read.
fn check_past(store: &Store, newest: u64) {
    let known = store.read(|state| state.history(b"key"));
    assert!(known.len() >= 20);
    for meta in known {
        let number = meta.revision.get();
        assert_eq!(
            text(store, &version("key", number)),
            Ok(format!("value {number}"))
        );
    }
    assert_eq!(
        text(store, &version("key", newest + 1)),
        Err(PastError::Missing)
    );
}

fn rows_folder(dir: &Path) -> PathBuf {
    let mut folders: Vec<_> = fs::read_dir(dir.join("past"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("rows-")
        })
        .collect();
    folders.sort();
    folders.pop().unwrap()
}

fn newest_archive(dir: &Path) -> PathBuf {
    open(dir).newest_archive().unwrap().path
}

#[test]
fn an_archive_and_the_log_behind_it_give_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = aged(dir.path());
    let hash = subject.store.view().hash();
    subject.store.close();
    let (_, recovered) = Store::open(dir.path(), StoreOptions::default()).unwrap();
    assert_eq!(recovered.meta.as_deref(), Some(&b"meta"[..]));
    assert_eq!(recovered.archive_index, 20);
    subject.reopen(dir.path());
    assert_eq!(subject.store.view().hash(), hash);
    assert_eq!(subject.store.applied(), 25);
    assert_eq!(subject.store.hash_at(25), Some(hash));
    check_past(&subject.store, 25);
}

#[test]
fn an_archive_sent_to_another_node_brings_everything() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let subject = aged(from.path());
    let mut other = Subject::open(to.path());
    other.apply(put("something", "else"));
    let file = subject.store.newest_archive().unwrap();
    let mut incoming = other.store.incoming().unwrap();
    for chunk in fs::read(&file.path).unwrap().chunks(100) {
        incoming.write(chunk).unwrap();
    }
    let revisions = other.store.revisions();
    assert_eq!(&other.store.install(incoming).unwrap()[..], b"meta");
    assert_eq!(*revisions.borrow(), 20);
    other.log = subject.log.clone();
    other.replay(20);
    assert_eq!(other.store.view().hash(), subject.store.view().hash());
    check_past(&other.store, 25);
    other.store.close();
    other.reopen(to.path());
    check_past(&other.store, 25);
}

#[test]
fn a_received_archive_of_which_any_byte_is_wrong_changes_nothing() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = fs::read(aged(from.path()).store.newest_archive().unwrap().path).unwrap();
    let other = open(to.path());
    let mut wrong: Vec<Vec<u8>> = Vec::new();
    for offset in (0..bytes.len()).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[offset] ^= 4;
        wrong.push(flipped);
        wrong.push(bytes[..offset].to_vec());
    }
    for wrong in wrong {
        let mut incoming = other.incoming().unwrap();
        incoming.write(&wrong).unwrap();
        let error = other.install(incoming).unwrap_err();
        let expected = matches!(
            error,
            ArchiveError::Damaged { .. } | ArchiveError::Newer { .. }
        );
        assert!(expected, "{error}");
        assert_eq!(other.view().revision(), 0);
    }
    assert_eq!(other.newest_archive(), None);
    let left = fs::read_dir(to.path().join("archive")).unwrap().count();
    assert_eq!(left, 1, "nothing but the marker stays");
}

#[test]
fn a_damaged_archive_is_refused_by_name_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path()).store.close();
    let path = newest_archive(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = Store::open(dir.path(), StoreOptions::default())
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let told = error.to_string();
    assert!(
        told.contains(path.to_str().unwrap()) && told.contains("join it anew"),
        "{told}"
    );
}

#[test]
fn a_newer_archive_is_refused_by_name_and_a_half_written_one_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path()).store.close();
    let path = newest_archive(dir.path());
    let half = dir.path().join("archive/archive-7.new");
    fs::write(&half, "HOLDARCH").unwrap();
    drop(open(dir.path()));
    assert!(!half.exists());
    let mut bytes = fs::read(&path).unwrap();
    bytes[11] = 9;
    fs::write(&path, &bytes).unwrap();
    let error = Store::open(dir.path(), StoreOptions::default())
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 9, .. }),
        "{error}"
    );
}

#[test]
fn a_killed_process_loses_nothing_of_the_past() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = aged(dir.path());
    subject.store = open(tempfile::tempdir().unwrap().path());
    subject.reopen(dir.path());
    check_past(&subject.store, 25);
}

/// Does something bad to a past that was closed well, and sees it come back.
fn comes_back_after(harm: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = aged(dir.path());
    subject.store.close();
    subject.store = open(tempfile::tempdir().unwrap().path());
    harm(dir.path());
    subject.reopen(dir.path());
    check_past(&subject.store, 25);
    // And it is well from now on.
    subject.store.close();
    subject.reopen(dir.path());
    check_past(&subject.store, 25);
}

#[test]
fn a_past_that_was_deleted_comes_back() {
    comes_back_after(|dir| fs::remove_dir_all(dir.join("past")).unwrap());
    comes_back_after(|dir| fs::remove_dir_all(rows_folder(dir)).unwrap());
    comes_back_after(|dir| fs::remove_file(dir.join("past/CONDITION")).unwrap());
}

#[test]
fn a_past_that_was_truncated_comes_back() {
    for keep in [0, 10, 4096, 100_000] {
        comes_back_after(|dir| {
            let path = rows_folder(dir).join("db");
            let length = fs::metadata(&path).unwrap().len();
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(length.min(keep)).unwrap();
        });
    }
}

#[test]
fn a_past_with_flipped_bits_comes_back() {
    for every in [64, 997, 4096] {
        comes_back_after(|dir| {
            let path = rows_folder(dir).join("db");
            let mut bytes = fs::read(&path).unwrap();
            for offset in (0..bytes.len()).step_by(every) {
                bytes[offset] ^= 0x10;
            }
            fs::write(&path, bytes).unwrap();
        });
    }
}

#[test]
fn a_past_that_holds_other_values_comes_back() {
    comes_back_after(|dir| {
        let mut past = SledPast::open(&rows_folder(dir)).unwrap();
        let value = Value::from("wrong");
        let digest = holdfast_core::Digest::of(&value);
        let rows: Vec<_> = (6..20)
            .map(|revision| PastRow {
                id: version("key", revision),
                value: value.clone(),
                digest,
            })
            .map(Arc::new)
            .collect();
        past.keep(&rows).unwrap();
        past.flush().unwrap();
    });
}

#[test]
fn an_older_copy_of_the_past_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = aged(dir.path());
    subject.store.close();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&dir.path().join("past"), copy.path());
    subject.reopen(dir.path());
    for number in 26..=40 {
        subject.apply(put("key", format!("value {number}")));
    }
    archive(&subject.store);
    subject.store.close();
    fs::remove_dir_all(dir.path().join("past")).unwrap();
    copy_folder(copy.path(), &dir.path().join("past"));
    subject.reopen(dir.path());
    check_past(&subject.store, 40);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_past_that_panics_when_opened_is_kept_in_memory_instead() {
    let dir = tempfile::tempdir().unwrap();
    let subject = aged(dir.path());
    subject.store.close();
    let options = StoreOptions {
        open_past: Arc::new(|_: &Path| -> Result<Box<dyn Past>, PastFault> { panic!("damaged") }),
    };
    let (store, recovered) = Store::open(dir.path(), options).unwrap();
    let rest = subject.log[recovered.archive_index as usize..]
        .iter()
        .cloned();
    apply(&store, recovered.archive_index + 1, rest);
    check_past(&store, 25);
}

#[test]
fn values_that_leave_memory_are_readable_all_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = Subject::open(dir.path());
    let large = |number: u64| format!("{number}").repeat(900_000);
    for number in 1..=9 {
        subject.apply(put(&format!("key/{number}"), large(number)));
    }
    for number in 1..=9 {
        subject.apply(put(&format!("key/{number}"), "small"));
    }
    // Push what is left out of the window of recent changes.
    for number in 0..20 {
        subject.apply(put("push", large(number % 10)));
        for number in 1..=9 {
            let read = text(&subject.store, &version(&format!("key/{number}"), number));
            assert!(read == Ok(large(number)));
        }
    }
    assert_eq!(subject.store.past_status(), PastStatus::Ready);
}

#[test]
fn an_archive_that_was_not_received_whole_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = aged(dir.path());
    let before = subject.store.newest_archive().unwrap();
    subject.apply(put("key", "more"));
    let mut incoming = subject.store.incoming().unwrap();
    incoming.temporary.write_all(b"half").unwrap();
    drop(incoming);
    assert_eq!(subject.store.newest_archive(), Some(before.clone()));
    assert!(before.path.exists());
}

#[test]
fn an_unreadable_command_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let context = Context {
        index: 1,
        term: 1,
        at: Timestamp::from_millis(1),
    };
    let replies = store.apply([(context, Bytes::from_static(b"\xff\xff"))].into_iter());
    assert!(replies[0].refusal().is_some());
    assert_eq!(store.view().hash(), State::new().hash());
    assert_eq!(store.applied(), 1);
}

#[test]
fn a_log_that_begins_behind_every_archive_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let last_applied = Some(LogId {
        term: 1,
        node: 1,
        index: 42,
    });
    let meta = SnapshotMeta {
        last_applied,
        ..SnapshotMeta::default()
    };
    let some = Recovered {
        meta: Some(meta.encode_to_vec().into()),
        archive_index: 40,
    };
    let log = |index| LogState {
        purged: Some(LogPosition {
            term: 1,
            node: 1,
            index,
        }),
        ..LogState::default()
    };
    some.check(dir.path(), &log(42)).unwrap();
    Recovered::default()
        .check(dir.path(), &LogState::default())
        .unwrap();
    for (recovered, purged) in [(some, 43), (Recovered::default(), 0)] {
        let error = recovered.check(dir.path(), &log(purged)).unwrap_err();
        let told = error.to_string();
        assert!(told.contains(dir.path().to_str().unwrap()), "{told}");
        assert!(told.contains("join it anew"), "{told}");
    }
}
