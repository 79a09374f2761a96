//! The keyring of a restored cluster: opened once with the recovery shares or the key of a node that
//! was a member, then wrapped for the new node alone.

use bytes::Bytes;
use holdfast_core::{
    Body, Command, Context, EpochBegin, EpochInfo, MemberWrap, NodeKey as HolderKey, State, apply,
};
use holdfast_proto::NodeId;
use holdfast_seal::{
    EpochKey, Keyring, NodeKey, OsRandom, Protector, PublicKey, Recipient, RecoveryKey,
    stream::Unlock,
};

use crate::keyring::{lineage, record};

/// Who opens the keyring of a backup, and the backup itself if it is sealed.
pub enum Holder {
    /// The holders of enough recovery shares.
    Recovery(RecoveryKey),
    /// A node that was a member: its id and its node key.
    Member(NodeId, NodeKey),
}

/// Why the keyring does not open; nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There are secrets, and nothing was given that opens them.
    #[error(
        "the backup holds secrets; give the recovery shares (--shares-file), or the folder of a node that was a member (--node-dir)"
    )]
    NoKey,
    /// It was not wrapped for this holder.
    #[error("the keyring in the backup was not wrapped for node {0}; use the recovery shares")]
    NotAHolder(NodeId),
    /// The wrap does not open.
    #[error("the keyring in the backup does not open: {0}")]
    Closed(String),
    /// The state did not take the new epoch.
    #[error("the keyring of the backup cannot go on: {0}")]
    Refused(String),
}

impl Holder {
    /// What opens a sealed backup.
    pub(crate) fn unlock(&self) -> Unlock<'_> {
        match self {
            Self::Recovery(key) => Unlock::Recovery(key),
            Self::Member(id, key) => Unlock::Member(id.0, key),
        }
    }

    fn open(&self, state: &State, newest: &EpochInfo) -> Result<EpochKey, KeyringError> {
        let lineage = lineage(state).ok_or_else(unreadable)?;
        let record = record(newest).ok_or_else(unreadable)?;
        match self {
            Self::Recovery(key) => {
                key.open_epoch(&lineage, record.epoch, &newest.recovery_wrap, &record.check)
            }
            Self::Member(id, key) => {
                let wrap = newest.wrap_of(*id).ok_or(KeyringError::NotAHolder(*id))?;
                key.open_epoch(&lineage, record.epoch, id.0, &wrap.wrap, &record.check)
            }
        }
        .map_err(|error| KeyringError::Closed(error.to_string()))
    }
}

/// The keys of all epochs, if there is a keyring: what does not open now never will.
pub(super) fn open(
    state: &State,
    holder: Option<&Holder>,
) -> Result<Option<Keyring>, KeyringError> {
    let Some(newest) = state.newest_epoch() else {
        return Ok(None);
    };
    let holder = holder.ok_or(KeyringError::NoKey)?;
    let records: Option<Vec<_>> = state.epochs().map(|epoch| record(epoch)).collect();
    let records = records.ok_or_else(unreadable)?;
    let keyring = Keyring::open(holder.open(state, newest)?, records);
    keyring
        .map(Some)
        .map_err(|error| KeyringError::Closed(error.to_string()))
}

/// Begins the next epoch in a restored state: for `founder`, who is its only member, and for the same
/// recovery key. The wraps of the old members are gone.
pub(super) fn begin(
    state: &mut State,
    newest: &EpochKey,
    founder: NodeId,
    node_key: &NodeKey,
    protector: Protector,
) -> Result<(), KeyringError> {
    let closed = |error: &dyn std::fmt::Display| KeyringError::Closed(error.to_string());
    let (recovery, set) = match state.recovery() {
        Some(recovery) => {
            let key =
                PublicKey::from_bytes(&recovery.public_key).map_err(|error| closed(&error))?;
            (key, recovery.set.clone())
        }
        None => return Err(KeyringError::Refused("it has no recovery key".to_owned())),
    };
    let public_key = Bytes::copy_from_slice(node_key.public().as_bytes());
    let own = HolderKey {
        public_key: public_key.clone(),
        protector: protector.name().into(),
    };
    take(
        state,
        Body::NodeKeySet {
            member: founder,
            key: own,
        },
    )?;
    let random = &mut OsRandom;
    let key = newest.successor(random);
    let wrap = key.wrap_for(random, Recipient::Member(founder.0), node_key.public());
    let begin = EpochBegin {
        epoch: key.epoch().number(),
        check: Bytes::copy_from_slice(key.check().as_bytes()),
        wraps: vec![(
            founder,
            MemberWrap {
                public_key,
                wrap: wrap.into(),
            },
        )],
        recovery_wrap: key.wrap_for(random, Recipient::Recovery, &recovery).into(),
        recovery_set: set,
        sealed_previous: key.seal_previous(random, newest).into(),
        reason: "the cluster was restored from a backup".into(),
    };
    take(state, Body::EpochBegin(Box::new(begin)))
}

/// Has the state do what a command of the cluster would.
fn take(state: &mut State, body: Body) -> Result<(), KeyringError> {
    let context = Context {
        index: 0,
        term: 0,
        at: state.clock(),
    };
    let outcome = apply(state, context, Command::internal("restore", body));
    match outcome.reply.refusal() {
        Some(refusal) => Err(KeyringError::Refused(refusal.message.to_string())),
        None => Ok(()),
    }
}

fn unreadable() -> KeyringError {
    KeyringError::Closed("it has a form that is not known here".to_owned())
}
