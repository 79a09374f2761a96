//! A sealed stream is read to its end or is an error: never less than it was, never something else.

use std::io::{self, Read, Write};

use holdfast_seal::stream::{CHUNK_LENGTH, Reader, Unlock};
use holdfast_seal::{
    NodeKey, Recipient, RecoveryKey, Split, StreamError, StreamOpener, StreamSealer, SymmetricKey,
};
use proptest::prelude::*;

use crate::fixture::{Cluster, Damage, MEMBER, Seeded, damage, lineage};

/// The tag of a chunk is this long.
const TAG: usize = 16;

#[test]
fn what_was_written_is_read_whatever_its_length() {
    for length in [
        0,
        1,
        CHUNK_LENGTH - 1,
        CHUNK_LENGTH,
        CHUNK_LENGTH + 1,
        2 * CHUNK_LENGTH,
        3 * CHUNK_LENGTH + 17,
    ] {
        let text = text(length);
        let sealed = seal(&text);
        assert_eq!(open(&sealed).unwrap(), text, "{length}");
        let chunks = length.div_ceil(CHUNK_LENGTH).max(1);
        assert_eq!(sealed.len(), header_length() + length + chunks * TAG);
    }
}

#[test]
fn every_reader_opens_the_same_stream_with_what_it_has() {
    let cluster = Cluster::new(1, 3);
    let mut random = Seeded::new(2);
    let (recovery, _) = RecoveryKey::split_new(&mut random, Split::new(3, 2).unwrap());
    let node = &cluster.node;
    let other = NodeKey::generate(&mut random);
    let own = SymmetricKey::generate(&mut random);
    let readers = [
        Reader::Key(&own),
        Reader::Epoch(cluster.keyring.newest()),
        Reader::Holder(Recipient::Member(2), other.public()),
        Reader::Holder(Recipient::Member(MEMBER), node.public()),
        Reader::Holder(Recipient::Recovery, recovery.public()),
    ];
    let text = text(100_000);
    let lineage = &cluster.lineage;
    let mut sealer =
        StreamSealer::new(&mut random, Vec::new(), Some(lineage), b"backup", &readers).unwrap();
    sealer.write_all(&text).unwrap();
    let sealed = sealer.finish().unwrap();
    for unlock in [
        Unlock::Key(&own),
        Unlock::Keyring(&cluster.keyring),
        Unlock::Member(MEMBER, node),
        Unlock::Member(2, &other),
        Unlock::Recovery(&recovery),
    ] {
        let mut opener = StreamOpener::new(&sealed[..], b"backup", &unlock).unwrap();
        assert_eq!(opener.lineage(), Some(lineage));
        let mut opened = Vec::new();
        opener.read_to_end(&mut opened).unwrap();
        assert!(opened == text, "{unlock:?}");
        assert_eq!(
            refusal(StreamOpener::new(&sealed[..], b"cache", &unlock)),
            StreamError::FileKey,
            "for another purpose"
        );
        let mut moved = sealed.clone();
        moved[10] ^= 1;
        let refused = refusal(StreamOpener::new(&moved[..], b"backup", &unlock));
        assert_eq!(refused, StreamError::FileKey, "from another cluster");
    }
    let stranger = NodeKey::generate(&mut random);
    let refused = refusal(StreamOpener::new(
        &sealed[..],
        b"backup",
        &Unlock::Member(MEMBER, &stranger),
    ));
    assert_eq!(refused, StreamError::FileKey);
    let refused = refusal(StreamOpener::new(
        &sealed[..],
        b"backup",
        &Unlock::Member(9, &stranger),
    ));
    let words = refused.to_string();
    for reader in ["epoch 3", "member 2", "member 7", "the recovery key"] {
        assert!(words.contains(reader), "{words}");
    }
    let older = Cluster::new(1, 2).keyring;
    let refused = refusal(StreamOpener::new(
        &sealed[..],
        b"backup",
        &Unlock::Keyring(&older),
    ));
    assert!(
        matches!(refused, StreamError::EpochUnknown { .. }),
        "{refused}"
    );
}

#[test]
fn a_stream_that_is_not_finished_is_not_taken_for_a_whole_one() {
    let text = text(2 * CHUNK_LENGTH + 5);
    let mut sink = Vec::new();
    let mut sealer = StreamSealer::new(
        &mut Seeded::new(3),
        &mut sink,
        None,
        b"test",
        &[Reader::Key(&key())],
    )
    .unwrap();
    sealer.write_all(&text).unwrap();
    sealer.flush().unwrap();
    drop(sealer);
    assert_eq!(refused(&sink), StreamError::CutOff { number: 1 });
}

