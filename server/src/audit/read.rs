//! Giving the log out: its records to whoever may read them, its files to a node that checks them.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use holdfast_proto::{
    peer::v1::{AuditChainHead, AuditChainPart, audit_chain_part::Part},
    v1::AuditRecord,
};
use prost::Message as _;

use super::{
    format::{Frame, HEADER_BYTES, frame},
    journal::Head,
    segment,
};

/// A place in the log of this node, from which records are read.
pub(super) struct Tail {
    folder: PathBuf,
    /// The next record that is wanted.
    next: u64,
    /// In which segment, and at which byte; `None`: to be looked for.
    place: Option<(u64, u64)>,
}

impl Tail {
    pub(super) fn new(folder: &Path, from: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            next: from,
            place: None,
        }
    }

    /// Records up to `head`, some at a time; none: there are no more yet.
    pub(super) fn read(&mut self, head: Head) -> io::Result<Vec<AuditRecord>> {
        while self.next <= head.sequence {
            let segments = segment::list(&self.folder)?;
            let firsts = || segments.iter().map(|(first, _)| *first);
            let Some((segment, at)) = self.place.or_else(|| {
                let holds = firsts().rfind(|first| *first <= self.next);
                let first = holds.or_else(|| firsts().next())?;
                Some((first, HEADER_BYTES as u64))
            }) else {
                return Ok(Vec::new());
            };
            let end = match segment == head.segment {
                true => head.length,
                false => u64::MAX,
            };
            let path = self.folder.join(segment::name_of(segment));
            let (records, read) = piece(&path, at, end.saturating_sub(at), self.next)?;
            self.place = Some((segment, at + read));
            if read == 0 {
                // Its end, or what cannot be read on from: the next segment.
                let Some(following) = firsts().find(|first| *first > segment) else {
                    return Ok(Vec::new());
                };
                self.place = Some((following, HEADER_BYTES as u64));
            }
            if let Some(last) = records.last() {
                self.next = last.sequence + 1;
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }
}

/// The records of one piece of a file from number `from` on, and how many bytes they take.
fn piece(path: &Path, at: u64, most: u64, from: u64) -> io::Result<(Vec<AuditRecord>, u64)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // It was the oldest, and its time has come.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(most.min(PIECE_BYTES)).read_to_end(&mut bytes)?;
    let (mut records, mut end) = (Vec::new(), 0);
    while let Frame::Record {
        body, bytes: all, ..
    } = frame(&bytes[end..])
    {
        // Whether it is what was written is for `verify` to say.
        let record = AuditRecord::decode(body).unwrap_or_default();
        if record.sequence >= from {
            records.push(record);
        }
        end += all;
    }
    Ok((records, end as u64))
}

/// All files of the log up to `head`, in pieces. `give` says whether anybody wants more.
pub(super) fn chain(folder: &Path, head: Head, mut give: impl FnMut(AuditChainPart) -> bool) {
    let mut give = |part| give(AuditChainPart { part: Some(part) });
    if !give(Part::Head(AuditChainHead {
        sequence: head.sequence,
        hash: Bytes::copy_from_slice(&head.hash),
    })) {
        return;
    }
    // Opened at once: the oldest may have to go while they are read.
    let segments = segment::list(folder).unwrap_or_default().into_iter();
    let opened: Vec<_> = segments
        .filter(|(first, _)| *first <= head.segment)
        .map(|(first, path)| (first, File::open(path)))
        .collect();
    for (first, file) in opened {
        let most = match first == head.segment {
            true => head.length,
            false => u64::MAX,
        };
        if !give(Part::Segment(segment::name_of(first))) {
            return;
        }
        let mut file = match file {
            Ok(file) => file.take(most),
            Err(error) => {
                give(Part::Unreadable(error.to_string()));
                continue;
            }
        };
        loop {
            let mut bytes = Vec::new();
            match (&mut file).take(PIECE_BYTES).read_to_end(&mut bytes) {
                Ok(0) => break,
                Ok(_) if give(Part::Data(bytes.into())) => {}
                Ok(_) => return,
                Err(error) => {
                    give(Part::Unreadable(error.to_string()));
                    break;
                }
            }
        }
    }
}

/// Read at once. The largest record is a fraction of it.
const PIECE_BYTES: u64 = 256 * 1024;
