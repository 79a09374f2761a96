//! What applying a command answered.
//!
//! Replies are kept with their request id, so that a repeat gets the same; entries in them are
//! shared with the state, not copied.

mod row;

use std::sync::Arc;

use holdfast_proto::{Key, LeaseId, NodeId};

pub use holdfast_proto::log::v1::refusal::Reason;

pub(crate) use row::founds_bytes;

use crate::{entry::Found, member::Role};

/// What applying a command answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The newest revision after the command; 0: there is none yet.
    pub revision: u64,
    /// The answer.
    pub body: ReplyBody,
}

/// The answer, by command.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyBody {
    /// Done; nothing more to say.
    Done,
    /// Of a transaction.
    Transact(TransactionResult),
    /// Of a put.
    Put(PutResult),
    /// Of a deletion, or of the end of a lease.
    Delete(DeleteResult),
    /// The lease is there.
    LeaseGranted {
        /// Its id.
        lease: LeaseId,
        /// How long it lives without being renewed, milliseconds.
        ttl_ms: u64,
    },
    /// The node is a member.
    Admitted {
        /// Its id.
        id: NodeId,
        /// What it is to become.
        role: Role,
    },
    /// The reports were taken.
    FleetTaken {
        /// But for these, by their place in the command: there was no room.
        refused: Vec<u32>,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransactionResult {
    /// The compares held.
    pub succeeded: bool,
    /// One for each operation of the branch taken.
    pub results: Vec<OperationResult>,
}

/// What one operation of a transaction did.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "named as the operations")]
pub enum OperationResult {
    Range(RangeResult),
    Put(PutResult),
    Delete(DeleteResult),
    Transaction(TransactionResult),
}

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeResult {
    /// By key.
    pub entries: Vec<Found>,
    /// The entries go without their values.
    pub keys_only: bool,
    /// There is more than the limit allowed.
    pub more: bool,
    /// All keys of the range, whatever the limit.
    pub count: u64,
}

/// What a put replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutResult {
    /// What was there, if the caller asked.
    pub previous: Option<Found>,
}

/// What a deletion took away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteResult {
    /// How many keys.
    pub deleted: u64,
    /// What was there, if the caller asked; by key.
    pub previous: Vec<Found>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people: what, and what to do. Never holds a value.
    pub message: Arc<str>,
    /// The key it is about.
    pub key: Option<Key>,
    /// What was found, where it is a number.
    pub found: u64,
    /// What should have been found.
    pub expected: u64,
    /// Which limit was passed; empty: none.
    pub limit: Arc<str>,
}

impl Reply {
    /// Nothing was changed, and why.
    pub fn refused(revision: u64, refusal: Refusal) -> Self {
        Self {
            revision,
            body: ReplyBody::Refused(refusal),
        }
    }

    /// The newest revision after the command; 0: there is none yet.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Why nothing was changed, if so.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.body {
            ReplyBody::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl Refusal {
    /// With no key and no numbers.
    pub fn new(reason: Reason, message: impl Into<Arc<str>>) -> Self {
        Self {
            reason,
            message: message.into(),
            key: None,
            found: 0,
            expected: 0,
            limit: Arc::default(),
        }
    }

    /// About `key`.
    pub(crate) fn about(mut self, key: &Key) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// With what was found and what should have been.
    pub(crate) fn numbers(mut self, found: u64, expected: u64) -> Self {
        (self.found, self.expected) = (found, expected);
        self
    }

    /// Past the limit called `limit`.
    pub(crate) fn limit(mut self, limit: &'static str) -> Self {
        self.limit = limit.into();
        self
    }
}
