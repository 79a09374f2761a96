//! Chains as they are written, and as somebody may find them.

use std::sync::LazyLock;

use holdfast_proto::v1::{AuditRecord, AuditReport};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::audit::{
    format::{Frame, HEADER_BYTES, frame},
    verify::Checker,
};

const NOW: u64 = 1_700_000_000_000;

struct Log {
    home: TempDir,
    retention: Retention,
}

impl Log {
    /// Two records a segment.
    fn small() -> Self {
        Self::with(Retention {
            segment_bytes: 200,
            segments: 100,
        })
    }

    fn with(retention: Retention) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            retention,
        }
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("audit")
    }

    fn open(&self) -> Journal {
        let mut journal = Journal::new(self.folder(), NodeId(7), self.retention);
        journal.open(NOW).unwrap();
        journal
    }

    /// A log with records 1 to `count`, and the chain's hash after each.
    fn filled(&self, count: u64) -> Vec<(u64, Hash)> {
        let mut journal = self.open();
        (1..=count)
            .map(|_| {
                journal.append(vec![entry()], NOW).unwrap();
                (journal.head().sequence, journal.head().hash)
            })
            .collect()
    }

    fn segments(&self) -> Vec<(u64, PathBuf)> {
        segment::list(&self.folder()).unwrap()
    }

    fn check(&self, anchors: &[(u64, Hash)], head: (u64, Hash)) -> AuditReport {
        let mut checker = Checker::new(anchors.iter().copied());
        for (first, path) in self.segments() {
            checker.segment(first, &fs::read(path).unwrap(), None);
        }
        checker.finish(head)
    }

    fn records(&self) -> Vec<AuditRecord> {
        let segments = self.segments().into_iter();
        segments
            .flat_map(|(first, path)| segment::read(first, &fs::read(path).unwrap()).records)
            .map(|(record, _)| record)
            .collect()
    }
}

fn entry() -> Entry {
    Entry::by("client/admin", "holdfast.v1.Secrets/Reveal")
        .target("db/password")
        .revision(12)
        .allowed("role ops: reveal db/")
        .reason("ticket 4711")
        .from("127.0.0.1:5000")
}

fn kinds(report: &AuditReport) -> Vec<(Kind, u64)> {
    let damages = report.damages.iter();
    damages
        .map(|damage| (damage.kind(), damage.sequence))
        .collect()
}

#[test]
fn a_whole_log_matches_its_anchors_through_restarts() {
    let log = Log::small();
    let mut hashes = log.filled(5);
    let mut journal = log.open();
    assert_eq!(journal.head().sequence, 5);
    journal.append(vec![entry(), entry()], NOW).unwrap();
    hashes.push((7, journal.head().hash));
    assert!(log.segments().len() > 2, "several files");
    let head = *hashes.last().unwrap();
    let report = log.check(&hashes, head);
    assert_eq!(kinds(&report), []);
    assert_eq!(
        (report.first, report.last, report.records, report.anchors),
        (1, 7, 7, 6)
    );
    let record = &log.records()[0];
    assert_eq!((record.sequence, record.at_ms), (1, NOW));
    assert_eq!(&record.target[..], b"db/password");
}

#[test]
fn an_unfinished_record_is_cut_off_and_a_record_says_so() {
    let log = Log::with(Retention::default());
    let hashes = log.filled(3);
    let (_, path) = log.segments().pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let mut unfinished = Vec::new();
    encode_record(&entry().into_record(4, NOW), &hashes[2].1, &mut unfinished);
    // Where a write ends is for chance to say; a file may also have grown before its content.
    for torn in [
        unfinished[..3].to_vec(),
        unfinished[..unfinished.len() - 1].to_vec(),
        vec![0; 50],
    ] {
        fs::write(&path, [whole.clone(), torn.clone()].concat()).unwrap();
        let mut journal = log.open();
        journal.append(vec![entry()], NOW).unwrap();
        let head = (journal.head().sequence, journal.head().hash);
        assert_eq!(kinds(&log.check(&hashes, head)), []);
        let records = log.records();
        assert_eq!((records.len(), head.0), (5, 5));
        assert_eq!(records[3].act, CUT);
        assert!(
            records[3]
                .reason
                .starts_with(&format!("{} bytes", torn.len())),
            "{}",
            records[3].reason
        );
    }
}

#[test]
fn a_segment_that_was_just_begun_counts_for_nothing() {
    let log = Log::small();
    log.filled(2);
    for begun in [Vec::new(), vec![0; 10]] {
        let path = log.folder().join(segment::name_of(3));
        fs::write(path, begun).unwrap();
        assert_eq!(log.open().head().sequence, 2);
    }
    log.filled(2);
    assert_eq!(log.records().len(), 4);
}

