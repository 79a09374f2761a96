//! Leases: grants and ends are replicated, renewals are not.
//!
//! A renewal is kept by the leader's [`crate::renewals`] clock alone. It is acknowledged only after
//! a barrier confirmed that the node still leads and the state still holds the lease, so a deposed
//! leader renews nothing. A follower asks the leader, in one message for all leases it has at hand.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _, future::BoxFuture, stream};
use holdfast_core::State;
use holdfast_proto::{
    Key, KeyRange, LeaseId,
    log::v1::{self as log, command::Body, reply},
    peer::v1 as peer,
    v1::{self, lease_server::Lease},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    access::Permit,
    author,
    caller::Caller,
    convert, deadline,
    host::{self, Host, Proposal},
    leader::{Leader, at_leader, not_leader},
    peers::request_until,
    renewals::{Grant, Renewal},
    status::Reason,
};

/// `holdfast.v1.Lease` of one node.
pub(crate) struct LeaseService {
    host: Arc<Host>,
}

impl LeaseService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn grant(
        &self,
        request: Request<v1::LeaseGrantRequest>,
    ) -> Result<Response<v1::LeaseGrantResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = author::of(&request);
        let request = request.into_inner();
        let proposal = Proposal {
            request: request.request,
            author,
            note: String::new(),
            body: Body::LeaseGrant(log::LeaseGrant {
                lease: pick(request.lease),
                ttl_ms: request.ttl_ms,
            }),
        };
        let reply = self.host.propose(proposal, deadline).await?.into_wire();
        let Some(reply::Body::LeaseGranted(granted)) = reply.body else {
            return Err(Reason::Invalid.status(
                "this request id was used before, for another kind of request; \
                 use a new sequence for each request",
            ));
        };
        Ok(Response::new(v1::LeaseGrantResponse {
            header: self.host.header(reply.revision),
            lease: granted.lease,
            ttl_ms: granted.ttl_ms,
        }))
    }

    async fn revoke(
        &self,
        request: Request<v1::LeaseRevokeRequest>,
    ) -> Result<Response<v1::LeaseRevokeResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let author = caller.author().to_string();
        let request = request.into_inner();
        let lease = convert::lease(request.lease)?;
        let check = |state: &State, permit: &Permit| permit.end_lease(state, lease.get());
        self.host.permit(&caller, deadline, check).await?;
        let proposal = Proposal {
            request: request.request,
            author,
            note: String::new(),
            body: Body::LeaseRevoke(log::LeaseRevoke { lease: lease.get() }),
        };
        let reply = self.host.propose(proposal, deadline).await?.into_wire();
        let deleted = match reply.body {
            Some(reply::Body::Delete(result)) => result.deleted,
            _ => 0,
        };
        Ok(Response::new(v1::LeaseRevokeResponse {
            header: self.host.header(reply.revision),
            revision: if deleted == 0 { 0 } else { reply.revision },
            deleted,
        }))
    }

    type KeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<v1::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn keep_alive(
        &self,
        request: Request<Streaming<v1::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        let (host, caller) = (self.host.clone(), Caller::of(&request));
        // All that arrived meanwhile is renewed together; answers keep the order.
        let answers = request
            .into_inner()
            .ready_chunks(RENEWALS_AT_ONCE)
            .take_until(host.closing.clone().cancelled_owned())
            .then(move |asked| {
                let (host, caller) = (host.clone(), caller.clone());
                async move { stream::iter(answer(&host, &caller, asked).await) }
            })
            .flatten();
        let closing = self.host.closing.clone();
        let end = stream::once(async move { closing.is_cancelled() })
            .filter_map(|stopping| async move { stopping.then(|| Err(host::closing())) });
        Ok(Response::new(Box::pin(answers.chain(end))))
    }

    async fn time_to_live(
        &self,
        request: Request<v1::LeaseTimeToLiveRequest>,
    ) -> Result<Response<v1::LeaseTimeToLiveResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let id = convert::lease(request.lease)?;
        self.host.barrier(deadline).await?;
        if request.keys {
            let check = |state: &State, permit: &Permit| permit.list_lease(state, id);
            self.host.permit(&caller, deadline, check).await?;
        }
        let found = self.host.read(|state| {
            state.lease(id).map(|lease| {
                let keys = lease.keys.iter().map(Key::to_bytes);
                (
                    lease.ttl_ms,
                    if request.keys {
                        keys.collect()
                    } else {
                        Vec::new()
                    },
                )
            })
        });
        let (ttl_ms, keys) = found.unwrap_or_default();
        let remaining_ms = if ttl_ms == 0 {
            0
        } else {
            remaining_ms(&self.host, id, deadline).await?.min(ttl_ms)
        };
        Ok(Response::new(v1::LeaseTimeToLiveResponse {
            header: self.host.header_now(),
            lease: id.get(),
            ttl_ms,
            remaining_ms,
            keys,
        }))
    }

    async fn list(
        &self,
        request: Request<v1::LeaseListRequest>,
    ) -> Result<Response<v1::LeaseListResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        self.host.barrier(deadline).await?;
        let check = |_: &State, permit: &Permit| permit.list(&KeyRange::all());
        let caller = Caller::of(&request);
        self.host.permit(&caller, deadline, check).await?;
        let state = self.host.replica.store().view();
        Ok(Response::new(v1::LeaseListResponse {
            header: self.host.header(state.revision()),
            leases: state.leases().map(|(id, _)| id.get()).collect(),
        }))
    }
}

