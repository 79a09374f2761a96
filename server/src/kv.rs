//! The keyspace: reads, writes, and the past of both.
//!
//! A write is one proposal; what it means is decided where it is applied. A read is a barrier (if
//! it is to be linearizable) and a look at the local state. Values from the past come from disk, on
//! a blocking thread.

mod in_the_clear;
pub(crate) mod past;
mod range;
mod rollback;

pub(crate) use self::past::{on_blocking_thread, value};

use std::sync::Arc;

use holdfast_core::State;
use holdfast_proto::{
    log::v1::{self as log, command::Body, reply},
    v1::{self, kv_server::Kv},
};
use tonic::{Request, Response, Status};

use crate::{
    access::Permit,
    author,
    caller::Caller,
    deadline,
    host::{Host, Proposal},
    status::Reason,
};

/// `holdfast.v1.Kv` of one node.
pub(crate) struct KvService {
    host: Arc<Host>,
}

impl KvService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<v1::RangeRequest>,
    ) -> Result<Response<v1::RangeResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        range::range(&self.host, request.into_inner(), &caller, deadline)
            .await
            .map(Response::new)
    }

    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let put = v1::PutOperation {
            key: request.key,
            value: request.value,
            lease: request.lease,
            previous: request.previous,
            keep_value: request.keep_value,
            keep_lease: request.keep_lease,
            replace_secret: request.replace_secret,
            seal: None,
        };
        let check = |state: &State, permit: &Permit| permit.put(state, &put);
        self.host.permit(&caller, deadline, check).await?;
        in_the_clear::check_put(&self.host, &put, deadline).await?;
        let author = caller.author().to_string();
        let body = Body::Put(log::Put {
            put: Some(put),
            expected: request.expected,
        });
        let reply = self
            .write(request.request, author, request.note, body, deadline)
            .await?;
        let Some(reply::Body::Put(result)) = reply.body else {
            return Err(unexpected());
        };
        Ok(Response::new(v1::PutResponse {
            header: self.host.header(reply.revision),
            revision: reply.revision,
            previous: result.previous,
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let delete = v1::DeleteOperation {
            range: request.range,
            previous: request.previous,
        };
        let check = |_: &State, permit: &Permit| permit.deletion(&delete);
        self.host.permit(&caller, deadline, check).await?;
        let author = caller.author().to_string();
        let body = Body::Delete(log::Delete {
            delete: Some(delete),
            expected: request.expected,
        });
        let reply = self
            .write(request.request, author, request.note, body, deadline)
            .await?;
        let Some(reply::Body::Delete(result)) = reply.body else {
            return Err(unexpected());
        };
        Ok(Response::new(v1::DeleteResponse {
            header: self.host.header(reply.revision),
            revision: if result.deleted == 0 {
                0
            } else {
                reply.revision
            },
            deleted: result.deleted,
            previous: result.previous,
        }))
    }

    async fn transact(
        &self,
        request: Request<v1::TransactRequest>,
    ) -> Result<Response<v1::TransactResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let transaction = request.transaction.unwrap_or_default();
        refuse_sealed(&transaction)?;
        let check = |state: &State, permit: &Permit| permit.transaction(state, &transaction);
        self.host.permit(&caller, deadline, check).await?;
        in_the_clear::check_transaction(&self.host, &transaction, deadline).await?;
        let author = caller.author().to_string();
        let body = Body::Transact(transaction);
        let reply = self
            .write(request.request, author, request.note, body, deadline)
            .await?;
        let Some(reply::Body::Transact(result)) = reply.body else {
            return Err(unexpected());
        };
        Ok(Response::new(v1::TransactResponse {
            header: self.host.header(reply.revision),
            revision: reply.revision,
            result: Some(result),
        }))
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        past::history(&self.host, request.into_inner(), &caller, deadline)
            .await
            .map(Response::new)
    }

    async fn diff(
        &self,
        request: Request<v1::DiffRequest>,
    ) -> Result<Response<v1::DiffResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        past::diff(&self.host, request.into_inner(), &caller, deadline)
            .await
            .map(Response::new)
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        rollback::rollback(&self.host, request.into_inner(), &caller, deadline)
            .await
            .map(Response::new)
    }

    async fn compact(
        &self,
        request: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = author::of(&request);
        let request = request.into_inner();
        let body = Body::Compact(log::Compact {
            revision: request.revision,
        });
        let reply = self
            .write(request.request, author, String::new(), body, deadline)
            .await?;
        Ok(Response::new(v1::CompactResponse {
            header: self.host.header(reply.revision),
        }))
    }

    async fn set_retention(
        &self,
        request: Request<v1::SetRetentionRequest>,
    ) -> Result<Response<v1::SetRetentionResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let author = author::of(&request);
        let request = request.into_inner();
        let body = Body::SetRetention(log::SetRetention {
            prefix: request.prefix,
            retention: request.retention,
        });
        let reply = self
            .write(request.request, author, String::new(), body, deadline)
            .await?;
        Ok(Response::new(v1::SetRetentionResponse {
            header: self.host.header(reply.revision),
        }))
    }
}

impl KvService {
    async fn write(
        &self,
        request: Option<v1::RequestId>,
        author: String,
        note: String,
        body: Body,
        deadline: std::time::Instant,
    ) -> Result<log::Reply, Status> {
        let proposal = Proposal {
            request,
            author,
            note,
            body,
        };
        Ok(self.host.propose(proposal, deadline).await?.into_wire())
    }
}

/// What is sealed is sealed by a node: nobody brings it along.
fn refuse_sealed(transaction: &v1::Transaction) -> Result<(), Status> {
    use v1::operation::Operation as Kind;
    let steps = transaction.then.iter().chain(&transaction.otherwise);
    for step in steps.filter_map(|step| step.operation.as_ref()) {
        match step {
            Kind::Put(put) if put.seal.is_some() => {
                return Err(crate::status::invalid(
                    "a transaction cannot bring sealed values; put secrets with Secrets.Put",
                ));
            }
            Kind::Transaction(inner) => refuse_sealed(inner)?,
            _ => {}
        }
    }
    Ok(())
}

/// A command was answered by what no such command answers: a request id was used for two requests.
fn unexpected() -> Status {
    Reason::Invalid.status(
        "this request id was used before, for another kind of request; \
         use a new sequence for each request",
    )
}
