//! etcd's Lock service.

use std::sync::Arc;

use holdfast_core::State;
use holdfast_proto::{
    etcd::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock},
    log::v1::{self as log, command::Body},
    v1,
};
use tonic::{Request, Response, Status};

use super::{
    Front,
    contest::{self, Contender, Entering},
    convert, error,
};
use crate::{access::Permit, caller::Caller, deadline};

/// `v3lockpb.Lock` of one node.
pub(super) struct LockService(pub(super) Arc<Front>);

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
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
            author,
            name: &request.name,
            lease,
            value: bytes::Bytes::new(),
        };
        let (contender, _) = Contender::enter(&self.0, entering, short).await?;
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
        let key = contender.key.clone();
        contender.keep();
        Ok(Response::new(LockResponse {
            header: self.0.header_now(),
            key,
        }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let key = request.into_inner().key;
        if key.is_empty() {
            return Err(error::empty_key());
        }
        let may = |state: &State, permit: &Permit| permit.leave_lock(state, &key);
        self.0.permit(&caller, deadline, may).await?;
        let body = Body::Delete(log::Delete {
            delete: Some(v1::DeleteOperation {
                range: Some(convert::wire_range(key, bytes::Bytes::new())),
                previous: false,
            }),
            expected: None,
        });
        let reply = self.0.propose(caller.author(), body, deadline).await?;
        Ok(Response::new(UnlockResponse {
            header: self.0.header(reply.revision),
        }))
    }
}
