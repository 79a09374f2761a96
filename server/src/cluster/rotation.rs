//! The part of `Cluster.Remove` that a compromised member adds, and `Cluster.RetireAuthority`.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_core::{Authority, Role, State};
use holdfast_proto::{
    NodeId, Timestamp,
    log::v1::{self as log, command::Body},
    v1,
};
use tonic::Status;

use super::{ClusterService, statuses};
use crate::{
    authority::{by_number, door},
    caller::Caller,
    host::{Host, Proposal},
    identity::{Identity, PublicKey, authority::to_pem},
    status::{Reason, invalid},
    tls::Standing,
};

/// Refuses a removal that somebody asks for with a certificate of an authority that leaves, unless it
/// is the very one that began the rotation, by who began it.
pub(super) fn check_caller(
    host: &Host,
    request: &v1::RemoveRequest,
    caller: &Caller,
) -> Result<(), Status> {
    if caller.standing(&host.trust) != Standing::Leaving {
        return Ok(());
    }
    let public_key = &caller.vouched().public_key;
    let is_his = host.read(|state| {
        let cause = state.next_authority().and_then(|next| next.cause.as_ref());
        cause.is_none_or(|cause| {
            cause.member == NodeId(request.id) && cause.public_key == *public_key
        })
    });
    match is_his {
        true => Ok(()),
        false => Err(Reason::NotAllowed.status(door::LEAVING)),
    }
}

/// Rotates the authority because of a removed member, up to where every member that answers has taken
/// the next one. For who asks again it goes on, or tells what was done.
pub(super) async fn rotate(
    host: &Host,
    id: NodeId,
    caller: &Caller,
    deadline: Instant,
) -> Result<v1::AuthorityRotation, Status> {
    let public_key = caller.vouched().public_key.clone();
    if host.read(|state| state.authority_after(id).is_none()) {
        let body = Body::AuthorityWanted(log::AuthorityWanted {
            member: id.0,
            replaces: Bytes::copy_from_slice(&host.trust.own()),
            public_key: public_key.clone(),
        });
        host.propose_own(caller.author().to_string(), String::new(), body, deadline)
            .await?;
        tracing::info!(member = %id, "the authority is to be replaced");
    }
    let away = until_taken(host, id, deadline).await?;
    let clients = statuses(host).await.into_iter();
    let clients: BTreeSet<String> = clients.flat_map(|row| row.clients_to_renew).collect();
    let authority = authority_after(host, id)?;
    let client_certificate = certify(host, &authority, caller, &public_key)?;
    let cause = authority.cause.as_ref();
    let retired = host.read(|state| {
        let mut all = state.authorities();
        let before = all.find(|one| one.generation + 1 == authority.generation);
        before.and_then(|before| before.retired)
    });
    Ok(v1::AuthorityRotation {
        generation: authority.generation,
        ca_certificate: to_pem(&authority.certificate.to_vec().into()),
        client_certificate,
        asked_by: cause.map_or_else(String::new, |cause| cause.author.to_string()),
        asked_at_ms: cause.map_or(0, |cause| cause.at.as_millis()),
        retired_at_ms: retired.map_or(0, Timestamp::as_millis),
        taken: authority.taken.iter().map(|member| member.0).collect(),
        away,
        clients_to_renew: clients.into_iter().collect(),
    })
}

