//! New epochs: made by a node that holds the newest, for just the members that hold keys.

use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast_core::State;
use holdfast_proto::{
    log::v1::{self as log, command::Body},
    v1,
};
use holdfast_seal::{Epoch, EpochKey, OsRandom, PublicKey, Recipient, SetId};
use tonic::Status;

use super::lineage;
use crate::{
    host::{Host, Proposal},
    status::{Reason, invalid},
};

/// Begins a new epoch, as often as it takes: members come and go in between. Returns its number.
pub(crate) async fn rotate(
    host: &Host,
    request: Option<v1::RequestId>,
    author: String,
    reason: &str,
    deadline: Instant,
) -> Result<u64, Status> {
    host.barrier(deadline).await?;
    begin(host, request, author, deadline, |host, state| {
        let recovery = state.recovery().ok_or_else(none)?;
        let key = PublicKey::from_bytes(&recovery.public_key).map_err(invalid)?;
        make(host, state, &key, &recovery.set, reason).map(Body::EpochBegin)
    })
    .await
}

/// Takes a recovery key, with an epoch that is wrapped for it.
pub(super) async fn begin_with_recovery(
    host: &Host,
    request: v1::InitRecoveryRequest,
    author: String,
    deadline: Instant,
) -> Result<u64, Status> {
    let key = PublicKey::from_bytes(&request.public_key).map_err(invalid)?;
    if SetId::of(&key).as_bytes()[..] != request.set[..] {
        return Err(invalid(
            "the set of shares is not that of the public key; nothing was changed",
        ));
    }
    host.barrier(deadline).await?;
    begin(
        host,
        request.request.clone(),
        author,
        deadline,
        |host, state| {
            let reason = match request.replaces {
                None => "the keyring begins",
                Some(_) => "the recovery key was replaced",
            };
            let epoch = make(host, state, &key, &request.set, reason)?;
            Ok(Body::RecoverySet(log::RecoverySet {
                recovery: Some(v1::Recovery {
                    set: request.set.clone(),
                    public_key: request.public_key.clone(),
                    shares: request.shares,
                    threshold: request.threshold,
                    ..v1::Recovery::default()
                }),
                replaces: request.replaces.clone(),
                epoch: Some(epoch),
            }))
        },
    )
    .await
}

async fn begin(
    host: &Host,
    request: Option<v1::RequestId>,
    author: String,
    deadline: Instant,
    mut make: impl FnMut(&Host, &State) -> Result<Body, Status>,
) -> Result<u64, Status> {
    loop {
        let state = host.replica.store().view();
        let proposal = match make(host, &state) {
            Ok(body) => Proposal {
                request: request.clone(),
                author: author.clone(),
                note: String::new(),
                body,
            },
            // An epoch that began a moment ago is opened in a moment.
            Err(status) if Reason::KeyringClosed.is_of(&status) => {
                pause(deadline, status).await?;
                continue;
            }
            Err(status) => return Err(status),
        };
        match host.propose(proposal, deadline).await {
            Ok(_) => {
                return Ok(host.read(|state| state.newest_epoch().map_or(0, |epoch| epoch.epoch)));
            }
            Err(status) if Reason::Reseal.is_of(&status) => pause(deadline, status).await?,
            Err(status) => return Err(status),
        }
    }
}

/// Waits a moment before another attempt, unless there is no time for one.
pub(crate) async fn pause(deadline: Instant, status: Status) -> Result<(), Status> {
    if Instant::now() + AGAIN >= deadline {
        return Err(status);
    }
    tokio::time::sleep(AGAIN).await;
    Ok(())
}

/// An epoch after the newest of `state`.
fn make(
    host: &Host,
    state: &State,
    recovery: &PublicKey,
    set: &Bytes,
    reason: &str,
) -> Result<log::EpochBegin, Status> {
    let lineage = lineage(state).ok_or_else(|| invalid("the cluster is not formed yet"))?;
    let random = &mut OsRandom;
    let (key, sealed_previous) = match state.newest_epoch() {
        None => (
            EpochKey::generate(random, &lineage, Epoch::FIRST),
            Vec::new(),
        ),
        Some(_) => {
            let keyring = host.keys.opened(state)?;
            let newest = keyring.newest();
            let next = newest.successor(random);
            let sealed = next.seal_previous(random, newest);
            (next, sealed)
        }
    };
    let epoch = key.epoch().number();
    let mut wraps = Vec::new();
    for (member, node_key) in state.key_holders() {
        let public = PublicKey::from_bytes(&node_key.public_key).map_err(invalid)?;
        wraps.push(log::EpochWrap {
            epoch,
            member: member.0,
            public_key: node_key.public_key.clone(),
            wrap: key
                .wrap_for(random, Recipient::Member(member.0), &public)
                .into(),
        });
    }
    if wraps.is_empty() {
        return Err(
            Reason::KeyringClosed.status("no node has told its key yet; ask again in a moment")
        );
    }
    Ok(log::EpochBegin {
        epoch,
        check: Bytes::copy_from_slice(key.check().as_bytes()),
        wraps,
        recovery_wrap: key.wrap_for(random, Recipient::Recovery, recovery).into(),
        recovery_set: set.clone(),
        sealed_previous: sealed_previous.into(),
        reason: reason.to_owned(),
    })
}

fn none() -> Status {
    Reason::NoKeyring.status(
        "there is no keyring yet; it begins with its recovery shares: `kvctl keyring init-recovery`",
    )
}

const AGAIN: Duration = Duration::from_millis(25);
