//! The keyring, as far as everybody may know it: who holds which epoch, what recovers it, and the
//! wraps of the secrets. Nothing here is opened or sealed; it is all bytes.
//!
//! A secret is an entry whose value is a sealed payload. Its *wrap*, the data key sealed by the key
//! of an epoch, is a row of its own for as long as the version is known: rotation replaces it
//! without a revision, and destroying a secret removes it.
//!
//! Invariants:
//! 1. Epochs follow one another without a gap, and none is ever dropped: each seals the key of the
//!    one before, so backups of any age open. What only its holders need (their wraps) goes when the
//!    next begins; who they were stays.
//! 2. An epoch begins only if it is wrapped for just the members that hold keys then. One that was
//!    made before a member was removed cannot begin after: that is the fence.
//! 3. A sealed value is taken only for the version that it becomes, under the newest epoch, and only
//!    once the shares of the recovery key were shown to work.
//! 4. Each wrap belongs to a version that is known; `counts` says how many there are by epoch.

mod destroyed;
mod epoch;
mod holder;
mod perform;
mod recovery;
pub(crate) mod row;
pub(crate) mod secret;

pub use self::{
    epoch::{EpochBegin, EpochInfo, EpochWrap, MemberWrap},
    holder::NodeKey,
    recovery::{Recovery, RecoverySet},
    secret::{Seal, SealedVersion, Wrap},
};

pub(crate) use self::perform::perform;

use std::sync::Arc;

use holdfast_proto::NodeId;
use imbl::OrdMap;

use crate::{
    State,
    entry::VersionId,
    hash::RollingHash,
    reply::{Reason, Refusal},
};

#[derive(Clone, Default)]
pub(crate) struct Keyring {
    pub(crate) holders: OrdMap<NodeId, NodeKey>,
    pub(crate) recovery: Option<Arc<Recovery>>,
    pub(crate) epochs: OrdMap<u64, Arc<EpochInfo>>,
    wraps: OrdMap<VersionId, Wrap>,
    /// Wraps by epoch; none of 0.
    counts: OrdMap<u64, u64>,
    /// What the wraps count for in the state's limit, bytes.
    pub(crate) wrap_bytes: u64,
    pub(crate) hash: RollingHash,
}

impl State {
    /// The newest epoch of the keyring; `None`: there is no keyring yet.
    pub fn newest_epoch(&self) -> Option<&Arc<EpochInfo>> {
        self.keyring.newest()
    }

    /// All epochs, oldest first.
    pub fn epochs(&self) -> impl DoubleEndedIterator<Item = &Arc<EpochInfo>> {
        self.keyring.epochs.values()
    }

    /// What recovers the keyring without any node.
    pub fn recovery(&self) -> Option<&Arc<Recovery>> {
        self.keyring.recovery.as_ref()
    }

    /// The key of a member that holds the keyring or may.
    pub fn node_key(&self, member: NodeId) -> Option<&NodeKey> {
        self.keyring.holders.get(&member)
    }

    /// The members that a new epoch has to be wrapped for.
    pub fn key_holders(&self) -> impl Iterator<Item = (NodeId, &NodeKey)> {
        self.members.present().filter_map(|member| {
            let key = self.keyring.holders.get(&member.id)?;
            member.role.holds_keys().then_some((member.id, key))
        })
    }

    /// Why no secret is accepted, if so.
    pub fn check_keyring(&self) -> Result<u64, Refusal> {
        self.keyring.check_open()
    }
}

impl Keyring {
    pub(crate) fn newest(&self) -> Option<&Arc<EpochInfo>> {
        self.epochs.get_max().map(|(_, epoch)| epoch)
    }

    pub(crate) fn newest_number(&self) -> u64 {
        self.epochs.get_max().map_or(0, |(number, _)| *number)
    }

    /// The newest epoch, if secrets are accepted.
    fn check_open(&self) -> Result<u64, Refusal> {
        let no = |why: &str| Err(Refusal::new(Reason::NoKeyring, why));
        match (&self.recovery, self.newest_number()) {
            (None, _) | (_, 0) => no(
                "this cluster has no keyring yet, so it takes no secrets; make its recovery shares \
                 with `kvctl keyring init-recovery`",
            ),
            (Some(recovery), _) if recovery.verified_at.is_none() => no(
                "no secret is taken until the recovery shares were shown to work; do that with \
                 `kvctl keyring verify-recovery`",
            ),
            (Some(_), newest) => Ok(newest),
        }
    }
}
