//! What every engine of the past must do.

use std::sync::Arc;

use holdfast_core::{Digest, VersionId};
use holdfast_proto::{Key, Revision, Value};

use super::{Past, PastFault, PastRow, memory::MemoryPast, sled::SledPast};
use crate::faulty::{Fault, FaultyPast};

/// Opens the engine under test; again, where it lasts: the same rows.
type Open<'a> = &'a dyn Fn() -> Box<dyn Past>;

fn row(key: &str, revision: u64, value: impl Into<Value>) -> Arc<PastRow> {
    let value = value.into();
    let digest = Digest::of(&value);
    Arc::new(PastRow {
        id: id(key, revision),
        value,
        digest,
    })
}

fn id(key: &str, revision: u64) -> VersionId {
    let key = Key::try_from(key).unwrap();
    VersionId {
        key,
        revision: Revision::new(revision).unwrap(),
    }
}

fn read(past: &dyn Past, id: &VersionId) -> Option<Arc<PastRow>> {
    past.reader().row(id).unwrap().map(Arc::new)
}

fn run(open: Open<'_>) {
    a_row_that_was_never_kept_is_not_there(open());
    rows_come_back_as_they_were_given(open());
    keeping_again_changes_nothing(open());
    what_is_forgotten_is_gone_and_nothing_else(open());
    a_row_at_one_revision_is_not_another_keys(open());
}

fn a_row_that_was_never_kept_is_not_there(mut past: Box<dyn Past>) {
    past.keep(&[row("never/a", 2, "x")]).unwrap();
    assert_eq!(read(&*past, &id("never/a", 1)), None);
    assert_eq!(read(&*past, &id("never/b", 2)), None);
}

fn rows_come_back_as_they_were_given(mut past: Box<dyn Past>) {
    let rows = [
        row("back/empty", 1, ""),
        row("back/small", 2, 7),
        row("back/chunk", 3, "x".repeat(32 * 1024)),
        row("back/large", 4, "y".repeat(1024 * 1024)),
        row(&"k".repeat(1024), 5, true),
    ];
    past.keep(&rows).unwrap();
    past.flush().unwrap();
    for row in rows {
        assert!(read(&*past, &row.id) == Some(row));
    }
}

fn keeping_again_changes_nothing(mut past: Box<dyn Past>) {
    let row = row("again", 1, "x".repeat(100_000));
    past.keep(std::slice::from_ref(&row)).unwrap();
    past.keep(&[row.clone(), row.clone()]).unwrap();
    assert!(read(&*past, &row.id) == Some(row));
}

fn what_is_forgotten_is_gone_and_nothing_else(mut past: Box<dyn Past>) {
    let rows = [
        row("gone", 1, "x".repeat(100_000)),
        row("gone", 2, "y"),
        row("stays", 1, "z"),
    ];
    past.keep(&rows).unwrap();
    past.forget(&[id("gone", 1), id("nobody", 9)]).unwrap();
    assert_eq!(read(&*past, &rows[0].id), None);
    assert!(read(&*past, &rows[1].id).is_some());
    assert!(read(&*past, &rows[2].id).is_some());
}

fn a_row_at_one_revision_is_not_another_keys(mut past: Box<dyn Past>) {
    let rows: Vec<_> = (0..512).map(|n| row(&format!("many/{n}"), 7, n)).collect();
    past.keep(&rows).unwrap();
    for row in &rows {
        assert_eq!(read(&*past, &row.id).as_ref(), Some(row));
    }
}

#[test]
fn the_suite_holds_in_memory() {
    run(&|| Box::new(MemoryPast::default()));
}

#[test]
fn the_suite_holds_for_the_faulty_past_while_it_is_well() {
    run(&|| Box::new(FaultyPast::default()));
}

#[test]
fn the_suite_holds_for_sled_also_when_it_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    run(&|| Box::new(SledPast::open(dir.path()).unwrap()));
}

#[test]
fn sled_keeps_rows_across_a_restart_and_drops_half_made_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let kept = row("kept", 1, "x".repeat(50_000));
    let mut past = SledPast::open(dir.path()).unwrap();
    past.keep(std::slice::from_ref(&kept)).unwrap();
    past.flush().unwrap();
    drop(past);
    let half = dir.path().join("snap.0000000000000000.generating");
    std::fs::write(&half, "half").unwrap();
    let past = SledPast::open(dir.path()).unwrap();
    assert!(!half.exists());
    assert!(read(&past, &kept.id) == Some(kept));
}

#[test]
fn a_fault_is_told_and_not_hidden() {
    let mut past = FaultyPast::default();
    past.keep(&[row("a", 1, "x")]).unwrap();
    past.switch.set(Fault::Writes);
    assert!(past.keep(&[row("b", 1, "x")]).is_err() && past.flush().is_err());
    assert!(past.forget(&[id("a", 1)]).is_err());
    past.switch.set(Fault::Reads);
    assert_eq!(
        past.reader().row(&id("a", 1)),
        Err(PastFault("input/output error".to_owned()))
    );
    past.switch.set(Fault::None);
    assert!(read(&past, &id("a", 1)).is_some());
}

#[test]
fn a_row_of_which_any_bit_is_flipped_is_no_row() {
    let row = row("key", 3, "some value");
    let bytes = row.encode();
    assert_eq!(PastRow::decode(bytes.clone().into()).as_ref(), Some(&*row));
    for offset in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[offset] ^= 1;
        let read = PastRow::decode(flipped.into());
        // The place may be another one, which the reader notices; the value never is.
        assert!(read.is_none_or(|read| read.value == row.value && read.id != row.id));
    }
}