/// The id the caller wants, or a random one that no command line mistakes for a negative number.
pub(crate) fn pick(wanted: u64) -> u64 {
    match wanted {
        0 => rand::random_range(1..=i64::MAX.unsigned_abs()),
        wanted => wanted,
    }
}

/// Renews what one stream asked for; an error ends the stream.
async fn answer(
    host: &Host,
    caller: &Caller,
    asked: Vec<Result<v1::LeaseKeepAliveRequest, Status>>,
) -> Vec<Result<v1::LeaseKeepAliveResponse, Status>> {
    let mut leases = Vec::with_capacity(asked.len());
    let mut broken = None;
    for request in asked {
        match request {
            Ok(request) => leases.push(request.lease),
            Err(status) => broken = Some(Err(status)),
        }
    }
    let deadline = Instant::now() + RENEWAL_TIMEOUT;
    let renewed = match may_renew(host, caller, &leases, deadline).await {
        Ok(()) => renew(host, &leases, deadline).await,
        Err(refusal) => Err(refusal),
    };
    let mut answers = match renewed {
        Ok(ttls) => leases
            .into_iter()
            .zip(ttls)
            .map(|(lease, ttl_ms)| {
                Ok(v1::LeaseKeepAliveResponse {
                    header: host.header_now(),
                    lease,
                    ttl_ms,
                })
            })
            .collect(),
        Err(status) => vec![Err(status)],
    };
    answers.extend(broken);
    answers
}

/// Whether the caller may keep all of these alive. Refused is the whole of what arrived together.
pub(crate) async fn may_renew(
    host: &Host,
    caller: &Caller,
    leases: &[u64],
    deadline: Instant,
) -> Result<(), Status> {
    let check = |state: &State, permit: &Permit| {
        let mut leases = leases.iter();
        leases.try_for_each(|&lease| permit.use_lease(state, lease))
    };
    host.permit(caller, deadline, check).await
}

/// Renews leases, wherever the leader is. Answers their time to live, 0 for one that is gone.
pub(crate) async fn renew(
    host: &Host,
    leases: &[u64],
    deadline: Instant,
) -> Result<Vec<u64>, Status> {
    let ask = |leader| -> BoxFuture<'_, _> {
        Box::pin(async move {
            match leader {
                Leader::Here => renew_here(host, leases, deadline).await,
                Leader::There(mut peer) => {
                    let message = peer::RenewLeasesRequest {
                        leases: leases.to_vec(),
                    };
                    let answer = peer.renew_leases(request_until(message, deadline)).await?;
                    Ok(answer.into_inner().ttl_ms)
                }
            }
        })
    };
    at_leader(host, deadline, ask).await
}

pub(crate) async fn remaining_ms(
    host: &Host,
    lease: LeaseId,
    deadline: Instant,
) -> Result<u64, Status> {
    let ask = |leader| -> BoxFuture<'_, _> {
        Box::pin(async move {
            match leader {
                Leader::Here => remaining_here(host, lease),
                Leader::There(mut peer) => {
                    let message = peer::LeaseRemainingRequest { lease: lease.get() };
                    let answer = peer
                        .lease_remaining(request_until(message, deadline))
                        .await?;
                    Ok(answer.into_inner().remaining_ms)
                }
            }
        })
    };
    at_leader(host, deadline, ask).await
}

/// Renews leases at the leader. Refused as [`Reason::NotLeader`] anywhere else.
pub(crate) async fn renew_here(
    host: &Host,
    leases: &[u64],
    deadline: Instant,
) -> Result<Vec<u64>, Status> {
    loop {
        let term = host.renewals.term().ok_or_else(not_leader)?;
        let mut expiring = false;
        for (lease, grant) in grants(host, leases) {
            match host.renewals.renew(lease, grant, Instant::now()) {
                Renewal::Renewed => {}
                Renewal::Expiring => expiring = true,
                Renewal::NotRunning => return Err(not_leader()),
            }
        }
        host.barrier(deadline).await?;
        let leadership = host.leadership();
        if leadership.term != term || leadership.leader != Some(host.id) {
            return Err(not_leader());
        }
        if !expiring {
            let alive = grants(host, leases);
            return Ok(leases
                .iter()
                .map(|lease| {
                    let found = alive.iter().find(|(id, _)| id.get() == *lease);
                    found.map_or(0, |(_, grant)| grant.ttl.as_millis() as u64)
                })
                .collect());
        }
        if Instant::now() >= deadline {
            return Err(Reason::NoQuorum
                .status("a lease is running out and its end is not decided yet; renew it again"));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How long a lease has left, at the leader.
pub(crate) fn remaining_here(host: &Host, lease: LeaseId) -> Result<u64, Status> {
    if host.renewals.term().is_none() {
        return Err(not_leader());
    }
    let Some(grant) = host.read(|state| state.lease(lease).map(Grant::of)) else {
        return Ok(0);
    };
    let remaining = host.renewals.remaining(lease, grant, Instant::now());
    // Granted so lately that the clock has not seen it, it has all of its time.
    let remaining = remaining.unwrap_or(grant.ttl);
    Ok(remaining.as_millis() as u64)
}

fn grants(host: &Host, leases: &[u64]) -> Vec<(LeaseId, Grant)> {
    host.read(|state: &State| {
        leases
            .iter()
            .filter_map(|&lease| {
                let id = LeaseId::new(lease)?;
                Some((id, Grant::of(state.lease(id)?)))
            })
            .collect()
    })
}

const RENEWALS_AT_ONCE: usize = 1_024;
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
