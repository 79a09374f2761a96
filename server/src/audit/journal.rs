//! The files, as they are written: one segment after the other, each record synced before anybody
//! is told that it is there.
//!
//! What was not completed when the process was killed is cut off at the next start, and a record
//! says so. Anything else that is not as it was written stays as it is, for whoever wants to know
//! what happened: the chain goes on in a new segment, whose first record says why.
//!
//! After an error nothing is known of the file, so it is looked at again from the start. What was
//! recorded before is known here, and its loss is noticed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use holdfast_proto::{NodeId, v1::audit_damage::Kind};

use super::{
    entry::Entry,
    files::{self, SegmentFile},
    format::{Hash, Header, encode_record},
    segment::{self, Content, End},
};

/// The newest record that is on disk, and where its segment ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// 0: there is none.
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
    /// Of its segment: its first record …
    pub(super) segment: u64,
    /// … and its length.
    pub(super) length: u64,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// A segment is full at this size.
    pub(super) segment_bytes: u64,
    /// So many segments are kept; at least two.
    pub(super) segments: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            segment_bytes: 8 * 1024 * 1024,
            segments: 32,
        }
    }
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// The disk.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Only a newer program may add to it.
    #[error(
        "segment {segment} is of a newer version; start the newer program, or set the folder aside"
    )]
    Newer { segment: String },
}

/// The audit log of one node, for the one thread that writes it.
pub(super) struct Journal {
    folder: PathBuf,
    node: NodeId,
    retention: Retention,
    /// `None`: it has to be looked at first.
    open: Option<SegmentFile>,
    head: Head,
    /// What the next append has to say about the log itself.
    remarks: Vec<Entry>,
}

