//! The files of an audit log: their names, and what one of them holds.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use holdfast_proto::v1::{AuditRecord, audit_damage::Kind};
use prost::Message as _;

use super::format::{Frame, HEADER_BYTES, Hash, Header, HeaderError, VERSION, frame, record_hash};

/// The segments of a folder, oldest first: the sequence that each name promises, and its path.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(first) = name.and_then(first_of) {
            segments.push((first, path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The name of the segment that begins with this sequence.
pub(super) fn name_of(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The sequence that a segment's name promises.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// One thing that is wrong with a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) kind: Kind,
    /// The first record that is concerned.
    pub(super) sequence: u64,
    pub(super) message: String,
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole record, or with its header.
    Whole,
    /// With the beginning of a record.
    Torn,
    /// What stands at the end is of no use: nothing can be added.
    Closed,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) header: Option<Header>,
    /// In their order: those whose content is what was written.
    pub(super) records: Vec<(AuditRecord, Hash)>,
    pub(super) flaws: Vec<Flaw>,
    /// The highest sequence for which there is a record, good or not; 0: there is none.
    pub(super) last: u64,
    /// The chain's hash after it.
    pub(super) hash: Hash,
    /// Up to where all is of use.
    pub(super) end: usize,
    pub(super) ends: End,
}

/// Reads a segment whose name promises to begin with `first`. An edited record costs that record
/// alone: those after it are held against the hash that stands there.
pub(super) fn read(first: u64, bytes: &[u8]) -> Content {
    let mut content = Content {
        header: None,
        records: Vec::new(),
        flaws: Vec::new(),
        last: 0,
        hash: Hash::default(),
        end: 0,
        ends: End::Closed,
    };
    let (header, start) = match Header::decode(bytes) {
        Ok((header, _)) if header.first != first => {
            let found = header.first;
            let message = format!("its name promises record {first}, its header {found}");
            content.flaw(Kind::Edited, first, message);
            content.last = first.saturating_add(frames(&bytes[HEADER_BYTES..]));
            return content;
        }
        Ok(found) => found,
        Err(HeaderError::Newer(version)) => {
            let message = format!(
                "it has format version {version}, this program knows {VERSION}; use a newer program"
            );
            content.flaw(Kind::Newer, first, message);
            return content;
        }
        Err(HeaderError::Short) => {
            content.ends = End::Torn;
            content.flaw(Kind::Truncated, first, "its header is not whole".to_owned());
            return content;
        }
        Err(HeaderError::Damaged) => {
            match bytes.iter().all(|byte| *byte == 0) {
                true => content.ends = End::Torn,
                false => {
                    let records = bytes.get(HEADER_BYTES..).map_or(0, frames);
                    content.last = first.saturating_add(records);
                }
            }
            let message = "its header is not what was written".to_owned();
            content.flaw(Kind::Edited, first, message);
            return content;
        }
    };
    content.header = Some(header);
    content.end = HEADER_BYTES;
    content.hash = start;
    content.records_of(first, bytes);
    content
}

impl Content {
    fn records_of(&mut self, first: u64, bytes: &[u8]) {
        let mut next = first;
        // Of the record before, if it was not what it should be: what its hash should have been.
        let mut instead: Option<Hash> = None;
        self.ends = loop {
            match frame(&bytes[self.end..]) {
                Frame::End => break End::Whole,
                Frame::Torn => {
                    let left = bytes.len() - self.end;
                    let message = format!("it ends within record {next}, after {left} bytes of it");
                    self.flaw(Kind::Truncated, next, message);
                    break End::Torn;
                }
                Frame::Nonsense => {
                    let message = format!(
                        "from byte {} on it is not what was written, and where the next record \
                         begins cannot be known",
                        self.end
                    );
                    self.flaw(Kind::Edited, next, message);
                    // That record was there, whatever it was.
                    self.last = next;
                    break End::Closed;
                }
                Frame::Record {
                    body,
                    hash,
                    bytes: all,
                } => {
                    let expected = record_hash(&self.hash, body);
                    let is_good = expected == hash
                        || instead.is_some_and(|before| record_hash(&before, body) == hash);
                    let record = AuditRecord::decode(body)
                        .ok()
                        .filter(|record| is_good && record.sequence == next);
                    instead = None;
                    match record {
                        Some(record) => self.records.push((record, hash)),
                        None => {
                            instead = Some(expected);
                            let message = format!(
                                "record {next} at byte {} is not what was written",
                                self.end
                            );
                            self.flaw(Kind::Edited, next, message);
                        }
                    }
                    (self.hash, self.last) = (hash, next);
                    self.end += all;
                    next += 1;
                }
            }
        };
    }

    fn flaw(&mut self, kind: Kind, sequence: u64, message: String) {
        self.flaws.push(Flaw {
            kind,
            sequence,
            message,
        });
    }

    /// Whether anything but an unfinished write is wrong with it.
    pub(super) fn damage(&self) -> Option<&Flaw> {
        let unfinished = usize::from(self.ends == End::Torn);
        self.flaws[..self.flaws.len() - unfinished].first()
    }
}

/// How many records there seem to be behind a header that cannot be trusted.
fn frames(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while let Frame::Record { bytes: all, .. } = frame(bytes) {
        bytes = &bytes[all..];
        count += 1;
    }
    count
}

const SUFFIX: &str = ".audit";