/// Returns once every member that answers has taken the next authority; those that do not answer.
async fn until_taken(host: &Host, id: NodeId, deadline: Instant) -> Result<Vec<u64>, Status> {
    loop {
        let missing = host.read(|state| missing(state, id));
        if let Some(missing) = &missing
            && missing.is_empty()
        {
            return Ok(Vec::new());
        }
        if let Some(missing) =
            missing.filter(|missing| host.read(|state| most_have(state, id, missing)))
        {
            let answering: BTreeSet<u64> = statuses(host)
                .await
                .into_iter()
                .filter(|row| row.reachable)
                .filter_map(|row| Some(row.member?.id))
                .collect();
            if missing.iter().all(|member| !answering.contains(member)) {
                return Ok(missing);
            }
        }
        if Instant::now() >= deadline {
            return Err(Reason::Deadline.status(
                "the member is removed, and the cluster's next authority is being taken by the \
                 nodes; that goes on in the background, and the old one is trusted meanwhile; ask \
                 again to end it",
            ));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The members that have not taken the authority yet. `None`: it is not made yet.
fn missing(state: &State, id: NodeId) -> Option<Vec<u64>> {
    let authority = state.authority_after(id)?;
    if authority.certificate.is_empty() {
        return None;
    }
    let present = state.members().filter(|member| !member.removed);
    let missing = present.filter(|member| !authority.taken.contains(&member.id));
    Some(missing.map(|member| member.id.0).collect())
}

/// Whether most voters have it although these members have not.
fn most_have(state: &State, id: NodeId, missing: &[u64]) -> bool {
    let voters = || {
        let members = state.members();
        members.filter(|member| !member.removed && member.role == Role::Voter)
    };
    let have = voters().filter(|member| !missing.contains(&member.id.0));
    state.authority_after(id).is_some() && 2 * have.count() > voters().count()
}

fn authority_after(host: &Host, id: NodeId) -> Result<Authority, Status> {
    let found = host.read(|state| state.authority_after(id).cloned());
    found
        .map(|authority| Authority::clone(&authority))
        .ok_or_else(|| invalid("the rotation is not known here yet; ask again in a moment"))
}

/// A certificate of the next authority for the key that began the rotation, or that it certified
/// before. Empty: the caller has another.
fn certify(
    host: &Host,
    authority: &Authority,
    caller: &Caller,
    public_key: &Bytes,
) -> Result<String, Status> {
    let cause_key = authority.cause.as_ref().map(|cause| &cause.public_key);
    let Some(Identity::Client { name, .. }) = caller.identity() else {
        return Ok(String::new());
    };
    if public_key.is_empty() || cause_key != Some(public_key) {
        return Ok(String::new());
    }
    let held = by_number(host, authority.generation).ok_or_else(|| {
        Reason::NoAuthority.status(
            "this node does not hold the key of the next authority, so it cannot certify you; ask a \
             voter, the rotation goes on",
        )
    })?;
    let key = PublicKey::from_der(public_key).map_err(invalid)?;
    let certificate = held.sign_client(name, &key, host.now()).map_err(invalid)?;
    Ok(to_pem(&certificate))
}

/// `Cluster.RetireAuthority`: the authority before this generation is trusted no more.
pub(super) async fn retire(
    service: &ClusterService,
    request: v1::RetireAuthorityRequest,
    caller: &Caller,
    deadline: Instant,
) -> Result<v1::RetireAuthorityResponse, Status> {
    let host = &service.host;
    host.barrier(deadline).await?;
    let generation = request.generation.saturating_sub(1);
    let find = |generation: u64| {
        host.read(|state| {
            let mut all = state.authorities();
            all.find(|one| one.generation == generation).cloned()
        })
    };
    let (Some(_), Some(next)) = (find(generation), find(request.generation)) else {
        return Err(Reason::NotPossible.status(format!(
            "there is no rotation to authority {}; nothing was changed",
            request.generation
        )));
    };
    host.trust.follow(&host.replica.store().view());
    if !host.trust.is_by(caller.vouched().by, &next.certificate) {
        return Err(Reason::NotAllowed.status(
            "the old authority is retired only by who shows a certificate of the new one, so that \
             nobody locks everybody out; renew the context first: `kvctl member remove NODE \
             --compromised`",
        ));
    }
    let proposal = Proposal {
        request: request.request,
        author: caller.author().to_string(),
        note: String::new(),
        body: Body::AuthorityRetire(log::AuthorityRetire { generation }),
    };
    host.propose(proposal, deadline).await?;
    host.trust.follow(&host.replica.store().view());
    let retired = find(generation).and_then(|old| old.retired);
    tracing::info!(generation, "the authority was retired");
    Ok(v1::RetireAuthorityResponse {
        header: host.header_now(),
        retired_at_ms: retired.map_or(0, Timestamp::as_millis),
    })
}

const LOOK_AGAIN: Duration = Duration::from_millis(100);
