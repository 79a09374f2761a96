//! Anchors: the heads of the nodes' audit logs, held where no single node can change them.
//!
//! A node keeps its audit log in files of its own, as a hash chain. Whoever owns its disk can make
//! another chain; but not one whose heads are those that the cluster agreed on.
//!
//! Invariants: (1) a member's anchors only go forward. (2) There are at most so many a member; the
//! oldest go first, since each newer one vouches for everything before it.

use std::fmt;

use holdfast_proto::{NodeId, Timestamp, limits};
use imbl::OrdMap;

use crate::{
    hash::{RollingHash, RowBuffer, RowHash},
    reply::{Reason, Refusal},
};

/// The hash of a member's chain of audit records, up to one of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AnchorHash([u8; 32]);

/// The head that a member's audit log had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Of the newest record then.
    pub sequence: u64,
    /// Of the chain up to it.
    pub hash: AnchorHash,
    /// When it was anchored, in cluster time.
    pub at: Timestamp,
}

#[derive(Clone, Default)]
pub(crate) struct Anchors {
    all: OrdMap<(NodeId, u64), Anchor>,
    pub(crate) hash: RollingHash,
}

impl Anchors {
    /// Holds on to a head that is further on than the one before.
    pub(crate) fn add(
        &mut self,
        member: NodeId,
        sequence: u64,
        hash: AnchorHash,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        if let Some(newest) = self.of(member).next_back()
            && newest.sequence >= sequence
        {
            let message = format!(
                "the audit log of member {member} is anchored up to record {} already, and {sequence} \
                 is not after it; if that node lost records, see `kvctl audit verify`",
                newest.sequence
            );
            return Err(Refusal::new(Reason::Invalid, message).numbers(newest.sequence, sequence));
        }
        self.insert(member, Anchor { sequence, hash, at });
        while self.of(member).count() > limits::AUDIT_ANCHORS {
            let Some(oldest) = self.of(member).next().map(|anchor| anchor.sequence) else {
                break;
            };
            self.remove(member, oldest);
        }
        Ok(())
    }

    /// Of one member, oldest first.
    pub(crate) fn of(&self, member: NodeId) -> impl DoubleEndedIterator<Item = &Anchor> {
        let range = (member, 0)..=(member, u64::MAX);
        self.all.range(range).map(|(_, anchor)| anchor)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (NodeId, &Anchor)> {
        self.all
            .iter()
            .map(|((member, _), anchor)| (*member, anchor))
    }

    pub(crate) fn insert(&mut self, member: NodeId, anchor: Anchor) {
        self.hash.add(row_hash(member, &anchor));
        if let Some(before) = self.all.insert((member, anchor.sequence), anchor) {
            self.hash.remove(row_hash(member, &before));
        }
    }

    fn remove(&mut self, member: NodeId, sequence: u64) {
        if let Some(anchor) = self.all.remove(&(member, sequence)) {
            self.hash.remove(row_hash(member, &anchor));
        }
    }
}

fn row_hash(member: NodeId, anchor: &Anchor) -> RowHash {
    RowBuffer::new(b'u')
        .number(member.0)
        .number(anchor.sequence)
        .bytes(&anchor.hash.0)
        .number(anchor.at.as_millis())
        .finish()
}

impl AnchorHash {
    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AnchorHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
