//! `KV.Txn`: etcd's transactions as ours, and the answers back.
//!
//! One that only reads is answered from one view of the state, with no proposal. In one that
//! writes, a read at an older revision is made here: what was there does not change any more, but
//! its values may be on disk, where applying a command does not look. The command carries the
//! revision along, and is refused as a whole if it cannot be read.

mod answer;
mod plan;

use std::time::Instant;

use holdfast_core::{Compare, ReplyBody, State};
use holdfast_proto::{
    etcd::etcdserverpb::{
        RangeRequest, RangeResponse, ResponseOp, TxnRequest, TxnResponse, request_op::Request,
        response_op::Response,
    },
    log::v1::command::Body,
};
use tonic::Status;

use self::plan::Branches;
pub(super) use self::plan::put;
use super::{Front, check, error, header::of_part, permit};
use crate::{access::Permit, caller::Caller};

impl Front {
    /// `KV.Txn`.
    pub(super) async fn transact(
        &self,
        caller: &Caller,
        request: TxnRequest,
        deadline: Instant,
    ) -> Result<TxnResponse, Status> {
        check::transaction(&request)?;
        let only_reads = only_reads(&request);
        let may = |state: &State, permit: &Permit| permit::transaction(state, permit, &request);
        if only_reads.is_none() {
            self.permit(caller, deadline, may).await?;
        }
        self.allow_transaction(&request, only_reads.is_some())?;
        if let Some(serializable) = only_reads {
            match serializable {
                true => self.own_writes(deadline).await,
                false => self.barrier(deadline).await?,
            }
            // What is as fresh as that obeys the policy that is.
            self.permit(caller, deadline, may).await?;
            return self.look(self.host.replica.store().view(), request).await;
        }
        let early = self.read_early(&request, deadline).await?;
        let (transaction, mut plan) = plan::plan(request, &mut early.into_iter());
        let reply = self
            .propose(caller.author(), Body::Transact(transaction), deadline)
            .await?;
        let ReplyBody::Transact(result) = reply.body else {
            return Err(error::unexpected());
        };
        self.read_late(&mut plan, &result, reply.revision, deadline)
            .await?;
        let mut answer = answer::of(plan, result, reply.revision);
        answer.header = self.header(reply.revision);
        Ok(answer)
    }

    /// A transaction that only reads, on one view.
    async fn look(&self, state: State, request: TxnRequest) -> Result<TxnResponse, Status> {
        let mut compares = request.compare.into_iter().map(plan::compare);
        let succeeded = compares
            .all(|compare| Compare::try_from(compare).is_ok_and(|compare| state.holds(&compare)));
        let steps = if succeeded {
            request.success
        } else {
            request.failure
        };
        let revision = state.revision();
        let mut responses = Vec::with_capacity(steps.len());
        for step in steps {
            let Some(Request::RequestRange(range)) = step.request else {
                continue;
            };
            let mut answer = self.range_of(state.clone(), &range).await?;
            answer.header = of_part(revision);
            responses.push(ResponseOp {
                response: Some(Response::ResponseRange(answer)),
            });
        }
        Ok(TxnResponse {
            header: self.header(revision),
            succeeded,
            responses,
        })
    }

    /// The ranges at an older revision of a transaction that writes, in its order; `None`: not
    /// readable here yet, or any more.
    async fn read_early(
        &self,
        request: &TxnRequest,
        deadline: Instant,
    ) -> Result<Vec<Option<RangeResponse>>, Status> {
        let mut ranges = Vec::new();
        plan::older_ranges(request, &mut ranges);
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        self.barrier(deadline).await?;
        let state = self.host.replica.store().view();
        let mut read = Vec::with_capacity(ranges.len());
        for range in ranges {
            read.push(self.range_of(state.clone(), range).await.ok());
        }
        Ok(read)
    }

    /// What was not readable before, and is now that the transaction was applied.
    async fn read_late(
        &self,
        plan: &mut Branches,
        result: &holdfast_core::TransactionResult,
        revision: u64,
        deadline: Instant,
    ) -> Result<(), Status> {
        let mut unread: Vec<(&RangeRequest, &mut Option<RangeResponse>)> = Vec::new();
        plan.unread(result, &mut unread);
        if unread.is_empty() {
            return Ok(());
        }
        let state = self
            .host
            .wait_for(Some(deadline), |state| {
                (state.revision() >= revision).then(|| state.clone())
            })
            .await
            .map_err(|status| error::of_ours(&status))?;
        for (request, answer) in unread {
            *answer = Some(self.range_of(state.clone(), request).await?);
        }
        Ok(())
    }
}

/// Whether nothing is written; then whether no read asks for more than what this node has.
fn only_reads(request: &TxnRequest) -> Option<bool> {
    let mut serializable = !(request.success.is_empty() && request.failure.is_empty());
    for step in request.success.iter().chain(&request.failure) {
        match &step.request {
            Some(Request::RequestRange(range)) => serializable &= range.serializable,
            _ => return None,
        }
    }
    Some(serializable)
}
