//! Locks and elections, built of keys and leases.
//!
//! A contender is the key `NAME/LEASE`; whoever's was created first holds, and that revision is the
//! fencing token. Contending may be repeated without harm, so no call here depends on the
//! caller's request id but for releases and proclamations.
//!
//! A call that is given up takes its contender away again, unless another call for the same lease
//! has come since: each call that finds its contender there writes it anew, and the clean-up
//! deletes only what its own call wrote last.

mod contender;

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, stream};
use holdfast_core::{State, lock};
use holdfast_proto::{
    Key, LeaseId,
    log::v1::{command::Body, reply},
    v1::{self, lock_server::Lock, operation::Operation as Kind},
};
use tonic::{Request, Response, Status};

use self::contender::Contender;
use crate::{
    access::Permit,
    caller::Caller,
    convert, deadline,
    host::{Host, Proposal},
    status::{Reason, invalid},
};

/// `holdfast.v1.Lock` of one node.
pub(crate) struct LockService {
    host: Arc<Host>,
}

impl LockService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn acquire(
        &self,
        request: Request<v1::LockAcquireRequest>,
    ) -> Result<Response<v1::LockAcquireResponse>, Status> {
        let short = deadline::of(request.metadata());
        let long = deadline::of_wait(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let (name, lease) = contest(&request.name, request.lease)?;
        self.permit(&caller, &name, lease, short).await?;
        let author = caller.author().to_string();
        let mut contender = Contender::enter(&self.host, &name, lease, None, author, short).await?;
        let held = if request.wait {
            contender.wait(long).await?;
            // A right may have been taken away while it waited.
            self.permit(&caller, &name, lease, in_a_moment()).await?;
            true
        } else {
            contender.is_first(short).await?
        };
        let token = contender.token();
        if held {
            contender.keep();
        } else {
            contender.leave(short).await?;
        }
        Ok(Response::new(v1::LockAcquireResponse {
            header: self.host.header_now(),
            held,
            token: if held { token } else { 0 },
            key: contender.key().to_bytes(),
        }))
    }

    async fn release(
        &self,
        request: Request<v1::LockReleaseRequest>,
    ) -> Result<Response<v1::LockReleaseResponse>, Status> {
        self.give_up(request).await
    }

    async fn campaign(
        &self,
        request: Request<v1::CampaignRequest>,
    ) -> Result<Response<v1::CampaignResponse>, Status> {
        let short = deadline::of(request.metadata());
        let long = deadline::of_wait(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let (name, lease) = contest(&request.name, request.lease)?;
        self.permit(&caller, &name, lease, short).await?;
        let author = caller.author().to_string();
        let value = request
            .value
            .ok_or_else(|| invalid("a campaign needs a value: what the leader proclaims"))?;
        let mut contender =
            Contender::enter(&self.host, &name, lease, Some(value), author, short).await?;
        contender.wait(long).await?;
        self.permit(&caller, &name, lease, in_a_moment()).await?;
        contender.keep();
        Ok(Response::new(v1::CampaignResponse {
            header: self.host.header_now(),
            token: contender.token(),
            key: contender.key().to_bytes(),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<v1::ProclaimRequest>,
    ) -> Result<Response<v1::ProclaimResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let (name, lease) = contest(&request.name, request.lease)?;
        self.permit(&caller, &name, lease, deadline).await?;
        let author = caller.author().to_string();
        let key = contender::key(&name, lease)?;
        // A token is only good for a hold: who waits in line proclaims nothing.
        self.host.barrier(deadline).await?;
        let holds = self
            .host
            .read(|state| lock::holder(state, &name).is_some_and(|(holder, _)| *holder == key));
        let put = Kind::Put(v1::PutOperation {
            key: key.to_bytes(),
            value: request.value,
            keep_lease: true,
            ..v1::PutOperation::default()
        });
        let reply = if holds {
            self.under_token(request.request, author, &key, request.token, put, deadline)
                .await?
        } else {
            None
        };
        let revision = reply.ok_or_else(|| {
            Reason::Conflict.status(format!(
                "{} is not led under token {}; campaign again",
                request.name, request.token
            ))
        })?;
        Ok(Response::new(v1::ProclaimResponse {
            header: self.host.header(revision),
            revision,
        }))
    }

    async fn resign(
        &self,
        request: Request<v1::LockReleaseRequest>,
    ) -> Result<Response<v1::LockReleaseResponse>, Status> {
        self.give_up(request).await
    }

    async fn leader(
        &self,
        request: Request<v1::LeaderRequest>,
    ) -> Result<Response<v1::LeaderResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let name = parse_name(&request.into_inner().name)?;
        self.host.barrier(deadline).await?;
        self.permit_watching(&caller, &name, deadline).await?;
        let leader = self.host.read(|state| holder(state, &name));
        Ok(Response::new(v1::LeaderResponse {
            header: self.host.header_now(),
            leader,
        }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<v1::LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<v1::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let name = parse_name(&request.into_inner().name)?;
        self.host.barrier(deadline).await?;
        self.permit_watching(&caller, &name, deadline).await?;
        let observer = Observer {
            host: self.host.clone(),
            caller,
            name,
            seen: None,
        };
        let leaders = stream::unfold(Some(observer), |observer| async move {
            let mut observer = observer?;
            match observer.next().await {
                Ok(leader) => Some((Ok(leader), Some(observer))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(leaders)))
    }
}

impl LockService {
    /// Refuses who may not take part under this name, or use this lease.
    async fn permit(
        &self,
        caller: &Caller,
        name: &Key,
        lease: LeaseId,
        deadline: Instant,
    ) -> Result<(), Status> {
        let contenders = lock::contenders(name);
        let check = |state: &State, permit: &Permit| {
            permit.lock(&contenders)?;
            permit.use_lease(state, lease.get())
        };
        self.host.permit(caller, deadline, check).await
    }

    async fn permit_watching(
        &self,
        caller: &Caller,
        name: &Key,
        deadline: Instant,
    ) -> Result<(), Status> {
        let contenders = lock::contenders(name);
        let check = |_: &State, permit: &Permit| permit.watch_lock(&contenders);
        self.host.permit(caller, deadline, check).await
    }

    async fn give_up(
        &self,
        request: Request<v1::LockReleaseRequest>,
    ) -> Result<Response<v1::LockReleaseResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let (name, lease) = contest(&request.name, request.lease)?;
        self.permit(&caller, &name, lease, deadline).await?;
        let author = caller.author().to_string();
        let key = contender::key(&name, lease)?;
        let delete = Kind::Delete(contender::delete(&key));
        let released = self
            .under_token(
                request.request,
                author,
                &key,
                request.token,
                delete,
                deadline,
            )
            .await?;
        Ok(Response::new(v1::LockReleaseResponse {
            header: self.host.header_now(),
            released: released.is_some(),
        }))
    }

    /// Does `operation` if the contender `key` still is the one of `token`; then answers the
    /// revision.
    async fn under_token(
        &self,
        request: Option<v1::RequestId>,
        author: String,
        key: &Key,
        token: u64,
        operation: Kind,
        deadline: Instant,
    ) -> Result<Option<u64>, Status> {
        if token == 0 {
            return Err(invalid(
                "no hold has the token 0; use the one that acquiring returned",
            ));
        }
        let proposal = Proposal {
            request,
            author,
            note: String::new(),
            body: Body::Transact(v1::Transaction {
                compare: vec![contender::is_created_at(key, token)],
                then: vec![v1::Operation {
                    operation: Some(operation),
                }],
                otherwise: Vec::new(),
            }),
        };
        let reply = self.host.propose(proposal, deadline).await?.into_wire();
        match reply.body {
            Some(reply::Body::Transact(result)) if result.succeeded => Ok(Some(reply.revision)),
            _ => Ok(None),
        }
    }
}

/// Follows who holds one name.
struct Observer {
    host: Arc<Host>,
    caller: Caller,
    name: Key,
    /// The last answer given: the holder's key with its revision, or that nobody holds.
    seen: Option<Option<(bytes::Bytes, u64)>>,
}

impl Observer {
    /// The next holder; the first time, the one there is.
    async fn next(&mut self) -> Result<v1::LeaderResponse, Status> {
        let (name, seen) = (&self.name, &self.seen);
        let (leader, revision) = self
            .host
            .wait_for(None, |state| {
                let leader = holder(state, name);
                let now = leader
                    .as_ref()
                    .map(|entry| (entry.key.clone(), entry.modified));
                (seen.as_ref() != Some(&now)).then(|| (leader, state.revision()))
            })
            .await?;
        self.seen = Some(
            leader
                .as_ref()
                .map(|entry| (entry.key.clone(), entry.modified)),
        );
        let permit = self.caller.permit_now(&self.host);
        permit.watch_lock(&lock::contenders(&self.name))?;
        Ok(v1::LeaderResponse {
            header: self.host.header(revision),
            leader,
        })
    }
}

/// Until when what was just decided must be confirmed.
fn in_a_moment() -> Instant {
    Instant::now() + MOMENT
}

fn holder(state: &State, name: &Key) -> Option<v1::Entry> {
    lock::holder(state, name).map(|(key, entry)| entry.to_wire(key, true))
}

/// The name and the lease to contend under, if they make sense.
fn contest(name: &str, lease: u64) -> Result<(Key, LeaseId), Status> {
    Ok((parse_name(name)?, convert::lease(lease)?))
}

fn parse_name(name: &str) -> Result<Key, Status> {
    if name.is_empty() || name.ends_with('/') {
        return Err(invalid(
            "a lock needs a name, one that does not end with '/'",
        ));
    }
    convert::key(bytes::Bytes::copy_from_slice(name.as_bytes()))
}

const MOMENT: Duration = Duration::from_secs(2);
