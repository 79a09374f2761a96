//! What a request must be before anything looks at the state: etcd's rules, in its order.

use bytes::Bytes;
use holdfast_proto::{
    etcd::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
    limits,
};
use tonic::Status;

use super::error;

pub(super) fn range(request: &RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(error::empty_key());
    }
    if SortOrder::try_from(request.sort_order).is_err()
        || SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(error::invalid_sort_option());
    }
    Ok(())
}

pub(super) fn put(request: &PutRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(error::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(error::value_provided());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(error::lease_provided());
    }
    if request.key.len() > limits::KEY_BYTES || request.value.len() > limits::VALUE_BYTES {
        return Err(error::too_large());
    }
    Ok(())
}

pub(super) fn delete(request: &DeleteRangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(error::empty_key());
    }
    bounds(&request.key, &request.range_end)
}

pub(super) fn transaction(request: &TxnRequest) -> Result<(), Status> {
    let mut left = limits::TRANSACTION_OPERATIONS;
    part(request, OPERATIONS, limits::TRANSACTION_DEPTH, &mut left)
}

/// `most` operations a list, `depth` levels, and `left` operations in all: the last two are ours.
fn part(request: &TxnRequest, most: usize, depth: usize, left: &mut usize) -> Result<(), Status> {
    let (then, otherwise) = (&request.success, &request.failure);
    let longest = request.compare.len().max(then.len()).max(otherwise.len());
    let total = (then.len() + otherwise.len()).max(request.compare.len());
    if longest > most || total > *left || depth == 0 {
        return Err(error::too_many_operations());
    }
    *left -= total;
    for compare in &request.compare {
        if compare.key.is_empty() {
            return Err(error::empty_key());
        }
        bounds(&compare.key, &compare.range_end)?;
    }
    then.iter()
        .chain(otherwise)
        .try_for_each(|step| operation(step, most - longest, depth - 1, left))
}

fn operation(step: &RequestOp, most: usize, depth: usize, left: &mut usize) -> Result<(), Status> {
    match &step.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete(request),
        Some(Request::RequestTxn(request)) => part(request, most, depth, left),
        None => Err(error::key_not_found()),
    }
}

/// A bound that no key reaches would only bloat the log.
fn bounds(key: &Bytes, end: &Bytes) -> Result<(), Status> {
    if key.len().max(end.len()) > limits::KEY_BYTES + 1 {
        return Err(error::too_large());
    }
    Ok(())
}

/// etcd's limit for each list of a transaction, unless it was started with another.
const OPERATIONS: usize = 128;
