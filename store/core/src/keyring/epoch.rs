//! Epochs: the key of the cluster for as long as the same members hold it, wrapped for each.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{NodeId, Timestamp, limits};
use imbl::OrdMap;

use super::Keyring;
use crate::{
    State,
    hash::{RowBuffer, RowHash},
    reply::{Reason, Refusal},
};

/// A new epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochBegin {
    /// Its number: that of the newest, and one.
    pub epoch: u64,
    /// Tells whether a key is this epoch's.
    pub check: Bytes,
    /// Its key, for each member that holds keys.
    pub wraps: Vec<(NodeId, MemberWrap)>,
    /// Its key, for the recovery key.
    pub recovery_wrap: Bytes,
    /// Of which set that is.
    pub recovery_set: Bytes,
    /// The key of the epoch before; empty for the first.
    pub sealed_previous: Bytes,
    /// Why, for people.
    pub reason: Arc<str>,
}

/// The key of an epoch, for one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberWrap {
    /// The node key that it was wrapped for.
    pub public_key: Bytes,
    /// Empty: it is not kept any more.
    pub wrap: Bytes,
}

/// The newest epoch, for one more member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochWrap {
    /// Which.
    pub epoch: u64,
    /// For whom.
    pub member: NodeId,
    /// Its key.
    pub wrap: MemberWrap,
}

/// An epoch that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochInfo {
    /// Its number.
    pub epoch: u64,
    /// Tells whether a key is this epoch's.
    pub check: Bytes,
    /// Who held it. The wraps themselves are kept while it is the newest.
    pub wraps: OrdMap<NodeId, MemberWrap>,
    /// Its key, for the recovery key. Kept while it is the newest.
    pub recovery_wrap: Bytes,
    /// Of which set that is.
    pub recovery_set: Bytes,
    /// The key of the epoch before; empty for the first.
    pub sealed_previous: Bytes,
    /// Why it began.
    pub reason: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// By whose hand.
    pub author: Arc<str>,
}

impl MemberWrap {
    /// Whether it is still kept.
    pub fn is_there(&self) -> bool {
        !self.wrap.is_empty()
    }
}

impl EpochInfo {
    /// The wrap of a member that can open this epoch by itself.
    pub fn wrap_of(&self, member: NodeId) -> Option<&MemberWrap> {
        self.wraps.get(&member).filter(|wrap| wrap.is_there())
    }
}

impl State {
    /// Begins an epoch that is wrapped for the recovery key `set`.
    pub(crate) fn check_epoch(&self, begin: &EpochBegin, set: &Bytes) -> Result<(), Refusal> {
        let newest = self.keyring.newest_number();
        let moved = |message: String| Refusal::new(Reason::Reseal, message);
        if begin.epoch != newest + 1 {
            return Err(moved(format!(
                "epoch {} cannot follow epoch {newest}; nothing was changed: make one that does",
                begin.epoch
            ))
            .numbers(newest, begin.epoch));
        }
        if begin.recovery_set != *set {
            return Err(moved(
                "the epoch is wrapped for another recovery key than the cluster's; nothing was \
                 changed: make it anew"
                    .to_owned(),
            ));
        }
        if begin.sealed_previous.is_empty() != (newest == 0) {
            return Err(Refusal::new(
                Reason::Invalid,
                "each epoch but the first brings the key of the one before; nothing was changed",
            ));
        }
        if self.keyring.epochs.len() >= limits::EPOCHS {
            let message = format!(
                "the keyring has {} epochs, the most there can be; nothing was changed",
                limits::EPOCHS
            );
            return Err(Refusal::new(Reason::TooMany, message)
                .numbers(newest, limits::EPOCHS as u64)
                .limit("epochs"));
        }
        let mut holders = self.key_holders();
        let fits = begin.wraps.iter().all(|(member, wrap)| {
            let holder = holders.next();
            holder.is_some_and(|(id, key)| id == *member && key.public_key == wrap.public_key)
        });
        if !fits || holders.next().is_some() {
            return Err(moved(
                "the members that hold keys are others than those that the epoch is wrapped for; \
                 nothing was changed: make it anew for those that are there now"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    pub(crate) fn check_epoch_wrap(&self, wanted: &EpochWrap) -> Result<(), Refusal> {
        let newest = self.keyring.newest_number();
        if wanted.epoch != newest {
            let message = format!(
                "epoch {} is not the newest, {newest}; nothing was changed",
                wanted.epoch
            );
            return Err(Refusal::new(Reason::Reseal, message).numbers(newest, wanted.epoch));
        }
        let mut holders = self.key_holders();
        let holder = holders.find(|(id, _)| *id == wanted.member);
        match holder {
            Some((_, key)) if key.public_key == wanted.wrap.public_key => Ok(()),
            _ => Err(Refusal::new(
                Reason::Reseal,
                format!(
                    "member {} holds no keys, or has another node key by now; nothing was changed",
                    wanted.member
                ),
            )),
        }
    }
}

impl Keyring {
    /// The caller has checked it.
    pub(crate) fn begin_epoch(&mut self, begin: EpochBegin, at: Timestamp, author: Arc<str>) {
        if let Some(before) = self.newest().cloned() {
            let mut before = Arc::unwrap_or_clone(before);
            let held = before.wraps.keys().copied();
            before.wraps = held.map(|id| (id, MemberWrap::default())).collect();
            before.recovery_wrap = Bytes::new();
            self.insert_epoch(before);
        }
        self.insert_epoch(EpochInfo {
            epoch: begin.epoch,
            check: begin.check,
            wraps: begin.wraps.into_iter().collect(),
            recovery_wrap: begin.recovery_wrap,
            recovery_set: begin.recovery_set,
            sealed_previous: begin.sealed_previous,
            reason: begin.reason,
            at,
            author,
        });
    }

    /// The caller has checked it.
    pub(crate) fn wrap_for(&mut self, wanted: EpochWrap) {
        if let Some(newest) = self.newest().cloned() {
            let mut changed = Arc::unwrap_or_clone(newest);
            changed.wraps.insert(wanted.member, wanted.wrap);
            self.insert_epoch(changed);
        }
    }

    pub(super) fn insert_epoch(&mut self, epoch: EpochInfo) {
        self.hash.add(row_hash(&epoch));
        if let Some(before) = self.epochs.insert(epoch.epoch, Arc::new(epoch)) {
            self.hash.remove(row_hash(&before));
        }
    }
}

fn row_hash(epoch: &EpochInfo) -> RowHash {
    let mut row = RowBuffer::new(b'e')
        .number(epoch.epoch)
        .bytes(&epoch.check)
        .bytes(&epoch.recovery_wrap)
        .bytes(&epoch.recovery_set)
        .bytes(&epoch.sealed_previous)
        .bytes(epoch.reason.as_bytes())
        .number(epoch.at.as_millis())
        .bytes(epoch.author.as_bytes());
    for (member, wrap) in &epoch.wraps {
        row = row
            .number(member.0)
            .bytes(&wrap.public_key)
            .bytes(&wrap.wrap);
    }
    row.finish()
}
