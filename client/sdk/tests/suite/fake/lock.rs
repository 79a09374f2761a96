//! One lock with a line before it.

use std::pin::Pin;

use futures::Stream;
use holdfast_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::{Context, absent, refusal};

#[async_trait]
impl v1::lock_server::Lock for Context {
    async fn acquire(
        &self,
        request: Request<v1::LockAcquireRequest>,
    ) -> Result<Response<v1::LockAcquireResponse>, Status> {
        self.misbehave().await?;
        let request = request.into_inner();
        let mut changed = self.shared.changed.subscribe();
        loop {
            let answer = {
                let header = self.header();
                let mut world = self.shared.world();
                if !world.leases.contains_key(&request.lease) {
                    let status = Status::not_found("the lease is gone");
                    return Err(refusal(status, "lease_missing"));
                }
                if !world.line.iter().any(|(lease, _)| *lease == request.lease) {
                    world.revision += 1;
                    let token = world.revision;
                    world.line.push((request.lease, token));
                }
                let (first, token) = world.line[0];
                v1::LockAcquireResponse {
                    header,
                    held: first == request.lease,
                    token,
                    key: format!("{}/{:016x}", request.name, request.lease).into(),
                }
            };
            if answer.held || !request.wait {
                return Ok(Response::new(answer));
            }
            changed.changed().await.unwrap();
        }
    }

    async fn release(
        &self,
        request: Request<v1::LockReleaseRequest>,
    ) -> Result<Response<v1::LockReleaseResponse>, Status> {
        self.misbehave().await?;
        let request = request.into_inner();
        let header = self.header();
        let mut world = self.shared.world();
        let before = world.line.len();
        world
            .line
            .retain(|hold| *hold != (request.lease, request.token));
        let released = world.line.len() < before;
        drop(world);
        self.shared.changed.send_modify(|_| {});
        Ok(Response::new(v1::LockReleaseResponse { header, released }))
    }

    async fn campaign(
        &self,
        _: Request<v1::CampaignRequest>,
    ) -> Result<Response<v1::CampaignResponse>, Status> {
        absent()
    }

    async fn proclaim(
        &self,
        _: Request<v1::ProclaimRequest>,
    ) -> Result<Response<v1::ProclaimResponse>, Status> {
        absent()
    }

    async fn resign(
        &self,
        _: Request<v1::LockReleaseRequest>,
    ) -> Result<Response<v1::LockReleaseResponse>, Status> {
        absent()
    }

    async fn leader(
        &self,
        _: Request<v1::LeaderRequest>,
    ) -> Result<Response<v1::LeaderResponse>, Status> {
        absent()
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<v1::LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        _: Request<v1::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        absent()
    }
}