#[test]
fn damage_stays_for_whoever_looks_and_the_chain_goes_on_behind_it() {
    let log = Log::with(Retention::default());
    let hashes = log.filled(4);
    let (first, path) = log.segments().pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let place = find(&bytes, b"ticket", 1);
    bytes[place] = b'T';
    fs::write(&path, &bytes).unwrap();
    let mut journal = log.open();
    journal.append(vec![entry()], NOW).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes, "kept as it was found");
    assert_eq!(journal.head().sequence, 6);
    let records = log.records();
    let said = records.iter().find(|record| record.act == DAMAGED).unwrap();
    assert!(
        said.reason.contains(&segment::name_of(first)) && said.reason.contains("record 2"),
        "{}",
        said.reason
    );
    let report = log.check(&hashes, (6, journal.head().hash));
    assert_eq!(kinds(&report), [(Kind::Edited, 2)]);
    assert_eq!(report.damages[0].segment, segment::name_of(first));
}

#[test]
fn a_log_that_lost_records_goes_on_above_them() {
    let log = Log::with(Retention::default());
    let hashes = log.filled(4);
    fs::remove_dir_all(log.folder()).unwrap();
    let mut journal = log.open();
    journal.go_on_after(4, hashes[3].1, NOW).unwrap();
    journal.go_on_after(4, hashes[3].1, NOW).unwrap();
    assert_eq!(journal.head().sequence, 5, "once");
    assert_eq!(log.records()[0].act, LOST);
    let report = log.check(&hashes, (5, journal.head().hash));
    assert_eq!(kinds(&report), [(Kind::Missing, 5)], "that stays known");
    assert_eq!(report.first, 5);
}

