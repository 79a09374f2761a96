//! A transaction on its way to the store: the command, and what its answer will be made from.

use holdfast_core::{OperationResult, TransactionResult};
use holdfast_proto::{
    etcd::etcdserverpb::{
        Compare, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
    v1::{self, compare::Relation, compare::Target, operation::Operation as Kind},
};

use crate::etcd::{convert, range};

/// What remains of a transaction to answer it.
pub(super) struct Branches {
    pub(super) then: Vec<Step>,
    pub(super) otherwise: Vec<Step>,
}

pub(super) enum Step {
    /// With its answer, if it is of an older revision and was read.
    Range(RangeRequest, Option<RangeResponse>),
    Put,
    Delete,
    Transaction(Branches),
}

impl Branches {
    /// Ranges of an older revision on the path taken that have no answer yet.
    pub(super) fn unread<'a>(
        &'a mut self,
        result: &TransactionResult,
        unread: &mut Vec<(&'a RangeRequest, &'a mut Option<RangeResponse>)>,
    ) {
        let steps = if result.succeeded {
            &mut self.then
        } else {
            &mut self.otherwise
        };
        for (step, result) in steps.iter_mut().zip(&result.results) {
            match (step, result) {
                (Step::Range(request, answer), _) if is_older(request) && answer.is_none() => {
                    unread.push((request, answer));
                }
                (Step::Transaction(inner), OperationResult::Transaction(result)) => {
                    inner.unread(result, unread);
                }
                _ => {}
            }
        }
    }
}

fn is_older(request: &RangeRequest) -> bool {
    request.revision > 0
}

/// The ranges of an older revision, in order.
pub(super) fn older_ranges<'a>(request: &'a TxnRequest, found: &mut Vec<&'a RangeRequest>) {
    for step in request.success.iter().chain(&request.failure) {
        match &step.request {
            Some(Request::RequestRange(range)) if is_older(range) => found.push(range),
            Some(Request::RequestTxn(inner)) => older_ranges(inner, found),
            _ => {}
        }
    }
}

/// The command of a checked transaction. `early` are the answers of its [`older_ranges`].
pub(super) fn plan(
    request: TxnRequest,
    early: &mut impl Iterator<Item = Option<RangeResponse>>,
) -> (v1::Transaction, Branches) {
    let (then, then_plan) = steps(request.success, early);
    let (otherwise, otherwise_plan) = steps(request.failure, early);
    let transaction = v1::Transaction {
        compare: request.compare.into_iter().map(compare).collect(),
        then,
        otherwise,
    };
    let plan = Branches {
        then: then_plan,
        otherwise: otherwise_plan,
    };
    (transaction, plan)
}

fn steps(
    requests: Vec<RequestOp>,
    early: &mut impl Iterator<Item = Option<RangeResponse>>,
) -> (Vec<v1::Operation>, Vec<Step>) {
    let parts = requests.into_iter().filter_map(|step| {
        let (operation, step) = match step.request? {
            Request::RequestRange(request) => {
                let answer = if is_older(&request) {
                    early.next().flatten()
                } else {
                    None
                };
                (Kind::Range(read(&request)), Step::Range(request, answer))
            }
            Request::RequestPut(request) => (Kind::Put(put(request)), Step::Put),
            Request::RequestDeleteRange(request) => {
                let delete = v1::DeleteOperation {
                    range: Some(convert::wire_range(request.key, request.range_end)),
                    previous: request.prev_kv,
                };
                (Kind::Delete(delete), Step::Delete)
            }
            Request::RequestTxn(request) => {
                let (inner, branches) = plan(request, early);
                (Kind::Transaction(inner), Step::Transaction(branches))
            }
        };
        let operation = v1::Operation {
            operation: Some(operation),
        };
        Some((operation, step))
    });
    parts.unzip()
}

/// Sorting and filters come when the answer is there.
fn read(request: &RangeRequest) -> v1::RangeOperation {
    let limit = match range::most_rows(request) {
        usize::MAX => 0,
        most => most as u64,
    };
    v1::RangeOperation {
        range: Some(convert::wire_range(
            request.key.clone(),
            request.range_end.clone(),
        )),
        limit,
        keys_only: !range::needs_values(request),
        count_only: request.count_only,
        revision: u64::try_from(request.revision).unwrap_or(0),
    }
}

/// A checked put.
pub(in crate::etcd) fn put(request: PutRequest) -> v1::PutOperation {
    v1::PutOperation {
        key: request.key,
        value: (!request.ignore_value).then(|| convert::value(request.value)),
        lease: request.lease.cast_unsigned(),
        previous: request.prev_kv,
        keep_value: request.ignore_value,
        keep_lease: request.ignore_lease,
        replace_secret: false,
        seal: None,
    }
}

/// A checked compare. One that names another target than it compares compares with nothing.
pub(super) fn compare(request: Compare) -> v1::Compare {
    let (result, target) = (request.result(), request.target());
    let relation = match result {
        CompareResult::Equal => Relation::Equal,
        CompareResult::NotEqual => Relation::NotEqual,
        CompareResult::Greater => Relation::Greater,
        CompareResult::Less => Relation::Less,
    };
    let (relation, target) = match (target, request.target_union) {
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => {
            (relation, Target::Canonical(convert::value(value)))
        }
        (CompareTarget::Value, _) => (
            relation,
            Target::Canonical(convert::value(bytes::Bytes::new())),
        ),
        (CompareTarget::Lease, Some(TargetUnion::Lease(lease))) => {
            (relation, Target::Lease(lease.cast_unsigned()))
        }
        (CompareTarget::Lease, _) => (relation, Target::Lease(0)),
        (CompareTarget::Version, Some(TargetUnion::Version(number))) => {
            with_number(relation, number, Target::Version)
        }
        (CompareTarget::Version, _) => (relation, Target::Version(0)),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(number))) => {
            with_number(relation, number, Target::Created)
        }
        (CompareTarget::Create, _) => (relation, Target::Created(0)),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(number))) => {
            with_number(relation, number, Target::Modified)
        }
        (CompareTarget::Mod, _) => (relation, Target::Modified(0)),
    };
    v1::Compare {
        range: Some(convert::wire_range(request.key, request.range_end)),
        relation: relation.into(),
        target: Some(target),
    }
}

/// Ours are never negative: what is compared with less than 0 is always greater.
fn with_number(relation: Relation, number: i64, target: fn(u64) -> Target) -> (Relation, Target) {
    match (u64::try_from(number), relation) {
        (Ok(number), relation) => (relation, target(number)),
        (Err(_), Relation::Greater | Relation::NotEqual) => (Relation::NotEqual, target(u64::MAX)),
        (Err(_), Relation::Equal | Relation::Less) => (Relation::Equal, target(u64::MAX)),
    }
}
