//! One lock, or one office, with a line before it.

use std::pin::Pin;

use futures::Stream;
use holdfast_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::{Context, refusal};

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
        request: Request<v1::CampaignRequest>,
    ) -> Result<Response<v1::CampaignResponse>, Status> {
        let request = request.into_inner();
        self.shared
            .world()
            .shown
            .entry(request.lease)
            .or_insert((request.value.unwrap(), 0));
        let acquire = v1::LockAcquireRequest {
            request: request.request,
            name: request.name,
            lease: request.lease,
            wait: true,
        };
        let won = self.acquire(Request::new(acquire)).await?.into_inner();
        self.shared.world().shown.get_mut(&request.lease).unwrap().1 = won.token;
        self.shared.changed.send_modify(|_| {});
        Ok(Response::new(v1::CampaignResponse {
            header: won.header,
            token: won.token,
            key: won.key,
        }))
    }

    async fn proclaim(
        &self,
        request: Request<v1::ProclaimRequest>,
    ) -> Result<Response<v1::ProclaimResponse>, Status> {
        self.misbehave().await?;
        let request = request.into_inner();
        let header = self.header();
        let mut world = self.shared.world();
        if world.line.first() != Some(&(request.lease, request.token)) {
            let status = Status::failed_precondition("not led under this token");
            return Err(refusal(status, "conflict"));
        }
        world.revision += 1;
        let revision = world.revision;
        let shown = (request.value.unwrap(), revision);
        world.shown.insert(request.lease, shown);
        drop(world);
        self.shared.changed.send_modify(|_| {});
        Ok(Response::new(v1::ProclaimResponse { header, revision }))
    }

    async fn resign(
        &self,
        request: Request<v1::LockReleaseRequest>,
    ) -> Result<Response<v1::LockReleaseResponse>, Status> {
        self.release(request).await
    }

    async fn leader(
        &self,
        _: Request<v1::LeaderRequest>,
    ) -> Result<Response<v1::LeaderResponse>, Status> {
        self.misbehave().await?;
        Ok(Response::new(self.leads()))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<v1::LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        _: Request<v1::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        self.misbehave().await?;
        let mut changed = self.shared.changed.subscribe();
        changed.mark_changed();
        let leaders =
            futures::stream::unfold((self.clone(), changed), |(node, mut changed)| async {
                changed.changed().await.ok()?;
                // Repeats are not this side's business: a node may send one for every change.
                Some((Ok(node.leads()), (node, changed)))
            });
        Ok(Response::new(Box::pin(leaders)))
    }
}

impl Context {
    /// Who stands first in line, with what was shown last.
    fn leads(&self) -> v1::LeaderResponse {
        let header = self.header();
        let world = self.shared.world();
        let leader = world.line.first().and_then(|(lease, token)| {
            let (value, modified) = world.shown.get(lease)?;
            (*modified != 0).then(|| v1::Entry {
                key: format!("office/{lease:016x}").into(),
                value: Some(value.clone()),
                created: *token,
                modified: *modified,
                version: 1,
                lease: *lease,
                ..v1::Entry::default()
            })
        });
        v1::LeaderResponse { header, leader }
    }
}
