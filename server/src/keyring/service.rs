//! `Keyring`: what people and programs may know and ask of it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use holdfast_core::{EpochInfo, Recovery, State};
use holdfast_proto::{
    log::v1::{self as log, command::Body},
    v1::{self, keyring_server::Keyring},
};
use holdfast_seal::{EscrowProof, Protector};
use tonic::{Request, Response, Status};

use super::epochs;
use crate::{
    author, cluster, deadline,
    host::{Host, Proposal},
    status::{Reason, invalid},
};

/// Serves `Keyring`.
pub(crate) struct KeyringService {
    host: Arc<Host>,
}

impl KeyringService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

#[tonic::async_trait]
impl Keyring for KeyringService {
    async fn status(
        &self,
        request: Request<v1::KeyringStatusRequest>,
    ) -> Result<Response<v1::KeyringStatusResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        self.host.barrier(deadline).await?;
        let members = cluster::statuses(&self.host).await;
        let state = self.host.replica.store().view();
        let mut answer = describe(&state, &members);
        answer.header = self.host.header_now();
        Ok(Response::new(answer))
    }

    async fn init_recovery(
        &self,
        request: Request<v1::InitRecoveryRequest>,
    ) -> Result<Response<v1::InitRecoveryResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = author::of(&request);
        let epoch =
            epochs::begin_with_recovery(&self.host, request.into_inner(), author, deadline).await?;
        Ok(Response::new(v1::InitRecoveryResponse {
            header: self.host.header_now(),
            epoch,
        }))
    }

    async fn challenge_recovery(
        &self,
        request: Request<v1::ChallengeRecoveryRequest>,
    ) -> Result<Response<v1::ChallengeRecoveryResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        self.host.barrier(deadline).await?;
        let state = self.host.replica.store().view();
        let (recovery, newest) = there(&state)?;
        Ok(Response::new(v1::ChallengeRecoveryResponse {
            header: self.host.header_now(),
            challenge: challenge(self.host.replica.now_ms()),
            lineage: state
                .cluster()
                .map_or_else(String::new, |cluster| cluster.lineage.to_string()),
            epoch: newest.epoch,
            recovery_wrap: newest.recovery_wrap.clone(),
            recovery: Some(recovery.to_wire()),
            check: newest.check.clone(),
        }))
    }

    async fn verify_recovery(
        &self,
        request: Request<v1::VerifyRecoveryRequest>,
    ) -> Result<Response<v1::VerifyRecoveryResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = author::of(&request);
        let request = request.into_inner();
        let challenge = fresh(&request.challenge, self.host.replica.now_ms())?;
        let proof: [u8; 32] = request.proof[..]
            .try_into()
            .map_err(|_| invalid("a proof has 32 bytes"))?;
        self.host.barrier(deadline).await?;
        let set = {
            let state = self.host.replica.store().view();
            let keyring = self.opened(&state, deadline).await?;
            let (recovery, _) = there(&state)?;
            let proof = EscrowProof::from_bytes(proof);
            if !keyring.newest().verify_escrow(&challenge, &proof) {
                return Err(Reason::NotAllowed.status(
                    "the proof is not that of the newest epoch's key: the shares are of another \
                     set, or a new epoch began meanwhile; nothing was changed, ask for a new \
                     challenge",
                ));
            }
            recovery.set.clone()
        };
        let proposal = Proposal {
            request: request.request,
            author,
            note: String::new(),
            body: Body::RecoveryVerified(log::RecoveryVerified { set }),
        };
        self.host.propose(proposal, deadline).await?;
        Ok(Response::new(v1::VerifyRecoveryResponse {
            header: self.host.header_now(),
        }))
    }

    async fn rotate(
        &self,
        request: Request<v1::RotateRequest>,
    ) -> Result<Response<v1::RotateResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = author::of(&request);
        let request = request.into_inner();
        let (id, reason) = (request.request, request.reason);
        let epoch = epochs::rotate(&self.host, id, author, &reason, deadline).await?;
        Ok(Response::new(v1::RotateResponse {
            header: self.host.header_now(),
            epoch,
        }))
    }
}

impl KeyringService {
    /// The opened keyring; an epoch that began a moment ago is opened in a moment.
    async fn opened(
        &self,
        state: &State,
        deadline: Instant,
    ) -> Result<Arc<holdfast_seal::Keyring>, Status> {
        loop {
            match self.host.keys.opened(state) {
                Err(status) if Reason::KeyringClosed.is_of(&status) => {
                    epochs::pause(deadline, status).await?;
                }
                done => return done,
            }
        }
    }
}

