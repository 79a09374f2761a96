//! Carrying out what is asked of the keyring.

use holdfast_proto::{Key, NodeId, Revision};
use smallvec::smallvec;

use super::{NodeKey, Recovery, RecoverySet};
use crate::{
    State,
    apply::Work,
    command::Body,
    commit::{Staged, Stamp, commit},
    reply::{DeleteResult, Reason, Refusal, ReplyBody},
};

/// One command of the keyring, whole or not at all.
pub(crate) fn perform(
    state: &mut State,
    stamp: &Stamp,
    body: Body,
    work: &mut Work,
) -> Result<ReplyBody, Refusal> {
    match body {
        Body::NodeKeySet { member, key } => set_node_key(state, member, key)?,
        Body::RecoverySet(set) => set_recovery(state, stamp, *set)?,
        Body::RecoveryVerified(set) => state.keyring.verify(&set, stamp.at)?,
        Body::EpochBegin(begin) => {
            let Some(set) = state.recovery().map(|recovery| recovery.set.clone()) else {
                return Err(Refusal::new(
                    Reason::NoKeyring,
                    "there is no keyring yet; it begins with its recovery shares: \
                     `kvctl keyring init-recovery`",
                ));
            };
            state.check_epoch(&begin, &set)?;
            let author = stamp.author.clone();
            state.keyring.begin_epoch(*begin, stamp.at, author);
        }
        Body::EpochWrap(wrap) => {
            state.check_epoch_wrap(&wrap)?;
            state.keyring.wrap_for(wrap);
        }
        Body::Rewrap { epoch, wraps } => {
            state.rewrap(epoch, wraps)?;
        }
        Body::SecretDestroy { key, revision } => {
            return destroy(state, stamp, &key, revision, work);
        }
        _ => {
            return Err(Refusal::new(
                Reason::Invalid,
                "this command is not known here; update this node",
            ));
        }
    }
    Ok(ReplyBody::Done)
}

fn set_node_key(state: &mut State, member: NodeId, key: NodeKey) -> Result<(), Refusal> {
    if !state.members.find(member)?.role.holds_keys() {
        let message = format!("member {member} is a witness, which never holds a key");
        return Err(Refusal::new(Reason::NotAllowed, message));
    }
    state.keyring.set_node_key(member, key);
    Ok(())
}

fn set_recovery(state: &mut State, stamp: &Stamp, wanted: RecoverySet) -> Result<(), Refusal> {
    state.keyring.check_replaces(&wanted)?;
    state.check_epoch(&wanted.epoch, &wanted.set)?;
    let author = &stamp.author;
    state
        .keyring
        .begin_epoch(wanted.epoch, stamp.at, author.clone());
    state.keyring.insert_recovery(Recovery {
        set: wanted.set,
        public_key: wanted.public_key,
        shares: wanted.shares,
        threshold: wanted.threshold,
        at: stamp.at,
        verified_at: None,
        author: author.clone(),
    });
    Ok(())
}

/// Takes the wraps away; with all of them also the key, if it is a secret now.
fn destroy(
    state: &mut State,
    stamp: &Stamp,
    key: &Key,
    revision: Option<Revision>,
    work: &mut Work,
) -> Result<ReplyBody, Refusal> {
    let current = state.get(key.as_bytes()).map(|entry| entry.meta.revision);
    let sealed = current.filter(|&now| state.sealed_version(key.as_bytes(), now).is_some());
    let deleted = state.destroy_wraps(key, revision);
    let goes = revision.is_none() && sealed.is_some();
    if deleted == 0 && !goes {
        let message = match revision {
            Some(revision) => format!(
                "{key} has no secret of revision {revision} that could be opened; nothing was \
                 destroyed"
            ),
            None => format!("{key} has no secret that could be opened; nothing was destroyed"),
        };
        return Err(Refusal::new(Reason::KeyMissing, message).about(key));
    }
    if goes {
        let staged = Staged {
            writes: smallvec![(key.clone(), None)],
            ..Staged::default()
        };
        commit(state, stamp, staged, work);
    }
    Ok(ReplyBody::Delete(DeleteResult {
        deleted,
        previous: Vec::new(),
    }))
}
