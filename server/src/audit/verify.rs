//! Whether a chain is whole, and is the one that was anchored.
//!
//! What is checked comes segment by segment, from this disk or from another node. The anchors come
//! from the replicated state of the node that checks, so that a node cannot vouch for itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_proto::v1::{AuditDamage, AuditReport, audit_damage::Kind};

use super::{
    format::Hash,
    journal::LOST,
    segment::{self, Content, End},
};

/// Holds one chain against its anchors.
pub(super) struct Checker {
    /// By sequence.
    anchors: BTreeMap<u64, Hash>,
    report: AuditReport,
    /// What comes next, and the hash it is chained to; `None`: nothing came yet.
    next: Option<(u64, Hash)>,
    /// Where the last segment ends is not known.
    loose: bool,
    /// Something is wrong since the last anchor that matched.
    suspect: bool,
    /// The last anchor that matched.
    vouched: u64,
    /// Where the log was to begin, as its newest segment says.
    oldest: u64,
}

impl Checker {
    pub(super) fn new(anchors: impl IntoIterator<Item = (u64, Hash)>) -> Self {
        let anchors: BTreeMap<u64, Hash> = anchors.into_iter().collect();
        let newest = anchors.keys().next_back().copied();
        Self {
            report: AuditReport {
                anchored: newest.unwrap_or_default(),
                ..AuditReport::default()
            },
            anchors,
            next: None,
            loose: false,
            suspect: false,
            vouched: 0,
            oldest: 0,
        }
    }

    /// Takes in the next segment. `unreadable`: why the rest of it is not there.
    pub(super) fn segment(&mut self, first: u64, bytes: &[u8], unreadable: Option<&str>) {
        let name = segment::name_of(first);
        let content = segment::read(first, bytes);
        self.report.segments += 1;
        if self.report.first == 0 {
            self.report.first = first;
        }
        if let Some(why) = unreadable {
            let at = content.last.max(first.saturating_sub(1)) + 1;
            let message = format!("the rest of it cannot be read: {why}");
            self.damage(Kind::Unreadable, at, &name, message);
        }
        let is_first = self.next.is_none();
        self.follow(first, &name, &content);
        let mut flaws = content.flaws.iter().peekable();
        for (record, hash) in &content.records {
            while let Some(flaw) = flaws.next_if(|flaw| flaw.sequence < record.sequence) {
                self.damage(flaw.kind, flaw.sequence, &name, flaw.message.clone());
            }
            self.report.records += 1;
            if is_first && record.act == LOST {
                // Further on, the gap itself is seen.
                let message = format!("records before it are gone; {}", record.reason);
                self.damage(Kind::Missing, record.sequence, &name, message);
            }
            self.hold_against_anchor(record.sequence, hash, &name);
        }
        for flaw in flaws {
            // That it ends early was said already, and why.
            if unreadable.is_none() || content.ends != End::Torn {
                self.damage(flaw.kind, flaw.sequence, &name, flaw.message.clone());
            }
        }
        let last = content.last.max(first.saturating_sub(1));
        self.next = Some((last + 1, content.hash));
        self.loose = content.ends != End::Whole;
    }

    /// Whether a segment goes on where the one before ended.
    fn follow(&mut self, first: u64, name: &str, content: &Content) {
        let Some(header) = content.header else {
            return;
        };
        self.oldest = self.oldest.max(header.oldest);
        let Some((next, hash)) = self.next else {
            return;
        };
        if self.loose {
            return;
        }
        if first > next {
            let message = format!(
                "records {next} to {} are gone: a file is missing, or its end",
                first - 1
            );
            self.damage(Kind::Missing, next, "", message);
        } else if first < next || header.previous != hash {
            let message = "it does not go on where the segment before it ends".to_owned();
            self.damage(Kind::Edited, first, name, message);
        }
    }

    fn hold_against_anchor(&mut self, sequence: u64, hash: &Hash, name: &str) {
        let Some(anchor) = self.anchors.get(&sequence) else {
            return;
        };
        if anchor == hash {
            self.report.anchors += 1;
            (self.vouched, self.suspect) = (sequence, false);
        } else if !self.suspect {
            let from = self.vouched.max(self.report.first.saturating_sub(1)) + 1;
            let message = format!(
                "the cluster holds another hash of record {sequence}: the chain was made anew, and \
                 something in records {from} to {sequence} is not what was written"
            );
            self.damage(Kind::Edited, from, name, message);
        }
    }

    /// All segments came. `head`: the newest record, as the node that wrote it knows.
    pub(super) fn finish(mut self, head: (u64, Hash)) -> AuditReport {
        let (next, hash) = self.next.unwrap_or((1, Hash::default()));
        let last = next - 1;
        let first = self.report.first;
        if self.oldest != 0 && first > self.oldest {
            let message = format!(
                "records {} to {} are gone: the log was to begin with the first of them",
                self.oldest,
                first - 1
            );
            self.damage(Kind::Missing, self.oldest, "", message);
        }
        let newest = self.report.anchored;
        if last < newest {
            let message = match self.report.segments {
                0 => format!("there are no files, but record {newest} was anchored"),
                _ => format!("it ends with record {last}, but record {newest} was anchored"),
            };
            self.damage(Kind::Truncated, next, "", message);
        } else if last < head.0 {
            let message = format!(
                "it ends with record {last}, but the node has written up to record {}",
                head.0
            );
            self.damage(Kind::Truncated, next, "", message);
        } else if last == head.0 && last != 0 && hash != head.1 && !self.suspect {
            let message = "its newest record is not the one that the node has written".to_owned();
            self.damage(Kind::Edited, last, "", message);
        }
        self.report.last = last;
        self.report.head = Bytes::copy_from_slice(&hash);
        self.report.damages.sort_by_key(|damage| damage.sequence);
        self.report
    }

    fn damage(&mut self, kind: Kind, sequence: u64, segment: &str, message: String) {
        self.suspect = true;
        self.report.damages.push(AuditDamage {
            kind: kind.into(),
            sequence,
            segment: segment.to_owned(),
            message,
        });
    }
}