#[test]
fn what_is_taken_away_while_it_is_written_is_noticed_at_the_next_record() {
    for cut in [None, Some(150)] {
        let log = Log::with(Retention::default());
        let mut journal = log.open();
        for _ in 0..3 {
            journal.append(vec![entry()], NOW).unwrap();
        }
        let (_, path) = log.segments().pop().unwrap();
        match cut {
            None => fs::remove_file(path).unwrap(),
            Some(length) => drop(
                fs::OpenOptions::new()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_len(length),
            ),
        }
        journal.append(vec![entry()], NOW).unwrap();
        let acts: Vec<String> = log.records().into_iter().map(|record| record.act).collect();
        assert!(acts.contains(&LOST.to_owned()), "{acts:?}");
        let last = log.records().pop().unwrap();
        assert!(last.sequence > 4, "no sequence is used twice");
        assert_eq!(last.reason, "ticket 4711");
    }
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let log = Log::small();
    log.filled(1);
    let (_, path) = log.segments().pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    fs::write(&path, &bytes).unwrap();
    let mut journal = Journal::new(log.folder(), NodeId(7), log.retention);
    let refused = journal.append(vec![entry()], NOW).unwrap_err().to_string();
    assert!(refused.contains("newer version"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was touched");
    let report = log.check(&[], (1, Hash::default()));
    assert_eq!(report.damages[0].kind(), Kind::Newer);
    assert!(report.damages[0].message.contains("version 9"));
}

#[test]
fn old_segments_go_and_what_is_left_says_from_where_it_is_whole() {
    let log = Log::with(Retention {
        segment_bytes: 200,
        segments: 3,
    });
    let hashes = log.filled(20);
    let head = *hashes.last().unwrap();
    assert_eq!(log.segments().len(), 3);
    let report = log.check(&hashes, head);
    assert_eq!(kinds(&report), []);
    assert!(report.first > 1);
    // One more than was to go.
    fs::remove_file(&log.segments()[0].1).unwrap();
    let report = log.check(&hashes, head);
    assert_eq!(kinds(&report), [(Kind::Missing, promised_first(&log))]);
}

/// Where the log is to begin, as its newest segment says.
fn promised_first(log: &Log) -> u64 {
    let (first, path) = log.segments().pop().unwrap();
    let content = segment::read(first, &fs::read(path).unwrap());
    content.header.unwrap().oldest
}

#[test]
fn what_was_cut_off_removed_exchanged_or_made_anew_is_named_with_its_place() {
    let log = Log::small();
    let hashes = log.filled(9);
    let head = *hashes.last().unwrap();
    let segments = log.segments();
    let keep: Vec<(PathBuf, Vec<u8>)> = segments
        .iter()
        .map(|(_, path)| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let restore = || {
        for (path, bytes) in &keep {
            fs::write(path, bytes).unwrap();
        }
    };
    // The newest file gone: only an anchor, or the node itself, can tell.
    let (last, path) = segments.last().unwrap();
    fs::remove_file(path).unwrap();
    let found = kinds(&log.check(&hashes, head));
    assert_eq!(found, [(Kind::Truncated, *last)]);
    let blind = log.check(&[], (*last - 1, hashes[*last as usize - 2].1));
    assert_eq!(kinds(&blind), [], "nothing else knows of it");
    restore();
    // A file in the middle.
    fs::remove_file(&segments[1].1).unwrap();
    assert_eq!(
        kinds(&log.check(&hashes, head)),
        [(Kind::Missing, segments[1].0)]
    );
    restore();
    // Two files exchanged.
    fs::write(&segments[1].1, &keep[2].1).unwrap();
    fs::write(&segments[2].1, &keep[1].1).unwrap();
    let found = kinds(&log.check(&hashes, head));
    assert!(found.contains(&(Kind::Edited, segments[1].0)), "{found:?}");
    restore();
    // All of it made anew, sound in itself: only the anchors know.
    fs::remove_dir_all(log.folder()).unwrap();
    let mut forged = log.open();
    for _ in 0..9 {
        forged.append(vec![entry().reason("lunch")], NOW).unwrap();
    }
    let head = (9, forged.head().hash);
    assert_eq!(kinds(&log.check(&[], head)), []);
    let report = log.check(&hashes[3..4], head);
    assert_eq!(kinds(&report), [(Kind::Edited, 1)]);
    assert!(report.damages[0].message.contains("record 4"));
}

#[test]
fn two_records_exchanged_within_a_file_are_found() {
    let log = Log::with(Retention::default());
    let mut journal = log.open();
    for reason in ["one", "two", "ten"] {
        journal.append(vec![entry().reason(reason)], NOW).unwrap();
    }
    let (_, path) = log.segments().pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let records = &bytes[HEADER_BYTES..];
    let one = records.len() / 3;
    assert_eq!(one * 3, records.len(), "all three are as long");
    let exchanged = [
        &bytes[..bytes.len() - records.len()],
        &records[one..2 * one],
        &records[..one],
        &records[2 * one..],
    ];
    fs::write(&path, exchanged.concat()).unwrap();
    let head = (3, journal.head().hash);
    let found = kinds(&log.check(&[], head));
    assert_eq!(found[0], (Kind::Edited, 1), "{found:?}");
}

/// Where the `nth` (from 0) occurrence of a text begins.
fn find(bytes: &[u8], text: &[u8], nth: usize) -> usize {
    let mut places = bytes
        .windows(text.len())
        .enumerate()
        .filter(|(_, window)| *window == text)
        .map(|(place, _)| place);
    places.nth(nth).unwrap()
}

/// The chain's hashes, and the files, of six records.
#[allow(clippy::type_complexity, reason = "named by its place")]
static SIX_RECORDS: LazyLock<(Vec<(u64, Hash)>, Vec<(u64, Vec<u8>)>)> = LazyLock::new(|| {
    let log = Log::small();
    let hashes = log.filled(6);
    let segments = log.segments().into_iter();
    let files = segments.map(|(first, path)| (first, fs::read(path).unwrap()));
    (hashes, files.collect())
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Wherever a bit flips, the damage is found, and named at the record it is in or at its
    /// segment's first.
    #[test]
    fn any_flipped_bit_is_found_at_its_place(place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (hashes, files) = &*SIX_RECORDS;
        let log = Log::small();
        files::create_folder(&log.folder()).unwrap();
        for (first, bytes) in files {
            fs::write(log.folder().join(segment::name_of(*first)), bytes).unwrap();
        }
        let head = *hashes.last().unwrap();
        let segments = log.segments();
        let sizes: Vec<usize> = files.iter().map(|(_, bytes)| bytes.len()).collect();
        let mut at = place.index(sizes.iter().sum());
        let mut file = 0;
        while at >= sizes[file] {
            at -= sizes[file];
            file += 1;
        }
        let (first, path) = &segments[file];
        let mut bytes = fs::read(path).unwrap();
        let record = record_at(*first, &bytes, at);
        bytes[at] ^= 1 << bit;
        fs::write(path, &bytes).unwrap();
        let report = log.check(hashes, head);
        let damage = report.damages.first();
        prop_assert!(damage.is_some(), "byte {} of {:?} went unnoticed", at, path);
        let damage = damage.unwrap();
        prop_assert_eq!(&damage.segment, &segment::name_of(*first));
        prop_assert_eq!(damage.sequence, record);
        // And whoever opens it goes on, above all that was there.
        let mut journal = Journal::new(log.folder(), NodeId(7), log.retention);
        match journal.append(vec![entry()], NOW) {
            Ok(()) => prop_assert!(journal.head().sequence >= record),
            Err(refused) => prop_assert!(refused.to_string().contains("newer version")),
        }
    }
}

/// The sequence of the record that byte `at` belongs to; of the header: the first.
fn record_at(first: u64, bytes: &[u8], at: usize) -> u64 {
    let (mut end, mut sequence) = (HEADER_BYTES, first);
    while at >= end {
        let Frame::Record { bytes: all, .. } = frame(&bytes[end..]) else {
            break;
        };
        end += all;
        sequence += u64::from(at >= end);
    }
    sequence
}