fn there(state: &State) -> Result<(&Arc<Recovery>, &Arc<EpochInfo>), Status> {
    let both = state.recovery().zip(state.newest_epoch());
    both.ok_or_else(|| {
        Reason::NoKeyring
            .status("there is no recovery key yet; make one with `kvctl keyring init-recovery`")
    })
}

/// The time of the question, so that any node can take the answer, and chance.
fn challenge(now_ms: u64) -> Bytes {
    let mut challenge = now_ms.to_be_bytes().to_vec();
    challenge.extend_from_slice(&rand::random::<[u8; 24]>());
    challenge.into()
}

fn fresh(challenge: &[u8], now_ms: u64) -> Result<[u8; 32], Status> {
    let whole: [u8; 32] = challenge
        .try_into()
        .map_err(|_| invalid("a challenge has 32 bytes; take the one that the cluster gave"))?;
    let (at, _) = whole
        .split_first_chunk::<8>()
        .expect("32 bytes begin with 8");
    if u64::from_be_bytes(*at).abs_diff(now_ms) > CHALLENGE_MS {
        return Err(Reason::NotAllowed
            .status("the challenge is too old; nothing was changed, ask for a new one"));
    }
    Ok(whole)
}

fn describe(state: &State, members: &[v1::MemberStatus]) -> v1::KeyringStatusResponse {
    let newest = state.newest_epoch().map_or(0, |epoch| epoch.epoch);
    let count = |wanted: u64| {
        let found = state.wraps_by_epoch().find(|(epoch, _)| *epoch == wanted);
        found.map_or(0, |(_, count)| count)
    };
    let holders: Vec<_> = members
        .iter()
        .filter_map(|row| holder(state, row))
        .collect();
    v1::KeyringStatusResponse {
        header: None,
        epoch: newest,
        epochs: state
            .epochs()
            .map(|epoch| v1::EpochStatus {
                epoch: epoch.epoch,
                at_ms: epoch.at.as_millis(),
                author: epoch.author.to_string(),
                reason: epoch.reason.to_string(),
                secrets: count(epoch.epoch),
                holders: epoch.wraps.keys().map(|member| member.0).collect(),
            })
            .collect(),
        recovery: state.recovery().map(|recovery| recovery.to_wire()),
        secrets: state.wraps_by_epoch().map(|(_, count)| count).sum(),
        rewrapped: count(newest),
        problems: problems(state, &holders),
        holders,
    }
}

/// A member's hold on the keyring; `None`: it is to have none.
fn holder(state: &State, row: &v1::MemberStatus) -> Option<v1::HolderStatus> {
    let member = row.member.as_ref()?;
    let id = holdfast_proto::NodeId(member.id);
    if !state.member(id)?.role.holds_keys() {
        return None;
    }
    let newest = state.newest_epoch();
    let protector = state.node_key(id).map_or("", |key| &key.protector);
    let opens = newest.is_some_and(|newest| row.keyring_epoch == newest.epoch);
    let problem = match (newest.is_some(), row.reachable, opens) {
        (false, ..) | (true, true, true) => row.keyring_problem.clone(),
        (true, false, _) => {
            "it does not answer, so nobody knows whether it opens the keyring".to_owned()
        }
        (true, true, false) if row.keyring_problem.is_empty() => {
            "it has not opened the newest epoch yet".to_owned()
        }
        (true, true, false) => row.keyring_problem.clone(),
    };
    Some(v1::HolderStatus {
        member: member.id,
        name: member.name.clone(),
        wrapped: newest.is_some_and(|newest| newest.wrap_of(id).is_some()),
        opens,
        opened_at_ms: row.keyring_opened_at_ms,
        protector: protector.to_owned(),
        protects: Protector::from_name(protector)
            .map_or("", Protector::protects)
            .to_owned(),
        problem,
    })
}

/// What is wrong with the keyring, in words, worst first.
fn problems(state: &State, holders: &[v1::HolderStatus]) -> Vec<String> {
    let mut problems: Vec<String> = holders
        .iter()
        .filter(|holder| !holder.problem.is_empty())
        .map(|holder| format!("{}: {}", holder.name, holder.problem))
        .collect();
    problems.extend(gate(state));
    problems
}

/// Why no secret is accepted, if so.
fn gate(state: &State) -> Option<String> {
    let refusal = state.check_keyring().err()?;
    Some(refusal.message.to_string())
}

/// A challenge is good for this long.
const CHALLENGE_MS: u64 = 10 * 60 * 1_000;
