//! etcd's Election service.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::{Stream, stream};
use holdfast_core::State;
use holdfast_proto::KeyRange;
use holdfast_proto::etcd::{
    mvccpb::KeyValue,
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
        election_server::Election,
    },
};
use tonic::{Request, Response, Status};

use super::{
    Front,
    contest::{self, Contender, Entering},
    convert, error, permit,
};
use crate::{access::Permit, caller::Caller, deadline};

/// `v3electionpb.Election` of one node.
pub(super) struct ElectionService(pub(super) Arc<Front>);

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let (short, long) = contest::deadlines(request.metadata());
        let caller = Caller::of(&request);
        let author = caller.author().clone();
        let request = request.into_inner();
        self.0
            .permit_contending(&caller, &request.name, request.lease, short)
            .await?;
        let lease = self
            .0
            .contending_lease(&author, request.lease, short)
            .await?;
        let entering = Entering {
            author: author.clone(),
            name: &request.name,
            lease,
            value: request.value.clone(),
        };
        let (contender, there) = Contender::enter(&self.0, entering, short).await?;
        if there.is_some_and(|there| there.value != request.value) {
            let key = contender.key.clone();
            contest::proclaim(
                &self.0,
                &author,
                key,
                contender.created,
                request.value,
                short,
            )
            .await?;
        }
        contender.wait(long).await?;
        // A right may have been taken away while it waited.
        self.0
            .permit_contending(
                &caller,
                &request.name,
                request.lease,
                contest::in_a_moment(),
            )
            .await?;
        let leader = LeaderKey {
            key: contender.key.clone(),
            rev: convert::signed(contender.created),
            lease: convert::lease_number(Some(lease)),
            name: request.name,
        };
        contender.keep();
        Ok(Response::new(CampaignResponse {
            header: self.0.header_now(),
            leader: Some(leader),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let author = caller.author().clone();
        let request = request.into_inner();
        let (key, created) = place(request.leader)?;
        let may = |state: &State, permit: &Permit| permit.proclaim(state, &key);
        self.0.permit(&caller, deadline, may).await?;
        let revision =
            contest::proclaim(&self.0, &author, key, created, request.value, deadline).await?;
        Ok(Response::new(ProclaimResponse {
            header: self.0.header(revision),
        }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        self.0.barrier(deadline).await?;
        let contenders = permit::contenders(&request.get_ref().name);
        let may = |_: &State, permit: &Permit| permit.watch_lock(&contenders);
        self.0.permit(&caller, deadline, may).await?;
        let prefix = contest::prefix(&request.into_inner().name);
        let (leader, revision) = self
            .0
            .host
            .read(|state| (leader(state, &prefix), state.revision()));
        Ok(Response::new(LeaderResponse {
            header: self.0.header(revision),
            kv: Some(leader.ok_or_else(error::election_no_leader)?),
        }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        self.0.barrier(deadline).await?;
        let contenders = permit::contenders(&request.get_ref().name);
        let may = |_: &State, permit: &Permit| permit.watch_lock(&contenders);
        self.0.permit(&caller, deadline, may).await?;
        let observer = Observer {
            front: self.0.clone(),
            caller,
            prefix: contest::prefix(&request.into_inner().name),
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

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let author = caller.author().clone();
        let (key, created) = place(request.into_inner().leader)?;
        let may = |state: &State, permit: &Permit| permit.leave_lock(state, &key);
        self.0.permit(&caller, deadline, may).await?;
        let revision = contest::leave(&self.0, &author, key, created, deadline).await?;
        Ok(Response::new(ResignResponse {
            header: self.0.header(revision),
        }))
    }
}

/// Follows who leads, and what the leader says.
struct Observer {
    front: Arc<Front>,
    caller: Caller,
    prefix: Bytes,
    /// Key and revision of the last answer.
    seen: Option<(Bytes, i64)>,
}

impl Observer {
    /// The next leader, or its next word; the first time, the one there is.
    async fn next(&mut self) -> Result<LeaderResponse, Status> {
        let (prefix, seen) = (&self.prefix, &self.seen);
        let (pair, revision) = self
            .front
            .host
            .wait_for(None, |state| {
                let pair = leader(state, prefix)?;
                let is_news = seen.as_ref().is_none_or(|(key, revision)| {
                    (key, revision) != (&pair.key, &pair.mod_revision)
                });
                is_news.then(|| (pair, state.revision()))
            })
            .await
            .map_err(|status| error::of_ours(&status))?;
        self.seen = Some((pair.key.clone(), pair.mod_revision));
        let permit = self.caller.permit_now(&self.front.host);
        permit
            .watch_lock(&KeyRange::prefix(self.prefix.clone()))
            .map_err(|denied| error::denied(&denied))?;
        Ok(LeaderResponse {
            header: self.front.header(revision),
            kv: Some(pair),
        })
    }
}

fn leader(state: &State, prefix: &Bytes) -> Option<KeyValue> {
    contest::first(state, prefix).map(|(key, entry)| convert::pair(key.to_bytes(), entry, true))
}

/// The contender that a leader's key names.
fn place(leader: Option<LeaderKey>) -> Result<(Bytes, u64), Status> {
    let leader = leader.ok_or_else(error::election_not_leader)?;
    let created = u64::try_from(leader.rev).map_err(|_| error::election_not_leader())?;
    if leader.key.is_empty() {
        return Err(error::empty_key());
    }
    Ok((leader.key, created))
}
