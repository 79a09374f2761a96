//! The head of every answer: which cluster and member, in which term, at which revision.

use holdfast_core::State;
use holdfast_proto::etcd::etcdserverpb::ResponseHeader;

use super::{Front, convert::signed};

impl Front {
    /// The head of an answer made at `revision`.
    pub(super) fn header(&self, revision: u64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.host.id.0,
            revision: signed(revision),
            raft_term: self.leadership.borrow().term,
        })
    }

    /// The head of an answer made now.
    pub(super) fn header_now(&self) -> Option<ResponseHeader> {
        self.header(self.host.read(State::revision))
    }
}

/// The head of a part of a transaction's answer, which carries a revision alone.
pub(super) fn of_part(revision: u64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: signed(revision),
        ..ResponseHeader::default()
    })
}

/// A cluster's number: the first 64 bits of its id.
pub(super) fn cluster_number(id: &str) -> u64 {
    let digits = id.get(..16).unwrap_or(id);
    u64::from_str_radix(digits, 16).unwrap_or_else(|_| u64::from(crc32fast::hash(id.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_the_same_number_everywhere_and_never_none() {
        assert_eq!(cluster_number("00000000000000ffaaaaaaaaaaaaaaaa"), 255);
        assert_ne!(cluster_number("main"), 0);
    }
}