#[test]
fn chunks_that_are_missing_repeated_moved_or_added_are_refused() {
    let sealed = seal(&text(3 * CHUNK_LENGTH + 100));
    let (header, chunks) = sealed.split_at(header_length());
    let chunks: Vec<_> = chunks.chunks(CHUNK_LENGTH + TAG).collect();
    let joined = |order: &[usize]| {
        let mut bytes = header.to_vec();
        order
            .iter()
            .for_each(|chunk| bytes.extend_from_slice(chunks[*chunk]));
        bytes
    };
    open(&joined(&[0, 1, 2, 3])).unwrap();
    for (order, error) in [
        (&[1, 0, 2, 3][..], StreamError::Chunk { number: 0 }),
        (&[0, 2, 3], StreamError::Chunk { number: 1 }),
        (&[0, 1, 1, 2, 3], StreamError::Chunk { number: 2 }),
        (&[0, 1, 3], StreamError::Chunk { number: 2 }),
        (&[0, 1, 2], StreamError::CutOff { number: 2 }),
        (&[0], StreamError::CutOff { number: 0 }),
        (&[], StreamError::Chunk { number: 0 }),
        (&[3], StreamError::Chunk { number: 0 }),
        (&[0, 1, 2, 3, 3], StreamError::Chunk { number: 3 }),
        (&[0, 1, 2, 3, 0], StreamError::Chunk { number: 3 }),
    ] {
        assert_eq!(refused(&joined(order)), error, "{order:?}");
    }
}

#[test]
fn an_error_stays_one_however_often_one_reads() {
    let mut sealed = seal(&text(2 * CHUNK_LENGTH));
    let middle = sealed.len() - 10;
    sealed[middle] ^= 1;
    let (key, mut buffer) = (key(), vec![0; CHUNK_LENGTH]);
    let mut opener = StreamOpener::new(&sealed[..], b"test", &Unlock::Key(&key)).unwrap();
    opener.read_exact(&mut buffer).unwrap();
    for _ in 0..3 {
        let error = opener.read(&mut buffer).unwrap_err();
        assert_eq!(cause(&error), StreamError::Chunk { number: 1 });
    }
}

