//! What nodes ask each other beside consensus.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::Stream;
use holdfast_proto::{
    LeaseId, NodeId,
    peer::v1::{self as peer, change_membership_request::Change, node_server::Node},
    v1,
};
use tonic::{Request, Response, Status};

use crate::{
    audit::service::{self as audit, Records},
    backup::service::{self as backup, Parts},
    caller::Caller,
    cluster, deadline,
    host::Host,
    leader::not_leader,
    lease, membership, papers,
    status::invalid,
};

/// `holdfast.peer.v1.Node` of one node.
pub(crate) struct PeerService {
    host: Arc<Host>,
}

impl PeerService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

#[tonic::async_trait]
impl Node for PeerService {
    async fn renew_leases(
        &self,
        request: Request<peer::RenewLeasesRequest>,
    ) -> Result<Response<peer::RenewLeasesResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let ttl_ms = lease::renew_here(&self.host, &request.into_inner().leases, deadline).await?;
        Ok(Response::new(peer::RenewLeasesResponse { ttl_ms }))
    }

    async fn lease_remaining(
        &self,
        request: Request<peer::LeaseRemainingRequest>,
    ) -> Result<Response<peer::LeaseRemainingResponse>, Status> {
        let lease = LeaseId::new(request.into_inner().lease)
            .ok_or_else(|| invalid("the request names no lease"))?;
        let remaining_ms = lease::remaining_here(&self.host, lease)?;
        Ok(Response::new(peer::LeaseRemainingResponse { remaining_ms }))
    }

    async fn state_hash(
        &self,
        request: Request<peer::StateHashRequest>,
    ) -> Result<Response<peer::StateHashResponse>, Status> {
        let store = self.host.replica.store();
        let index = match request.into_inner().index {
            0 => store.applied(),
            index => index,
        };
        let answer = match store.hash_at(index) {
            Some(hash) => peer::StateHashResponse {
                index,
                hash: Bytes::copy_from_slice(hash.as_bytes()),
            },
            None => peer::StateHashResponse::default(),
        };
        Ok(Response::new(answer))
    }

    async fn authority_key(
        &self,
        request: Request<peer::AuthorityKeyRequest>,
    ) -> Result<Response<peer::AuthorityKeyResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let generation = request.get_ref().generation;
        papers::authority_key(&self.host, caller.identity(), generation, deadline)
            .await
            .map(Response::new)
    }

    async fn renew_certificate(
        &self,
        request: Request<peer::RenewCertificateRequest>,
    ) -> Result<Response<peer::RenewCertificateResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let generation = request.get_ref().generation;
        papers::renewed_certificate(&self.host, caller.identity(), generation, deadline)
            .await
            .map(Response::new)
    }

    async fn clock(
        &self,
        _: Request<peer::ClockRequest>,
    ) -> Result<Response<peer::ClockResponse>, Status> {
        let time_ms = self.host.clocks.wall_ms();
        Ok(Response::new(peer::ClockResponse { time_ms }))
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(cluster::local_status(&self.host)))
    }

    type AuditTailStream = Records;

    async fn audit_tail(
        &self,
        request: Request<v1::AuditTailRequest>,
    ) -> Result<Response<Records>, Status> {
        audit::tail(&self.host, &request.into_inner()).map(Response::new)
    }

    type AuditChainStream =
        Pin<Box<dyn Stream<Item = Result<peer::AuditChainPart, Status>> + Send>>;

    async fn audit_chain(
        &self,
        _: Request<peer::AuditChainRequest>,
    ) -> Result<Response<Self::AuditChainStream>, Status> {
        Ok(Response::new(Box::pin(audit::chain(&self.host))))
    }

    async fn create_backup(
        &self,
        _: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<v1::CreateBackupResponse>, Status> {
        backup::create(&self.host).await.map(Response::new)
    }

    async fn list_backups(
        &self,
        _: Request<v1::ListBackupsRequest>,
    ) -> Result<Response<v1::ListBackupsResponse>, Status> {
        backup::list(&self.host).await.map(Response::new)
    }

    async fn verify_backup(
        &self,
        request: Request<v1::VerifyBackupRequest>,
    ) -> Result<Response<v1::VerifyBackupResponse>, Status> {
        let checked = backup::check(&self.host, request.into_inner()).await?;
        Ok(Response::new(checked))
    }

    type FetchBackupStream = Parts;

    async fn fetch_backup(
        &self,
        request: Request<v1::FetchBackupRequest>,
    ) -> Result<Response<Parts>, Status> {
        let parts = backup::fetch(&self.host, request.into_inner()).await?;
        Ok(Response::new(parts))
    }

    async fn change_membership(
        &self,
        request: Request<peer::ChangeMembershipRequest>,
    ) -> Result<Response<peer::ChangeMembershipResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let request = request.into_inner();
        let leadership = self.host.leadership();
        if !leadership.is_self_ready {
            return Err(not_leader());
        }
        let leader = match Change::try_from(request.change) {
            Ok(Change::TransferLeader) => {
                let to = NodeId(request.member.map_or(0, |member| member.id));
                cluster::transfer_here(&self.host, to, deadline).await?
            }
            // The members are in the state already; consensus only has to follow.
            Ok(Change::AddLearner | Change::Promote | Change::Remove) => {
                membership::reconcile(&self.host).await;
                self.host.id
            }
            _ => return Err(invalid("this change of the membership is not known here")),
        };
        Ok(Response::new(peer::ChangeMembershipResponse {
            leader: leader.0,
        }))
    }
}
