//! `Cluster.Remove`: a member goes for good, and its operator is told what it takes along.
//!
//! The steps: the removal is recorded; from then on its certificate is refused everywhere and what
//! it sealed is refused by `apply`. The leader takes it out of consensus and begins an epoch of the
//! keyring without it, each whether or not anybody still waits here. So a removal that was
//! interrupted is ended by whoever leads next, and asking again answers the same: what the report
//! needs of that moment stands in the replicated state. What is added for a member that counts as
//! compromised is in [`super::rotation`].

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use holdfast_core::{Member, Role, State};
use holdfast_proto::{
    NodeId, Timestamp,
    log::v1::{self as log, command::Body},
    v1,
};
use tonic::Status;

use super::{ClusterService, is_witness, rotation, status};
use crate::{
    caller::Caller,
    host::Host,
    leader::{Leader, at_leader},
    membership,
    peers::request_until,
    status::Reason,
};

/// `Cluster.Remove`. For a member that was removed already it ends what is left to do.
pub(super) async fn remove(
    service: &ClusterService,
    request: v1::RemoveRequest,
    caller: &Caller,
    deadline: Instant,
) -> Result<v1::RemoveResponse, Status> {
    let host = &service.host;
    let id = NodeId(request.id);
    let author = caller.author().to_string();
    host.barrier(deadline).await?;
    rotation::check_caller(host, &request, caller)?;
    let is_removed = |state: &State| state.member(id).is_some_and(|member| member.removed);
    if !host.read(is_removed) {
        check_others(host, id)?;
        let body = Body::MemberRemove(log::MemberRemove {
            id: id.0,
            heard_at_ms: heard_at_ms(host, id, deadline).await,
        });
        service
            .propose(request.request, author, body, deadline)
            .await?;
        tracing::info!(member = %id, "a member was removed");
    }
    // Nobody tells a removed node that consensus goes on without it.
    if id != host.id {
        membership::wait_until(host, deadline, |now| {
            !now.voters.contains(&id) && !now.learners.contains(&id)
        })
        .await?;
    }
    until_left_behind(host, id, deadline).await?;
    let rotation = match request.compromised {
        true => Some(rotation::rotate(host, id, caller, deadline).await?),
        false => None,
    };
    Ok(v1::RemoveResponse {
        rotation,
        header: host.header_now(),
        removal: host.read(|state| Some(report(state, state.member(id)?))),
    })
}

/// Returns once the keyring, if there is one, has an epoch that the member never held.
async fn until_left_behind(host: &Host, id: NodeId, deadline: Instant) -> Result<(), Status> {
    let is_left_behind = |state: &State| {
        let newest = state.newest_epoch().map(|epoch| epoch.epoch);
        newest_held(state, id).is_none_or(|held| newest > Some(held))
    };
    // An epoch makes no revision that could be waited for.
    while !host.read(is_left_behind) {
        if Instant::now() >= deadline {
            return Err(Reason::Deadline.status(
                "the member is removed, but no epoch of the keyring could begin without it yet; \
                 the leader goes on trying, see `kvctl keyring status`; ask again for the report",
            ));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// The newest epoch that was ever wrapped for a member. With it all before can be opened.
fn newest_held(state: &State, id: NodeId) -> Option<u64> {
    let mut newest_first = state.epochs().rev();
    let held = newest_first.find(|epoch| epoch.wraps.contains_key(&id));
    held.map(|epoch| epoch.epoch)
}

/// The versions that a member could read: those there were when it went, if it held keys. Under
/// which epoch they are by now says nothing of that.
fn readable(state: &State, last: u64) -> Vec<v1::ReadableSecret> {
    let mut secrets: Vec<v1::ReadableSecret> = Vec::new();
    let known = state.wraps_after(None).map(|(id, _)| id);
    for version in known.filter(|id| id.revision.get() <= last) {
        let key = version.key.to_bytes();
        let revision = version.revision.get();
        match secrets.last_mut() {
            Some(secret) if secret.key == key => secret.revisions.insert(0, revision),
            _ => secrets.push(v1::ReadableSecret {
                revisions: vec![revision],
                changed_since: state
                    .get(&key)
                    .is_none_or(|entry| entry.meta.revision.get() > last),
                key,
            }),
        }
    }
    secrets
}

/// The versions there were when a member went that nobody can open by now. Those that were destroyed
/// before it came are among them: the history does not say when that was.
fn destroyed(state: &State, last: u64) -> Vec<v1::DestroyedSecret> {
    let mut secrets: Vec<v1::DestroyedSecret> = Vec::new();
    let known = state.destroyed_secrets().into_iter();
    for version in known.filter(|id| id.revision.get() <= last) {
        let revision = version.revision.get();
        match secrets.last_mut() {
            Some(secret) if secret.key[..] == *version.key.as_bytes() => {
                secret.revisions.insert(0, revision);
            }
            _ => secrets.push(v1::DestroyedSecret {
                key: version.key.to_bytes(),
                revisions: vec![revision],
            }),
        }
    }
    secrets
}

fn check_others(host: &Host, id: NodeId) -> Result<(), Status> {
    let mut others = host.replica.status().voters;
    if others.remove(&id) && others.iter().all(|other| is_witness(host, *other)) {
        return Err(Reason::NotPossible.status(format!(
            "node {id} is the last voter that serves clients; a cluster cannot lose it; \
             nothing was changed"
        )));
    }
    Ok(())
}

/// When the leader heard a member last, in cluster time. 0: it cannot say; that holds nothing up.
async fn heard_at_ms(host: &Host, id: NodeId, deadline: Instant) -> u64 {
    let ask = |leader| -> BoxFuture<'_, _> {
        Box::pin(async move {
            match leader {
                Leader::Here => Ok(status::local(host)),
                Leader::There(mut peer) => {
                    let request = request_until(v1::StatusRequest { local: true }, deadline);
                    Ok(peer.status(request).await?.into_inner())
                }
            }
        })
    };
    match at_leader(host, deadline, ask).await {
        // It is here to be heard.
        Ok(leader) if leader.leader == id.0 => leader.cluster_time_ms,
        Ok(leader) => {
            let of_it = leader.heard.iter().find(|heard| heard.member == id.0);
            of_it.map_or(0, |heard| heard.at_ms)
        }
        Err(_) => 0,
    }
}

fn report(state: &State, member: &Member) -> v1::Removal {
    let departure = member.departure;
    let revision = departure.map_or_else(|| state.revision(), |departure| departure.revision);
    let held = newest_held(state, member.id);
    let epoch = state.newest_epoch().map_or(0, |epoch| epoch.epoch);
    let under = |wanted: fn(u64, u64) -> bool| -> u64 {
        let counts = state.wraps_by_epoch();
        let counted = counts.filter(|(by, _)| wanted(*by, epoch));
        counted.map(|(_, count)| count).sum()
    };
    v1::Removal {
        member: Some(member.to_wire()),
        at_ms: departure.map_or(0, |departure| departure.at.as_millis()),
        revision,
        heard_at_ms: departure
            .and_then(|departure| departure.heard)
            .map_or(0, Timestamp::as_millis),
        held_authority: member.role == Role::Voter,
        newest_held: held.unwrap_or(0),
        epoch,
        secrets: held.map_or_else(Vec::new, |_| readable(state, revision)),
        destroyed: held.map_or_else(Vec::new, |_| destroyed(state, revision)),
        versions: under(|_, _| true),
        to_rewrap: under(|by, newest| by < newest),
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