#[test]
fn a_source_that_fails_is_no_end() {
    let sealed = seal(&text(2 * CHUNK_LENGTH + 1));
    let key = key();
    let source = Failing {
        bytes: &sealed[..header_length() + 2 * CHUNK_LENGTH + 40],
    };
    let mut opener = StreamOpener::new(source, b"test", &Unlock::Key(&key)).unwrap();
    let mut buffer = vec![0; CHUNK_LENGTH];
    opener.read_exact(&mut buffer).unwrap();
    let error = opener.read(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let error = opener.read(&mut buffer).unwrap_err();
    assert_eq!(cause(&error), StreamError::Unread);
}

#[test]
fn a_sink_that_fails_is_not_written_to_again() {
    let (mut sink, key) = (Full { room: 100 + 200 }, key());
    let readers = [Reader::Key(&key)];
    let mut sealer =
        StreamSealer::new(&mut Seeded::new(4), &mut sink, None, b"test", &readers).unwrap();
    let text = text(2 * CHUNK_LENGTH);
    sealer.write_all(&text).unwrap_err();
    sealer.write_all(&text).unwrap_err();
    sealer.finish().unwrap_err();
}

#[test]
fn newer_and_foreign_files_are_told_apart() {
    let mut sealed = seal(b"x");
    sealed[8] = 2;
    assert_eq!(refused(&sealed), StreamError::NewerFormat { found: 2 });
    sealed[8] = 0;
    assert_eq!(refused(&sealed), StreamError::Header);
    sealed[0] = b'h';
    assert_eq!(refused(&sealed), StreamError::NotAStream);
    assert_eq!(refused(b"hi"), StreamError::NotAStream);
    assert_eq!(refused(b"HFSTR"), StreamError::Header);
}

#[test]
fn a_reader_of_a_kind_that_is_not_known_is_passed_over() {
    // Later versions may add kinds; the header says how long each is.
    let (own, mut random) = (key(), Seeded::new(5));
    let sealer = StreamSealer::new(
        &mut random,
        Vec::new(),
        None,
        b"test",
        &[
            Reader::Holder(Recipient::Member(1), crate::node_keys::key().public()),
            Reader::Key(&own),
        ],
    );
    let mut sealed = sealer.unwrap().finish().unwrap();
    let kind = 8 + 1 + 1 + 1;
    assert_eq!(sealed[kind], 3, "a member");
    sealed[kind] = 200;
    // The file's key opens, and then the chunks tell that the header was changed.
    assert_eq!(refused(&sealed), StreamError::Chunk { number: 0 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_damaged_stream_is_an_error(
        length in 0..3 * CHUNK_LENGTH,
        damage in damage(),
        in_the_header: bool,
    ) {
        let sealed = seal(&text(length));
        let damaged = match damage {
            Damage::Flip(place, bit) if in_the_header => {
                Damage::Flip(place % header_length(), bit).apply(&sealed)
            }
            other => other.apply(&sealed),
        };
        prop_assert!(open(&damaged).is_err());
    }

    #[test]
    fn how_it_is_written_and_read_does_not_matter(
        writes in prop::collection::vec(0..50_000_usize, 0..8),
        read in 1..100_000_usize,
    ) {
        let text = text(writes.iter().sum());
        let key = key();
        let mut rest = &text[..];
        let mut sealer = StreamSealer::new(
            &mut Seeded::new(6), Vec::new(), None, b"test", &[Reader::Key(&key)],
        ).unwrap();
        for length in writes {
            let (now, later) = rest.split_at(length);
            sealer.write_all(now).unwrap();
            rest = later;
        }
        let sealed = sealer.finish().unwrap();
        prop_assert!(sealed == seal_with(6, &text));
        let mut opener = StreamOpener::new(&sealed[..], b"test", &Unlock::Key(&key)).unwrap();
        let mut opened = Vec::new();
        let mut buffer = vec![0; read];
        loop {
            match opener.read(&mut buffer).unwrap() {
                0 => break,
                length => opened.extend_from_slice(&buffer[..length]),
            }
        }
        prop_assert!(opened == text);
    }
}

#[test]
fn the_lineage_in_the_header_counts() {
    let (key, ours) = (key(), lineage("c-1"));
    let readers = [Reader::Key(&key)];
    let sealer = StreamSealer::new(
        &mut Seeded::new(7),
        Vec::new(),
        Some(&ours),
        b"test",
        &readers,
    )
    .unwrap();
    let sealed = sealer.finish().unwrap();
    open(&sealed).unwrap();
    let mut other = sealed;
    other[12] = b'2';
    assert_eq!(refused(&other), StreamError::FileKey);
}

pub(crate) fn key() -> SymmetricKey {
    SymmetricKey::generate(&mut Seeded::new(8))
}

pub(crate) fn seal(text: &[u8]) -> Vec<u8> {
    seal_with(9, text)
}

fn seal_with(seed: u64, text: &[u8]) -> Vec<u8> {
    let (key, mut random) = (key(), Seeded::new(seed));
    let readers = [Reader::Key(&key)];
    let mut sealer = StreamSealer::new(&mut random, Vec::new(), None, b"test", &readers).unwrap();
    sealer.write_all(text).unwrap();
    sealer.finish().unwrap()
}

pub(crate) fn open(sealed: &[u8]) -> io::Result<Vec<u8>> {
    let mut opened = Vec::new();
    StreamOpener::new(sealed, b"test", &Unlock::Key(&key()))?.read_to_end(&mut opened)?;
    Ok(opened)
}

fn refused(sealed: &[u8]) -> StreamError {
    cause(&open(sealed).unwrap_err())
}

fn refusal<Source>(result: io::Result<StreamOpener<Source>>) -> StreamError {
    cause(&result.map(|_| "a stream").unwrap_err())
}

fn cause(error: &io::Error) -> StreamError {
    let cause = error.get_ref().unwrap_or_else(|| panic!("{error}"));
    cause.downcast_ref::<StreamError>().unwrap().clone()
}

/// Magic, format, no lineage, one reader with a key of its own, nonce prefix.
fn header_length() -> usize {
    8 + 1 + 1 + 1 + (3 + 72) + 19
}

fn text(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| (place * 31 + place / 251) as u8)
        .collect()
}

struct Failing<'a> {
    bytes: &'a [u8],
}

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(buffer)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            length => Ok(length),
        }
    }
}

#[derive(Debug)]
struct Full {
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
