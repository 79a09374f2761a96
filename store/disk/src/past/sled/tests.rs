use bytes::{BufMut as _, BytesMut};
use holdfast_core::Digest;
use holdfast_proto::{Key, Revision, Value};

use super::*;

fn row(number: u64) -> PastRow {
    let value = Value::from("x".repeat(300));
    PastRow {
        id: VersionId {
            key: Key::try_from(format!("key/{number}").as_str()).unwrap(),
            revision: Revision::new(number + 1).unwrap(),
        },
        digest: Digest::of(&value),
        value,
    }
}

fn rows(numbers: std::ops::Range<u64>) -> Vec<Arc<PastRow>> {
    numbers.map(row).map(Arc::new).collect()
}

fn ids(numbers: impl Iterator<Item = u64>) -> Vec<VersionId> {
    numbers.map(|number| row(number).id).collect()
}

fn is_kept(past: &SledPast, number: u64) -> bool {
    let kept = past.shared.row(&row(number).id).unwrap();
    assert!(kept.as_ref().is_none_or(|kept| *kept == row(number)));
    kept.is_some()
}

fn blocks(past: &SledPast) -> usize {
    past.shared.tree.scan_prefix([LIST]).count()
}

#[test]
fn many_rows_share_a_block_and_each_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut past = SledPast::open(dir.path()).unwrap();
    past.keep(&rows(0..1_000)).unwrap();
    assert!(blocks(&past) < 60, "{}", blocks(&past));
    assert!((0..1_000).all(|number| is_kept(&past, number)));
}

#[test]
fn a_block_of_which_little_is_wanted_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    let mut past = SledPast::open(dir.path()).unwrap();
    past.keep(&rows(0..1_000)).unwrap();
    let before = blocks(&past);
    past.forget(&ids((0..1_000).filter(|number| number % 10 != 0)))
        .unwrap();
    assert!(blocks(&past) * 5 < before, "{} of {before}", blocks(&past));
    for number in 0..1_000 {
        assert_eq!(is_kept(&past, number), number % 10 == 0, "{number}");
    }
    past.forget(&ids(0..1_000)).unwrap();
    assert_eq!(past.shared.tree.len(), 0);
}

#[test]
fn a_block_that_is_not_as_it_was_written_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut past = SledPast::open(dir.path()).unwrap();
    past.keep(&rows(0..10)).unwrap();
    let (part, bytes) = past
        .shared
        .tree
        .scan_prefix([PART])
        .next()
        .unwrap()
        .unwrap();
    let mut damaged = bytes.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    past.shared.tree.insert(part, damaged).unwrap();
    // Its last row is damaged, and none of it is taken.
    assert!(past.shared.row(&row(0).id).is_err());
    drop(past);
    // Of a block that was written before a start, each row is checked by itself.
    let past = SledPast::open(dir.path()).unwrap();
    assert!(is_kept(&past, 0));
    assert!(!past.shared.after(&row(0).id).are_checked);
    assert!(past.shared.row(&row(9).id).is_err());
}

#[test]
fn neighbours_are_read_from_a_block_that_is_at_hand_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut past = SledPast::open(dir.path()).unwrap();
    past.keep(&rows(0..100)).unwrap();
    assert!(is_kept(&past, 0));
    let parts: Vec<_> = past.shared.tree.scan_prefix([PART]).keys().collect();
    for part in parts {
        past.shared.tree.remove(part.unwrap()).unwrap();
    }
    assert!(is_kept(&past, 1), "sled has it no more");
    past.forget(&ids(0..100)).unwrap();
    past.keep(&rows(100..200)).unwrap();
    for number in 0..200 {
        assert_eq!(is_kept(&past, number), number >= 100, "{number}");
    }
}

#[test]
fn what_was_forgotten_before_a_flush_stays_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut past = SledPast::open(dir.path()).unwrap();
    past.keep(&rows(0..40)).unwrap();
    past.forget(&ids(0..5)).unwrap();
    past.flush().unwrap();
    drop(past);
    let past = SledPast::open(dir.path()).unwrap();
    for number in 0..40 {
        assert_eq!(is_kept(&past, number), number >= 5, "{number}");
    }
}

#[test]
fn a_folder_that_is_still_held_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    drop(SledPast::open(dir.path()).unwrap());
    let held = std::fs::File::open(dir.path().join("db")).unwrap();
    held.lock().unwrap();
    let (opened, opens) = std::sync::mpsc::channel();
    let path = dir.path().to_owned();
    let opener = std::thread::spawn(move || opened.send(SledPast::open(&path).map(drop)));
    let early = opens.recv_timeout(std::time::Duration::from_millis(200));
    assert!(early.is_err(), "it does not wait: {early:?}");
    drop(held);
    opens.recv().unwrap().unwrap();
    opener.join().unwrap().unwrap();
}

#[test]
fn a_crash_between_packing_and_dropping_leaves_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut past = SledPast::open(dir.path()).unwrap();
    past.keep(&rows(0..10)).unwrap();
    let again = rows(0..10);
    let again = again.iter();
    past.append(again.map(|row| (Fingerprint::of(&row.id), Row::New(row))))
        .unwrap();
    past.flush().unwrap();
    assert_eq!(blocks(&past), 2);
    drop(past);
    let past = SledPast::open(dir.path()).unwrap();
    assert_eq!(blocks(&past), 1);
    assert!((0..10).all(|number| is_kept(&past, number)));
}

#[test]
fn a_damaged_block_is_told_and_gives_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let mut past = SledPast::open(dir.path()).unwrap();
    past.keep(&rows(0..10)).unwrap();
    let key = part_key(0, 0);
    let whole = past.shared.tree.get(key).unwrap().unwrap();
    for cut in [1, 5, whole.len() / 2, whole.len() - 1] {
        past.shared.tree.insert(key, &whole[..cut]).unwrap();
        past.shared.at_hand.lock().clear();
        // Cut between two rows, the last one is merely missing.
        let found = past.shared.row(&row(9).id);
        assert!(matches!(found, Err(_) | Ok(None)), "cut at {cut}");
    }
    past.shared.tree.remove(key).unwrap();
    past.shared.at_hand.lock().clear();
    assert!(past.shared.row(&row(9).id).is_err());
}

#[test]
fn rows_that_are_not_in_blocks_are_not_taken_for_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let past = SledPast::open(dir.path()).unwrap();
    let mut key = BytesMut::new();
    key.put_u64(7);
    key.put_bytes(9, 18);
    past.shared.tree.insert(&key[..], "a row").unwrap();
    past.shared.tree.flush().unwrap();
    drop(past);
    assert!(SledPast::open(dir.path()).is_err());
}
