//! The recovery key: what opens the keyring when no node is left.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{Timestamp, v1};

use super::{EpochBegin, Keyring};
use crate::{
    hash::{RowBuffer, RowHash},
    reply::{Reason, Refusal},
};

/// The public half of the recovery key, and what is known of its shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Names this set of shares.
    pub set: Bytes,
    /// What epochs are wrapped for.
    pub public_key: Bytes,
    /// How many shares there are …
    pub shares: u32,
    /// … and how many of them recover.
    pub threshold: u32,
    /// Since when.
    pub at: Timestamp,
    /// When the shares were shown to work; `None`: they were not yet.
    pub verified_at: Option<Timestamp>,
    /// Who made it.
    pub author: Arc<str>,
}

/// A recovery key that is to be the cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySet {
    /// Names the set of shares.
    pub set: Bytes,
    /// The public half.
    pub public_key: Bytes,
    /// How many shares there are …
    pub shares: u32,
    /// … and how many of them recover.
    pub threshold: u32,
    /// The set that it replaces; `None`: there must be none.
    pub replaces: Option<Bytes>,
    /// The epoch that is wrapped for it.
    pub epoch: EpochBegin,
}

impl Recovery {
    /// As on the wire.
    pub fn to_wire(&self) -> v1::Recovery {
        v1::Recovery {
            set: self.set.clone(),
            public_key: self.public_key.clone(),
            shares: self.shares,
            threshold: self.threshold,
            at_ms: self.at.as_millis(),
            verified_at_ms: self.verified_at.map_or(0, Timestamp::as_millis),
            author: self.author.to_string(),
        }
    }
}

impl Keyring {
    /// Whether a new set may take the place of what is there.
    pub(crate) fn check_replaces(&self, wanted: &RecoverySet) -> Result<(), Refusal> {
        let conflict = |message: &str| Err(Refusal::new(Reason::Conflict, message));
        match (&self.recovery, &wanted.replaces) {
            (None, None) => Ok(()),
            (Some(there), Some(replaces)) if there.set == *replaces => Ok(()),
            (Some(_), None) => conflict(
                "there is a recovery key already; nothing was changed. To replace it, and make its \
                 shares worthless, name its set (see `kvctl keyring status`)",
            ),
            (Some(_), Some(_)) => conflict(
                "the recovery key is of another set than the one to be replaced; nothing was \
                 changed: look at `kvctl keyring status`",
            ),
            (None, Some(_)) => conflict("there is no recovery key to replace; nothing was changed"),
        }
    }

    /// The shares of a set were shown to work.
    pub(crate) fn verify(&mut self, set: &Bytes, now: Timestamp) -> Result<(), Refusal> {
        let Some(recovery) = &self.recovery else {
            return Err(Refusal::new(
                Reason::NoKeyring,
                "there is no recovery key yet; make one with `kvctl keyring init-recovery`",
            ));
        };
        if recovery.set != *set {
            return Err(Refusal::new(
                Reason::Conflict,
                "these shares are not of the recovery key that the cluster has now",
            ));
        }
        let recovery = Recovery {
            verified_at: Some(now),
            ..Recovery::clone(recovery)
        };
        self.insert_recovery(recovery);
        Ok(())
    }

    pub(crate) fn insert_recovery(&mut self, recovery: Recovery) {
        self.hash.add(row_hash(&recovery));
        if let Some(before) = self.recovery.replace(Arc::new(recovery)) {
            self.hash.remove(row_hash(&before));
        }
    }
}

fn row_hash(recovery: &Recovery) -> RowHash {
    RowBuffer::new(b'y')
        .bytes(&recovery.set)
        .bytes(&recovery.public_key)
        .number(recovery.shares.into())
        .number(recovery.threshold.into())
        .number(recovery.at.as_millis())
        .number(recovery.verified_at.map_or(0, Timestamp::as_millis))
        .bytes(recovery.author.as_bytes())
        .finish()
}
