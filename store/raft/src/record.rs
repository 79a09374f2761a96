//! Between consensus and our own protobuf, in both directions.
//!
//! A command is copied once when it is proposed: the log row, the replication message and the
//! applied command are all slices of that copy. A row that came over the network is copied out of
//! its frame, so that a stored value never keeps a whole frame alive.

use std::{collections::BTreeMap, fmt};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use holdfast_core::Context;
use holdfast_disk::LogPosition;
use holdfast_proto::{Timestamp, log::v1 as wire};
use openraft::vote::RaftLeaderId as _;
use prost::{Message as _, encoding};

use crate::types::{
    Entry, LeaderId, LogId, Membership, Payload, Place, SnapshotMeta, StoredMembership, Vote,
    log_id, term_of,
};

/// Tag of `LogEntry.record`.
const RECORD: u32 = 2;

/// One proposal as the log keeps it: an encoded `LogEntry` without its id.
#[derive(Clone, PartialEq)]
pub(crate) struct Record {
    row: Bytes,
    /// Where in `row` the encoded `Record` begins.
    body: usize,
}

impl Record {
    /// Stamps a command with its leader's clock.
    pub(crate) fn stamp(at_ms: u64, command: &Bytes) -> Self {
        let command_bytes = 1 + encoding::encoded_len_varint(command.len() as u64) + command.len();
        let body_bytes = if at_ms == 0 {
            command_bytes
        } else {
            1 + encoding::encoded_len_varint(at_ms) + command_bytes
        };
        let mut row = BytesMut::with_capacity(body_bytes + 6);
        encoding::encode_key(RECORD, encoding::WireType::LengthDelimited, &mut row);
        encoding::encode_varint(body_bytes as u64, &mut row);
        let body = row.len();
        if at_ms != 0 {
            encoding::encode_key(1, encoding::WireType::Varint, &mut row);
            encoding::encode_varint(at_ms, &mut row);
        }
        encoding::encode_key(2, encoding::WireType::LengthDelimited, &mut row);
        encoding::encode_varint(command.len() as u64, &mut row);
        row.put_slice(command);
        Self {
            row: row.freeze(),
            body,
        }
    }

    /// From an encoded `Record`, copied out of what it is part of.
    fn copied(encoded: &[u8]) -> Self {
        let mut row = BytesMut::with_capacity(encoded.len() + 6);
        encoding::encode_key(RECORD, encoding::WireType::LengthDelimited, &mut row);
        encoding::encode_varint(encoded.len() as u64, &mut row);
        let body = row.len();
        row.put_slice(encoded);
        Self {
            row: row.freeze(),
            body,
        }
    }

    /// From a log row that is a record and nothing else; `None` sends the caller the long way.
    fn of_row(row: &Bytes) -> Option<Self> {
        let mut rest = row.clone();
        let (tag, kind) = encoding::decode_key(&mut rest).ok()?;
        if tag != RECORD || kind != encoding::WireType::LengthDelimited {
            return None;
        }
        let length = encoding::decode_varint(&mut rest).ok()?;
        (length == rest.remaining() as u64).then(|| Self {
            row: row.clone(),
            body: row.len() - rest.len(),
        })
    }

    /// The stamp and the command.
    pub(crate) fn open(&self) -> Result<wire::Record, RecordError> {
        wire::Record::decode(self.row.slice(self.body..)).map_err(RecordError::from)
    }

    /// The command of the entry `id`, as the store applies it.
    pub(crate) fn command(&self, id: &LogId) -> Result<(Context, Bytes), RecordError> {
        let record = self.open()?;
        let context = Context {
            index: id.index,
            term: term_of(id),
            at: Timestamp::from_millis(record.at_ms),
        };
        Ok((context, record.command))
    }

    /// Bytes it takes in the log.
    pub(crate) fn bytes(&self) -> usize {
        self.row.len()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} bytes)", self.bytes())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why bytes of a log or a peer are not a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RecordError {
    /// Not protobuf of the expected shape.
    #[error("a consensus record does not decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A part is missing.
    #[error("a consensus record lacks its {0}")]
    Missing(&'static str),
    /// Not a membership that can vote.
    #[error("a consensus record names impossible members: {0}")]
    Membership(String),
}

