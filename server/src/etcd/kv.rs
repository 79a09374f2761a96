//! etcd's KV service.

use std::sync::Arc;

use holdfast_core::{ReplyBody, State};
use holdfast_proto::{
    etcd::etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse, kv_server::Kv,
    },
    log::v1::{self as log, command::Body},
    v1,
};
use tonic::{Request, Response, Status};

use super::{Front, check, convert, error, permit, transaction::put};
use crate::{access::Permit, caller::Caller, deadline};

/// `etcdserverpb.KV` of one node.
pub(super) struct KvService(pub(super) Arc<Front>);

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let answer = self.0.range(&caller, request, deadline).await?;
        Ok(Response::new(answer))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        check::put(&request)?;
        let may = |state: &State, permit: &Permit| permit::put(state, permit, &request);
        self.0.permit(&caller, deadline, may).await?;
        self.0
            .allow_write(&convert::range(&request.key, &bytes::Bytes::new()))?;
        let body = Body::Put(log::Put {
            put: Some(put(request)),
            expected: None,
        });
        let reply = self.0.propose(caller.author(), body, deadline).await?;
        let ReplyBody::Put(result) = reply.body else {
            return Err(error::unexpected());
        };
        Ok(Response::new(PutResponse {
            header: self.0.header(reply.revision),
            prev_kv: result.previous.as_ref().map(convert::found),
        }))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        check::delete(&request)?;
        let may = |_: &State, permit: &Permit| permit::delete(permit, &request);
        self.0.permit(&caller, deadline, may).await?;
        self.0
            .allow_write(&convert::range(&request.key, &request.range_end))?;
        let body = Body::Delete(log::Delete {
            delete: Some(v1::DeleteOperation {
                range: Some(convert::wire_range(request.key, request.range_end)),
                previous: request.prev_kv,
            }),
            expected: None,
        });
        let reply = self.0.propose(caller.author(), body, deadline).await?;
        let ReplyBody::Delete(result) = reply.body else {
            return Err(error::unexpected());
        };
        Ok(Response::new(DeleteRangeResponse {
            header: self.0.header(reply.revision),
            deleted: convert::signed(result.deleted),
            prev_kvs: result.previous.iter().map(convert::found).collect(),
        }))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let answer = self
            .0
            .transact(&caller, request.into_inner(), deadline)
            .await?;
        Ok(Response::new(answer))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let body = Body::Compact(log::Compact {
            revision: u64::try_from(request.into_inner().revision).unwrap_or(0),
        });
        let reply = self.0.propose(caller.author(), body, deadline).await?;
        Ok(Response::new(CompactionResponse {
            header: self.0.header(reply.revision),
        }))
    }
}
