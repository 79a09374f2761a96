//! Replies.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{
    LeaseId, NodeId, Revision, Timestamp, Value,
    log::v1::{self as wire, reply::Body as Wire},
    v1,
};

use crate::{
    command::{CommandError, parse_key},
    entry::{Entry, Found, VersionMeta, counted},
    hash::Digest,
    member::Role,
    reply::{
        DeleteResult, OperationResult, PutResult, RangeResult, Reason, Refusal, Reply, ReplyBody,
        TransactionResult,
    },
};

impl Reply {
    /// As it is kept and sent.
    pub fn into_wire(self) -> wire::Reply {
        let body = match self.body {
            ReplyBody::Done => Wire::Done(wire::Done {}),
            ReplyBody::Transact(result) => Wire::Transact(result.into()),
            ReplyBody::Put(result) => Wire::Put(result.into()),
            ReplyBody::Delete(result) => Wire::Delete(result.into()),
            ReplyBody::LeaseGranted { lease, ttl_ms } => Wire::LeaseGranted(wire::LeaseGranted {
                lease: lease.get(),
                ttl_ms,
            }),
            ReplyBody::Admitted { id, role } => Wire::Admitted(wire::Admitted {
                id: id.0,
                role: role.to_wire().into(),
            }),
            ReplyBody::FleetTaken { refused } => Wire::FleetTaken(wire::FleetTaken { refused }),
            ReplyBody::Refused(refusal) => Wire::Refusal(refusal.into()),
        };
        wire::Reply {
            revision: self.revision,
            body: Some(body),
        }
    }

    /// From what was kept or sent.
    pub fn from_wire(reply: wire::Reply) -> Result<Self, CommandError> {
        let body = match reply
            .body
            .ok_or(CommandError::Missing("the reply is empty"))?
        {
            Wire::Done(wire::Done {}) => ReplyBody::Done,
            Wire::Transact(result) => ReplyBody::Transact(result.try_into()?),
            Wire::Put(result) => ReplyBody::Put(result.try_into()?),
            Wire::Delete(result) => ReplyBody::Delete(result.try_into()?),
            Wire::LeaseGranted(granted) => ReplyBody::LeaseGranted {
                lease: LeaseId::new(granted.lease)
                    .ok_or(CommandError::Missing("the reply names no lease"))?,
                ttl_ms: granted.ttl_ms,
            },
            Wire::Admitted(admitted) => ReplyBody::Admitted {
                id: NodeId(admitted.id),
                role: Role::from_wire(admitted.role())
                    .ok_or(CommandError::Missing("the reply names no role"))?,
            },
            Wire::FleetTaken(taken) => ReplyBody::FleetTaken {
                refused: taken.refused,
            },
            Wire::Refusal(refusal) => ReplyBody::Refused(refusal.try_into()?),
        };
        Ok(Self {
            revision: reply.revision,
            body,
        })
    }
}

impl TryFrom<v1::Entry> for Found {
    type Error = CommandError;

    /// An entry that came without its value gets an empty one. Copies what shares a larger buffer: a
    /// kept answer must not keep a whole message or archive block alive.
    fn try_from(wire: v1::Entry) -> Result<Self, CommandError> {
        let revision =
            |number| Revision::new(number).ok_or(CommandError::Missing("an entry has no revision"));
        let value = match wire.value {
            Some(value) => match Value::try_from(value)? {
                Value::Bytes(bytes) => Value::Bytes(Bytes::copy_from_slice(&bytes)),
                Value::Sealed(payload) => Value::Sealed(Bytes::copy_from_slice(&payload)),
                value => value,
            },
            None => Value::Bytes(Bytes::new()),
        };
        Ok(Self {
            key: parse_key(&wire.key)?,
            entry: Arc::new(Entry {
                meta: Arc::new(VersionMeta {
                    revision: revision(wire.modified)?,
                    created: revision(wire.created)?,
                    version: wire.version,
                    kind: Some(value.kind()),
                    digest: Digest::of(&value),
                    author: wire.author.into(),
                    note: wire.note.into(),
                    at: Timestamp::from_millis(wire.at_ms),
                    lease: LeaseId::new(wire.lease),
                    bytes: counted(&value),
                }),
                value,
            }),
        })
    }
}