impl From<RecordError> for std::io::Error {
    fn from(error: RecordError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Whether a command carries a request id, so that repeating it is safe.
pub(crate) fn is_repeatable(command: &Bytes) -> bool {
    let mut rest = command.clone();
    while rest.has_remaining() {
        let Ok((tag, kind)) = encoding::decode_key(&mut rest) else {
            return false;
        };
        if tag == 1 {
            return true;
        }
        let skipped =
            encoding::skip_field(kind, tag, &mut rest, encoding::DecodeContext::default());
        if skipped.is_err() {
            return false;
        }
    }
    false
}

/// The payload of a log row.
pub(crate) fn row_payload(payload: &Payload) -> Bytes {
    let payload = match payload {
        Payload::Normal(record) => return record.row.clone(),
        Payload::Blank => wire::log_entry::Payload::Blank(true),
        Payload::Membership(membership) => {
            wire::log_entry::Payload::Membership(membership_to_wire(membership))
        }
    };
    let entry = wire::LogEntry {
        id: None,
        payload: Some(payload),
    };
    entry.encode_to_vec().into()
}

/// A log row's entry.
pub(crate) fn entry_of_row(position: LogPosition, row: &Bytes) -> Result<Entry, RecordError> {
    let log_id = log_id(position.term, position.index);
    let payload = match Record::of_row(row) {
        Some(record) => Payload::Normal(record),
        None => payload_of_wire(wire::LogEntry::decode(row.clone())?.payload)?,
    };
    Ok(Entry { log_id, payload })
}

/// An entry as a peer is sent it.
pub(crate) fn entry_to_wire(entry: Entry) -> wire::LogEntry {
    let payload = match entry.payload {
        Payload::Normal(record) => {
            wire::log_entry::Payload::Record(record.row.slice(record.body..))
        }
        Payload::Blank => wire::log_entry::Payload::Blank(true),
        Payload::Membership(membership) => {
            wire::log_entry::Payload::Membership(membership_to_wire(&membership))
        }
    };
    wire::LogEntry {
        id: Some(log_id_to_wire(&entry.log_id)),
        payload: Some(payload),
    }
}

/// An entry as a peer sent it.
pub(crate) fn entry_of_wire(entry: wire::LogEntry) -> Result<Entry, RecordError> {
    let id = entry.id.ok_or(RecordError::Missing("id"))?;
    Ok(Entry {
        log_id: log_id_of_wire(&id),
        payload: payload_of_wire(entry.payload)?,
    })
}

fn payload_of_wire(payload: Option<wire::log_entry::Payload>) -> Result<Payload, RecordError> {
    Ok(match payload.ok_or(RecordError::Missing("payload"))? {
        wire::log_entry::Payload::Record(record) => Payload::Normal(Record::copied(&record)),
        wire::log_entry::Payload::Blank(_) => Payload::Blank,
        wire::log_entry::Payload::Membership(membership) => {
            Payload::Membership(membership_of_wire(membership)?)
        }
    })
}

/// Where an entry stands in the log. Terms have one leader each, so `node` adds nothing.
pub(crate) fn position(id: &LogId) -> LogPosition {
    LogPosition {
        term: term_of(id),
        node: 0,
        index: id.index,
    }
}

/// The other way round.
pub(crate) fn log_id_at(position: &LogPosition) -> LogId {
    log_id(position.term, position.index)
}

/// A log id for a peer or an archive.
pub(crate) fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId {
        term: term_of(id),
        node: 0,
        index: id.index,
    }
}

/// The other way round.
pub(crate) fn log_id_of_wire(id: &wire::LogId) -> LogId {
    log_id(id.term, id.index)
}

/// A vote for a peer or the log.
pub(crate) fn vote_to_wire(vote: &Vote) -> wire::Vote {
    wire::Vote {
        term: vote.leader_id.term,
        node: *vote.leader_id.node_id(),
        committed: vote.committed,
    }
}

/// The other way round.
pub(crate) fn vote_of_wire(vote: Option<wire::Vote>) -> Result<Vote, RecordError> {
    let vote = vote.ok_or(RecordError::Missing("vote"))?;
    Ok(Vote {
        leader_id: LeaderId::new(vote.term, vote.node),
        committed: vote.committed,
    })
}

/// A membership for a peer, the log or an archive.
pub(crate) fn membership_to_wire(membership: &Membership) -> wire::Membership {
    wire::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|ids| wire::VoterSet {
                ids: ids.iter().copied().collect(),
            })
            .collect(),
        nodes: membership
            .nodes()
            .map(|(id, node)| wire::Node {
                id: *id,
                name: node.name.clone(),
                address: node.address.clone(),
            })
            .collect(),
    }
}

