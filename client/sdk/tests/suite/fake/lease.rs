//! Leases that never run out by themselves: the tests decide.

use futures::{Stream, StreamExt as _};
use holdfast_proto::v1;
use std::pin::Pin;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Context, absent};

#[async_trait]
impl v1::lease_server::Lease for Context {
    async fn grant(
        &self,
        _: Request<v1::LeaseGrantRequest>,
    ) -> Result<Response<v1::LeaseGrantResponse>, Status> {
        self.misbehave().await?;
        let header = self.header();
        let mut world = self.shared.world();
        let (lease, ttl_ms) = (world.next_lease, world.ttl_ms);
        world.next_lease += 1;
        world.leases.insert(lease, ttl_ms);
        Ok(Response::new(v1::LeaseGrantResponse {
            header,
            lease,
            ttl_ms,
        }))
    }

    async fn revoke(
        &self,
        request: Request<v1::LeaseRevokeRequest>,
    ) -> Result<Response<v1::LeaseRevokeResponse>, Status> {
        self.misbehave().await?;
        let lease = request.into_inner().lease;
        let header = self.header();
        let mut world = self.shared.world();
        world.leases.remove(&lease);
        world.line.retain(|(contender, _)| *contender != lease);
        drop(world);
        self.shared.changed.send_modify(|_| {});
        Ok(Response::new(v1::LeaseRevokeResponse {
            header,
            revision: 0,
            deleted: 0,
        }))
    }

    type KeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<v1::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn keep_alive(
        &self,
        request: Request<Streaming<v1::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        self.misbehave().await?;
        let context = self.clone();
        let answers = request.into_inner().map(move |asked| {
            let lease = asked?.lease;
            let header = context.header();
            let mut world = context.shared.world();
            world.renewals += 1;
            Ok(v1::LeaseKeepAliveResponse {
                header,
                lease,
                ttl_ms: world.leases.get(&lease).copied().unwrap_or(0),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn time_to_live(
        &self,
        _: Request<v1::LeaseTimeToLiveRequest>,
    ) -> Result<Response<v1::LeaseTimeToLiveResponse>, Status> {
        absent()
    }

    async fn list(
        &self,
        _: Request<v1::LeaseListRequest>,
    ) -> Result<Response<v1::LeaseListResponse>, Status> {
        absent()
    }
}