impl From<Refusal> for wire::Refusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.reason.into(),
            message: refusal.message.to_string(),
            key: refusal.key.map(|key| key.to_bytes()).unwrap_or_default(),
            found: refusal.found,
            expected: refusal.expected,
            limit: refusal.limit.to_string(),
        }
    }
}

impl TryFrom<wire::Refusal> for Refusal {
    type Error = CommandError;

    fn try_from(refusal: wire::Refusal) -> Result<Self, CommandError> {
        Ok(Self {
            reason: Reason::try_from(refusal.reason).unwrap_or(Reason::Unspecified),
            message: refusal.message.into(),
            key: (!refusal.key.is_empty())
                .then(|| parse_key(&refusal.key))
                .transpose()?,
            found: refusal.found,
            expected: refusal.expected,
            limit: refusal.limit.into(),
        })
    }
}

impl From<TransactionResult> for v1::TransactionResult {
    fn from(result: TransactionResult) -> Self {
        use v1::operation_result::Result as Wire;
        let results = result
            .results
            .into_iter()
            .map(|result| v1::OperationResult {
                result: Some(match result {
                    OperationResult::Range(result) => Wire::Range(result.into()),
                    OperationResult::Put(result) => Wire::Put(result.into()),
                    OperationResult::Delete(result) => Wire::Delete(result.into()),
                    OperationResult::Transaction(result) => Wire::Transaction(result.into()),
                }),
            });
        Self {
            succeeded: result.succeeded,
            results: results.collect(),
        }
    }
}

impl TryFrom<v1::TransactionResult> for TransactionResult {
    type Error = CommandError;

    fn try_from(wire: v1::TransactionResult) -> Result<Self, CommandError> {
        use v1::operation_result::Result as Wire;
        let results = wire.results.into_iter().map(|result| {
            Ok(
                match result
                    .result
                    .ok_or(CommandError::Missing("a result is empty"))?
                {
                    Wire::Range(result) => OperationResult::Range(result.try_into()?),
                    Wire::Put(result) => OperationResult::Put(result.try_into()?),
                    Wire::Delete(result) => OperationResult::Delete(result.try_into()?),
                    Wire::Transaction(result) => OperationResult::Transaction(result.try_into()?),
                },
            )
        });
        Ok(Self {
            succeeded: wire.succeeded,
            results: results.collect::<Result<_, CommandError>>()?,
        })
    }
}

impl From<RangeResult> for v1::RangeResult {
    fn from(result: RangeResult) -> Self {
        let with_values = !result.keys_only;
        let entries = result.entries.iter();
        Self {
            entries: entries
                .map(|found| found.entry.to_wire(&found.key, with_values))
                .collect(),
            more: result.more,
            count: result.count,
        }
    }
}

impl TryFrom<v1::RangeResult> for RangeResult {
    type Error = CommandError;

    fn try_from(wire: v1::RangeResult) -> Result<Self, CommandError> {
        Ok(Self {
            keys_only: wire.entries.iter().any(|entry| entry.value.is_none()),
            entries: founds(wire.entries)?,
            more: wire.more,
            count: wire.count,
        })
    }
}

impl From<PutResult> for v1::PutResult {
    fn from(result: PutResult) -> Self {
        Self {
            previous: result.previous.as_ref().map(Found::to_wire),
        }
    }
}

impl TryFrom<v1::PutResult> for PutResult {
    type Error = CommandError;

    fn try_from(wire: v1::PutResult) -> Result<Self, CommandError> {
        Ok(Self {
            previous: wire.previous.map(Found::try_from).transpose()?,
        })
    }
}

impl From<DeleteResult> for v1::DeleteResult {
    fn from(result: DeleteResult) -> Self {
        Self {
            deleted: result.deleted,
            previous: result.previous.iter().map(Found::to_wire).collect(),
        }
    }
}

impl TryFrom<v1::DeleteResult> for DeleteResult {
    type Error = CommandError;

    fn try_from(wire: v1::DeleteResult) -> Result<Self, CommandError> {
        Ok(Self {
            deleted: wire.deleted,
            previous: founds(wire.previous)?,
        })
    }
}

fn founds(entries: Vec<v1::Entry>) -> Result<Vec<Found>, CommandError> {
    entries.into_iter().map(Found::try_from).collect()
}
