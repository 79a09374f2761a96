//! The cluster itself: members, joining, status, leadership.
//!
//! Who is a member is replicated state; who votes follows from it. A node proposes what it is asked
//! for, and the leader brings consensus in line with it ([`crate::membership`]), so that a change
//! survives the node that began it.

mod join;
mod removal;
mod rotation;
mod status;

use std::{sync::Arc, time::Instant};

use futures::future::BoxFuture;
use holdfast_core::{Role, State};
use holdfast_proto::{
    NodeId,
    log::v1::{self as log, command::Body},
    peer::v1::{self as peer, change_membership_request::Change},
    v1::{self, cluster_server::Cluster},
};
use tonic::{Request, Response, Status};

pub(crate) use self::status::local as local_status;
use crate::{
    author,
    caller::Caller,
    deadline,
    host::{Host, Proposal},
    leader::{Leader, at_leader},
    membership,
    peers::request_until,
    status::Reason,
};

/// `holdfast.v1.Cluster` of one node.
pub(crate) struct ClusterService {
    host: Arc<Host>,
}

impl ClusterService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }

    async fn propose(
        &self,
        request: Option<v1::RequestId>,
        author: String,
        body: Body,
        deadline: Instant,
    ) -> Result<log::Reply, Status> {
        let proposal = Proposal {
            request,
            author,
            note: String::new(),
            body,
        };
        Ok(self.host.propose(proposal, deadline).await?.into_wire())
    }
}

/// What each member says of itself, asked at the same time.
pub(crate) async fn statuses(host: &Host) -> Vec<v1::MemberStatus> {
    status::gather(host).await.members
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let answer = if request.into_inner().local {
            status::local(&self.host)
        } else {
            status::gather(&self.host).await
        };
        Ok(Response::new(answer))
    }

    async fn member_list(
        &self,
        request: Request<v1::MemberListRequest>,
    ) -> Result<Response<v1::MemberListResponse>, Status> {
        self.host.barrier(deadline::of(request.metadata())).await?;
        let (members, removed, revision, as_of_ms) = self.host.read(|state| {
            let as_of_ms = state.clock().as_millis();
            (members(state), removed(state), state.revision(), as_of_ms)
        });
        Ok(Response::new(v1::MemberListResponse {
            header: self.host.header(revision),
            members,
            removed,
            as_of_ms,
            leader: self.host.leadership().leader.map_or(0, |leader| leader.0),
        }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = author::of(&request);
        join::create_token(self, request.into_inner(), author, deadline)
            .await
            .map(Response::new)
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let (_, caller, request) = request.into_parts();
        join::join(self, request, &caller, deadline)
            .await
            .map(Response::new)
    }

    async fn promote(
        &self,
        request: Request<v1::PromoteRequest>,
    ) -> Result<Response<v1::PromoteResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = author::of(&request);
        let request = request.into_inner();
        let body = Body::MemberUpdate(log::MemberUpdate {
            id: request.id,
            address: String::new(),
            role: v1::Role::Voter.into(),
        });
        self.propose(request.request, author, body, deadline)
            .await?;
        let id = NodeId(request.id);
        membership::wait_until(&self.host, deadline, |now| now.voters.contains(&id)).await?;
        Ok(Response::new(v1::PromoteResponse {
            header: self.host.header_now(),
        }))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveRequest>,
    ) -> Result<Response<v1::RemoveResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        removal::remove(self, request.into_inner(), &caller, deadline)
            .await
            .map(Response::new)
    }

    async fn retire_authority(
        &self,
        request: Request<v1::RetireAuthorityRequest>,
    ) -> Result<Response<v1::RetireAuthorityResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        rotation::retire(self, request.into_inner(), &caller, deadline)
            .await
            .map(Response::new)
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let to = request.into_inner().to;
        if to != 0 && !self.host.replica.status().voters.contains(&NodeId(to)) {
            return Err(Reason::MemberMissing.status(format!(
                "node {to} is no voter, so it cannot lead; see `kvctl member list`"
            )));
        }
        if is_witness(&self.host, NodeId(to)) {
            return Err(Reason::NotPossible.status(format!(
                "node {to} is a witness, which leads only where nobody else can"
            )));
        }
        let ask = |leader| -> BoxFuture<'_, _> {
            Box::pin(async move {
                match leader {
                    Leader::Here => transfer_here(&self.host, NodeId(to), deadline).await,
                    Leader::There(mut peer) => {
                        let message = peer::ChangeMembershipRequest {
                            change: Change::TransferLeader.into(),
                            member: Some(v1::Member {
                                id: to,
                                ..v1::Member::default()
                            }),
                        };
                        let request = request_until(message, deadline);
                        Ok(NodeId(
                            peer.change_membership(request).await?.into_inner().leader,
                        ))
                    }
                }
            })
        };
        let mut leader = at_leader(&self.host, deadline, ask).await?;
        // Another node may win the election that a hand-over is; then that one is asked.
        while to != 0 && leader.0 != to {
            leader = at_leader(&self.host, deadline, ask).await?;
        }
        Ok(Response::new(v1::TransferLeaderResponse {
            header: self.host.header_now(),
            leader: leader.0,
        }))
    }
}

/// Hands leadership over; 0: to whoever is most up to date. Answers who leads now.
pub(crate) async fn transfer_here(
    host: &Host,
    to: NodeId,
    deadline: Instant,
) -> Result<NodeId, Status> {
    if to == host.id {
        return Ok(to);
    }
    let to = (to.0 != 0).then_some(to);
    host.replica
        .transfer_leader(to, deadline.into())
        .await
        .map_err(|error| crate::status::not_changed(&error))
}

fn is_witness(host: &Host, id: NodeId) -> bool {
    host.read(|state| {
        let member = state.member(id);
        member.is_some_and(|member| member.role == Role::Witness)
    })
}

/// The members of the cluster, removed ones left out.
fn members(state: &State) -> Vec<v1::Member> {
    state
        .members()
        .filter(|member| !member.removed)
        .map(|member| member.to_wire())
        .collect()
}

/// Those that once were members.
fn removed(state: &State) -> Vec<v1::Member> {
    state
        .members()
        .filter(|member| member.removed)
        .map(|member| member.to_wire())
        .collect()
}
