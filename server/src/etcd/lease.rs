//! etcd's Lease service.
//!
//! Leases are the same 64 bits on both fronts. A time to live below etcd's own minimum is raised to
//! it; one above what the store allows is refused as etcd refuses what is too long for it.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _, stream};
use holdfast_core::{ReplyBody, State};
use holdfast_proto::{
    Key, KeyRange, LeaseId,
    etcd::etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseStatus, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
    },
    limits,
    log::v1::{self as log, command::Body},
};
use tonic::{Request, Response, Status, Streaming};

use super::{Front, convert, error, veil};
use crate::{access::Permit, caller::Caller, deadline, lease};

/// `etcdserverpb.Lease` of one node.
pub(super) struct LeaseService(pub(super) Arc<Front>);

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = Caller::of(&request).author().clone();
        let request = request.into_inner();
        let granted = self
            .0
            .grant(&author, request.id, request.ttl, deadline)
            .await?;
        Ok(Response::new(granted))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let lease = convert::lease(request.into_inner().id).ok_or_else(error::lease_not_found)?;
        let may = |state: &State, permit: &Permit| permit.end_lease(state, lease.get());
        self.0.permit(&caller, deadline, may).await?;
        let body = Body::LeaseRevoke(log::LeaseRevoke { lease: lease.get() });
        let reply = self.0.propose(caller.author(), body, deadline).await?;
        Ok(Response::new(LeaseRevokeResponse {
            header: self.0.header(reply.revision),
        }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (front, caller) = (self.0.clone(), Caller::of(&request));
        let closing = front.host.closing.clone();
        // All that arrived meanwhile is renewed together; answers keep the order.
        let answers = request
            .into_inner()
            .ready_chunks(RENEWALS_AT_ONCE)
            .take_until(closing.clone().cancelled_owned())
            .then(move |asked| {
                let (front, caller) = (front.clone(), caller.clone());
                async move { stream::iter(front.renew(&caller, asked).await) }
            })
            .flatten();
        let end = stream::once(async move { closing.is_cancelled() })
            .filter_map(|stopping| async move { stopping.then(|| Err(error::stopped())) });
        Ok(Response::new(Box::pin(answers.chain(end))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        self.0.barrier(deadline).await?;
        let id = convert::lease(request.id);
        if let Some(id) = id.filter(|_| request.keys) {
            let may = |state: &State, permit: &Permit| permit.list_lease(state, id);
            self.0.permit(&caller, deadline, may).await?;
        }
        let known = id.and_then(|id| self.0.host.read(|state| look(state, id, request.keys)));
        let Some((id, ttl, keys)) = known else {
            return Ok(Response::new(LeaseTimeToLiveResponse {
                header: self.0.header_now(),
                id: request.id,
                ttl: -1,
                ..LeaseTimeToLiveResponse::default()
            }));
        };
        let left = lease::remaining_ms(&self.0.host, id, deadline)
            .await
            .map_err(|status| error::of_ours(&status))?;
        Ok(Response::new(LeaseTimeToLiveResponse {
            header: self.0.header_now(),
            id: request.id,
            ttl: seconds(left.min(ttl)),
            granted_ttl: seconds(ttl),
            keys,
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        self.0.barrier(deadline).await?;
        let may = |_: &State, permit: &Permit| permit.list(&KeyRange::all());
        self.0.permit(&caller, deadline, may).await?;
        let state = self.0.host.replica.store().view();
        let leases = state.leases().map(|(id, _)| LeaseStatus {
            id: convert::lease_number(Some(id)),
        });
        Ok(Response::new(LeaseLeasesResponse {
            leases: leases.collect(),
            header: self.0.header(state.revision()),
        }))
    }
}

impl Front {
    /// Grants a lease; `id` 0: under a free id.
    pub(super) async fn grant(
        &self,
        author: &str,
        id: i64,
        ttl: i64,
        deadline: Instant,
    ) -> Result<LeaseGrantResponse, Status> {
        let ttl = ttl.max(LEAST_TTL);
        let ttl_ms = ttl.cast_unsigned().saturating_mul(1_000);
        if ttl_ms > *limits::LEASE_TTL_MS.end() {
            return Err(error::ttl_too_large());
        }
        let body = Body::LeaseGrant(log::LeaseGrant {
            lease: lease::pick(id.cast_unsigned()),
            ttl_ms,
        });
        let reply = self.propose(author, body, deadline).await?;
        let ReplyBody::LeaseGranted { lease, ttl_ms } = reply.body else {
            return Err(error::unexpected());
        };
        Ok(LeaseGrantResponse {
            header: self.header(reply.revision),
            id: convert::lease_number(Some(lease)),
            ttl: seconds(ttl_ms),
            error: String::new(),
        })
    }

    /// Renews what one stream asked for; an error ends the stream.
    async fn renew(
        &self,
        caller: &Caller,
        asked: Vec<Result<LeaseKeepAliveRequest, Status>>,
    ) -> Vec<Result<LeaseKeepAliveResponse, Status>> {
        let mut leases = Vec::with_capacity(asked.len());
        let mut broken = None;
        for request in asked {
            match request {
                Ok(request) => leases.push(request.id.cast_unsigned()),
                Err(status) => broken = Some(Err(status)),
            }
        }
        let deadline = Instant::now() + RENEWAL_TIMEOUT;
        let may = |state: &State, permit: &Permit| {
            let mut leases = leases.iter();
            leases.try_for_each(|&lease| permit.use_lease(state, lease))
        };
        let renewed = match self.permit(caller, deadline, may).await {
            Ok(()) => lease::renew(&self.host, &leases, deadline)
                .await
                .map_err(|status| error::of_ours(&status)),
            Err(refusal) => Err(refusal),
        };
        let mut answers: Vec<_> = match renewed {
            Ok(ttls) => leases
                .into_iter()
                .zip(ttls)
                .map(|(id, ttl_ms)| {
                    Ok(LeaseKeepAliveResponse {
                        header: self.header_now(),
                        id: id.cast_signed(),
                        ttl: seconds(ttl_ms),
                    })
                })
                .collect(),
            Err(status) => vec![Err(status)],
        };
        answers.extend(broken);
        answers
    }
}

/// A lease's time to live, milliseconds, and its keys if they are asked for.
fn look(state: &State, id: LeaseId, keys: bool) -> Option<(LeaseId, u64, Vec<bytes::Bytes>)> {
    let lease = state.lease(id)?;
    let keys = if keys {
        let is_secret = |key: &&Key| {
            state
                .get(key.as_bytes())
                .is_some_and(|entry| veil::hides(entry))
        };
        let seen = lease.keys.iter().filter(|key| !is_secret(key));
        seen.map(Key::to_bytes).collect()
    } else {
        Vec::new()
    };
    Some((id, lease.ttl_ms, keys))
}

fn seconds(ms: u64) -> i64 {
    convert::signed(ms / 1_000)
}

/// etcd's, with its default timing; seconds.
const LEAST_TTL: i64 = 2;
const RENEWALS_AT_ONCE: usize = 1_024;
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);
