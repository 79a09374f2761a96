//! Who leads.

use holdfast_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::{Context, absent};

#[async_trait]
impl v1::cluster_server::Cluster for Context {
    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        self.misbehave_alone().await?;
        Ok(Response::new(v1::StatusResponse {
            header: self.header(),
            leader: self.shared.world().leader,
            ..v1::StatusResponse::default()
        }))
    }

    async fn member_list(
        &self,
        _: Request<v1::MemberListRequest>,
    ) -> Result<Response<v1::MemberListResponse>, Status> {
        self.misbehave_alone().await?;
        Ok(Response::new(v1::MemberListResponse {
            header: self.header(),
            members: Vec::new(),
            removed: Vec::new(),
            leader: self.shared.world().leader,
            as_of_ms: 0,
        }))
    }

    async fn create_token(
        &self,
        _: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        absent()
    }

    async fn join(
        &self,
        _: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        absent()
    }

    async fn promote(
        &self,
        _: Request<v1::PromoteRequest>,
    ) -> Result<Response<v1::PromoteResponse>, Status> {
        absent()
    }

    async fn remove(
        &self,
        _: Request<v1::RemoveRequest>,
    ) -> Result<Response<v1::RemoveResponse>, Status> {
        absent()
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        absent()
    }

    async fn retire_authority(
        &self,
        _: Request<v1::RetireAuthorityRequest>,
    ) -> Result<Response<v1::RetireAuthorityResponse>, Status> {
        absent()
    }
}