impl Journal {
    pub(super) fn new(folder: PathBuf, node: NodeId, retention: Retention) -> Self {
        Self {
            folder,
            node,
            retention,
            open: None,
            head: Head::default(),
            remarks: Vec::new(),
        }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Looks at what is there, and says in it what was found, if anything was.
    pub(super) fn open(&mut self, at_ms: u64) -> Result<(), JournalError> {
        self.look()?;
        match self.remarks.is_empty() {
            true => Ok(()),
            false => self.append(Vec::new(), at_ms),
        }
    }

    /// Appends records and syncs them: all are on disk, or it is an error.
    pub(super) fn append(&mut self, entries: Vec<Entry>, at_ms: u64) -> Result<(), JournalError> {
        // Somebody may have taken away what is being written.
        self.open.take_if(|file| file.is_short_of(self.head.length));
        self.look()?;
        if self.open.is_none() || self.head.length >= self.retention.segment_bytes {
            self.begin()?;
        }
        let mut bytes = Vec::new();
        let mut head = self.head;
        for entry in self.remarks.iter().cloned().chain(entries) {
            head.sequence += 1;
            let record = entry.into_record(head.sequence, at_ms);
            head.hash = encode_record(&record, &head.hash, &mut bytes);
        }
        let Some(file) = &self.open else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        if let Err(error) = file.append(&bytes, head.length) {
            // Nobody was told of these records. What cannot be cut now is cut when it is looked at.
            drop(file.cut(self.head.length));
            self.open = None;
            return Err(error.into());
        }
        head.length += bytes.len() as u64;
        self.head = head;
        self.remarks.clear();
        Ok(())
    }

    /// The cluster knows of records that are not here: goes on after them, and says so.
    pub(super) fn go_on_after(
        &mut self,
        anchored: u64,
        hash: Hash,
        at_ms: u64,
    ) -> Result<(), JournalError> {
        self.look()?;
        if self.head.sequence >= anchored {
            return Ok(());
        }
        let message = format!(
            "the cluster holds an anchor of record {anchored}, but the newest record here was {}; \
             those between are gone",
            self.head.sequence
        );
        (self.head.sequence, self.head.hash) = (anchored, hash);
        self.open = None;
        self.remark(LOST, message);
        self.begin()?;
        self.append(Vec::new(), at_ms)
    }

    /// Opens the newest segment, if it may be added to; else the next append begins another.
    fn look(&mut self) -> Result<(), JournalError> {
        if self.open.is_some() {
            return Ok(());
        }
        let known = self.head;
        self.head = Head::default();
        if let Err(error) = self.take_up_newest() {
            self.head = known;
            return Err(error);
        }
        if self.head.sequence < known.sequence {
            let message = format!(
                "records up to {} were written, but the newest record here was {}; those between \
                 are gone",
                known.sequence, self.head.sequence
            );
            self.remark(LOST, message);
            (self.head.sequence, self.head.hash) = (known.sequence, known.hash);
            self.open = None;
        }
        Ok(())
    }

    fn take_up_newest(&mut self) -> Result<(), JournalError> {
        let mut segments = segment::list(&self.folder)?;
        while let Some((first, path)) = segments.pop() {
            let content = segment::read(first, &fs::read(&path)?);
            if content.flaws.iter().any(|flaw| flaw.kind == Kind::Newer) {
                return Err(JournalError::Newer {
                    segment: segment::name_of(first),
                });
            }
            if content.header.is_none() && content.ends == End::Torn {
                // Begun when the process was killed; nothing was ever recorded in it.
                fs::remove_file(&path)?;
                continue;
            }
            return self.take_up(first, &path, &content);
        }
        Ok(())
    }

    /// Goes on after a segment's last record.
    fn take_up(&mut self, first: u64, path: &Path, content: &Content) -> Result<(), JournalError> {
        self.head = Head {
            sequence: content.last.max(first.saturating_sub(1)),
            hash: content.hash,
            segment: first,
            length: content.end as u64,
        };
        if let Some(flaw) = content.damage() {
            let name = segment::name_of(first);
            let message = format!("segment {name}, record {}: {}", flaw.sequence, flaw.message);
            self.remark(DAMAGED, message);
            return Ok(());
        }
        let file = SegmentFile::open(path)?;
        if content.ends == End::Torn {
            let left = file.cut(content.end as u64)?;
            let message = format!(
                "{left} bytes of a record that was never completed were cut off; nobody was \
                 answered on its strength"
            );
            self.remark(CUT, message);
        }
        self.open = Some(file);
        Ok(())
    }

    /// Begins a segment, and lets go of the oldest.
    fn begin(&mut self) -> Result<(), JournalError> {
        files::create_folder(&self.folder)?;
        let segments = segment::list(&self.folder)?;
        let keep = self.retention.segments.max(2) - 1;
        let gone = segments.len().saturating_sub(keep);
        let first = self.head.sequence + 1;
        let header = Header {
            node: self.node,
            first,
            oldest: segments.get(gone).map_or(first, |(oldest, _)| *oldest),
            previous: self.head.hash,
        };
        let (bytes, hash) = header.encode();
        let path = self.folder.join(segment::name_of(first));
        self.open = Some(SegmentFile::create(&path, &bytes)?);
        self.head = Head {
            sequence: self.head.sequence,
            hash,
            segment: first,
            length: bytes.len() as u64,
        };
        // The header says from where on the log is whole, so these may go.
        for (_, path) in &segments[..gone] {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(%error, "an old segment of the audit log could not be deleted");
            }
        }
        Ok(())
    }

    /// Once, however often it is found before it can be recorded.
    fn remark(&mut self, act: &'static str, message: String) {
        if !self.remarks.iter().any(|remark| remark.is_act(act)) {
            self.remarks.push(Entry::of_the_log(act, message));
        }
    }
}

/// The log about itself: an unfinished record was cut off.
pub(super) const CUT: &str = "audit/cut";
/// The log about itself: something in it is not what was written.
pub(super) const DAMAGED: &str = "audit/damaged";
/// The log about itself: records are gone.
pub(super) const LOST: &str = "audit/lost";

#[cfg(test)]
mod tests;
