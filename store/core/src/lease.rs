//! Leases: a key lives only while somebody keeps saying so.
//!
//! Renewals are not replicated: the leader remembers them, and proposes the end of a lease that was
//! not renewed. Invariants: (1) nothing here reads a clock; (2) a lease and its keys go in one
//! revision, so no reader sees half; (3) a lease's keys are exactly the current entries that name it;
//! (4) the end that was proposed for one grant does not hit a later grant of the same id. Cluster
//! time tells them apart: it has moved on since, by the time to live that had to run out.

use holdfast_proto::{Key, LeaseId, Timestamp, limits};
use imbl::{OrdMap, OrdSet};

use crate::{
    hash::{RollingHash, RowBuffer, RowHash},
    limits::Limits,
    reply::{Reason, Refusal},
};

/// A lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// How long it lives without being renewed, milliseconds.
    pub ttl_ms: u64,
    /// Cluster time of the grant.
    pub granted_at: Timestamp,
    /// The keys that live under it.
    pub keys: OrdSet<Key>,
}

/// One grant of a lease that ran out. An id that is granted again is another lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its id.
    pub lease: LeaseId,
    /// Cluster time of the grant that is meant. `None`: whichever is there (an older version wrote
    /// this).
    pub granted_at: Option<Timestamp>,
}

#[derive(Clone, Default)]
pub(crate) struct Leases {
    pub(crate) all: OrdMap<LeaseId, Lease>,
    pub(crate) hash: RollingHash,
}

impl Leases {
    pub(crate) fn grant(
        &mut self,
        id: LeaseId,
        ttl_ms: u64,
        at: Timestamp,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        if !limits::LEASE_TTL_MS.contains(&ttl_ms) {
            let (least, most) = (limits::LEASE_TTL_MS.start(), limits::LEASE_TTL_MS.end());
            let message = format!("a lease lives {least} to {most} ms, not {ttl_ms}");
            return Err(Refusal::new(Reason::Invalid, message).numbers(ttl_ms, *most));
        }
        if self.all.contains_key(&id) {
            let message = format!("lease {id} exists already; take another id");
            return Err(Refusal::new(Reason::LeaseExists, message));
        }
        if self.all.len() >= limits.leases {
            let message = format!(
                "there are {} leases, the most there can be; revoke some",
                self.all.len()
            );
            return Err(Refusal::new(Reason::TooMany, message)
                .numbers(self.all.len() as u64, limits.leases as u64)
                .limit("leases"));
        }
        self.insert(id, ttl_ms, at);
        Ok(())
    }

    pub(crate) fn insert(&mut self, id: LeaseId, ttl_ms: u64, granted_at: Timestamp) {
        self.hash.add(row_hash(id, ttl_ms, granted_at));
        self.all.insert(
            id,
            Lease {
                ttl_ms,
                granted_at,
                keys: OrdSet::new(),
            },
        );
    }

    /// Ends a lease; its keys are the caller's to delete.
    pub(crate) fn end(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.all.remove(&id)?;
        self.hash
            .remove(row_hash(id, lease.ttl_ms, lease.granted_at));
        Some(lease)
    }

    /// Those of `expiries` whose very grant is there.
    pub(crate) fn expired(&self, expiries: &[Expiry]) -> Vec<LeaseId> {
        let is_meant = |expiry: &&Expiry| {
            self.all.get(&expiry.lease).is_some_and(|lease| {
                expiry
                    .granted_at
                    .is_none_or(|granted| granted == lease.granted_at)
            })
        };
        expiries
            .iter()
            .filter(is_meant)
            .map(|expiry| expiry.lease)
            .collect()
    }

    pub(crate) fn check(&self, id: LeaseId) -> Result<(), Refusal> {
        if self.all.contains_key(&id) {
            return Ok(());
        }
        Err(missing(id))
    }

    /// A key moved from one lease to another.
    pub(crate) fn rebind(&mut self, key: &Key, from: Option<LeaseId>, to: Option<LeaseId>) {
        if from == to {
            return;
        }
        if let Some(lease) = from.and_then(|id| self.all.get_mut(&id)) {
            lease.keys.remove(key);
        }
        if let Some(lease) = to.and_then(|id| self.all.get_mut(&id)) {
            lease.keys.insert(key.clone());
        }
    }
}

pub(crate) fn missing(id: LeaseId) -> Refusal {
    let message = format!("there is no lease {id}: it ran out or was revoked; grant a new one");
    Refusal::new(Reason::LeaseMissing, message)
}

fn row_hash(id: LeaseId, ttl_ms: u64, granted_at: Timestamp) -> RowHash {
    RowBuffer::new(b'l')
        .number(id.get())
        .number(ttl_ms)
        .number(granted_at.as_millis())
        .finish()
}