/// The other way round.
pub(crate) fn membership_of_wire(membership: wire::Membership) -> Result<Membership, RecordError> {
    let configs = membership
        .configs
        .into_iter()
        .map(|set| set.ids.into_iter().collect())
        .collect();
    let nodes: BTreeMap<u64, Place> = membership
        .nodes
        .into_iter()
        .map(|node| {
            let place = Place {
                name: node.name,
                address: node.address,
            };
            (node.id, place)
        })
        .collect();
    Membership::new(configs, nodes).map_err(|error| RecordError::Membership(error.to_string()))
}

/// What an archive says of itself, for its header and for the member that receives it.
pub(crate) fn meta_to_wire(meta: &SnapshotMeta) -> wire::SnapshotMeta {
    wire::SnapshotMeta {
        last_applied: meta.last_log_id.as_ref().map(log_id_to_wire),
        membership_id: meta.last_membership.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(meta.last_membership.membership())),
        snapshot_id: String::new(),
    }
}

/// The other way round.
pub(crate) fn meta_of_wire(meta: wire::SnapshotMeta) -> Result<SnapshotMeta, RecordError> {
    Ok(SnapshotMeta {
        last_log_id: meta.last_applied.as_ref().map(log_id_of_wire),
        last_membership: StoredMembership::new(
            meta.membership_id.as_ref().map(log_id_of_wire),
            membership_of_wire(meta.membership.unwrap_or_default())?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> [Bytes; 4] {
        [
            Bytes::new(),
            Bytes::from_static(b"x"),
            vec![7; 300].into(),
            vec![9; 70_000].into(),
        ]
    }

    #[test]
    fn a_record_is_the_protobuf_it_claims_to_be() {
        for command in commands() {
            for at_ms in [0, 1, 1_790_000_000_000] {
                let record = Record::stamp(at_ms, &command);
                let row = row_payload(&Payload::Normal(record.clone()));
                let entry = wire::LogEntry::decode(row.clone()).unwrap();
                let Some(wire::log_entry::Payload::Record(body)) = entry.payload else {
                    panic!("not a record");
                };
                let plain = wire::Record::decode(body).unwrap();
                assert_eq!((plain.at_ms, &plain.command), (at_ms, &command));
                assert_eq!(record.open().unwrap(), plain);
                let back = entry_of_row(position(&log_id(3, 9)), &row).unwrap();
                assert_eq!(back.payload, Payload::Normal(record));
            }
        }
    }

    #[test]
    fn entries_survive_the_row_and_the_wire() {
        let nodes = [1, 2, 3].map(|id| {
            let node = Place {
                name: format!("n{id}"),
                address: format!("127.0.0.1:{id}"),
            };
            (id, node)
        });
        let voters = vec![[1, 2].into(), [2].into()];
        let membership = Membership::new(voters, BTreeMap::from(nodes)).unwrap();
        let payloads = [
            Payload::Blank,
            Payload::Membership(membership),
            Payload::Normal(Record::stamp(5, &Bytes::from_static(b"put"))),
        ];
        for (index, payload) in payloads.into_iter().enumerate() {
            let entry = Entry {
                log_id: log_id(4, index as u64),
                payload,
            };
            let row = row_payload(&entry.payload);
            let read = entry_of_row(position(&entry.log_id), &row).unwrap();
            assert_eq!(read, entry);
            let sent = entry_to_wire(entry.clone()).encode_to_vec();
            let sent = wire::LogEntry::decode(Bytes::from(sent)).unwrap();
            assert_eq!(entry_of_wire(sent).unwrap(), entry);
        }
    }

    #[test]
    fn damage_is_an_error_and_never_an_entry() {
        let at = position(&log_id(1, 1));
        for row in [&b""[..], b"\xff\xff", b"\x12\x05abc"] {
            assert!(
                entry_of_row(at, &Bytes::from_static(row)).is_err(),
                "{row:?}"
            );
        }
    }

    #[test]
    fn only_a_command_with_a_request_id_is_repeatable() {
        let plain = wire::Command {
            author: "node/n1".to_owned(),
            body: Some(wire::command::Body::Tick(wire::Tick {})),
            ..Default::default()
        };
        let named = wire::Command {
            request: Some(holdfast_proto::v1::RequestId {
                session: vec![1; 16].into(),
                sequence: 1,
                first_incomplete: 1,
            }),
            ..plain.clone()
        };
        assert!(!is_repeatable(&plain.encode_to_vec().into()));
        assert!(is_repeatable(&named.encode_to_vec().into()));
        assert!(!is_repeatable(&Bytes::from_static(b"\xff\xff\xff")));
    }
}
