//! The answer of a transaction that was applied.

use holdfast_core::{OperationResult, RangeResult, TransactionResult};
use holdfast_proto::etcd::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeRequest, RangeResponse, ResponseHeader, ResponseOp,
    TxnResponse, response_op::Response,
};

use super::plan::{Branches, Step};
use crate::etcd::{convert, header::of_part, range};

/// Without the head of the whole.
pub(super) fn of(plan: Branches, result: TransactionResult, revision: u64) -> TxnResponse {
    let changed = u64::from(has_changed(&result));
    let mut run = Run {
        begun: revision - changed,
        revision: revision - changed,
    };
    run.transaction(plan, result)
}

/// Whether it made a revision.
fn has_changed(result: &TransactionResult) -> bool {
    result.results.iter().any(|result| match result {
        OperationResult::Range(_) => false,
        OperationResult::Put(_) => true,
        OperationResult::Delete(result) => result.deleted > 0,
        OperationResult::Transaction(result) => has_changed(result),
    })
}

/// Each part says at which revision it was carried out: the one there was, or the new one once
/// something had changed.
struct Run {
    begun: u64,
    revision: u64,
}

impl Run {
    fn transaction(&mut self, plan: Branches, result: TransactionResult) -> TxnResponse {
        let steps = if result.succeeded {
            plan.then
        } else {
            plan.otherwise
        };
        let parts = steps.into_iter().zip(result.results);
        TxnResponse {
            header: Some(ResponseHeader::default()),
            succeeded: result.succeeded,
            responses: parts
                .map(|(step, result)| ResponseOp {
                    response: self.part(step, result),
                })
                .collect(),
        }
    }

    fn part(&mut self, step: Step, result: OperationResult) -> Option<Response> {
        Some(match (step, result) {
            (Step::Range(_, Some(answer)), _) => Response::ResponseRange(RangeResponse {
                header: of_part(self.revision),
                ..answer
            }),
            (Step::Range(request, None), OperationResult::Range(result)) => {
                Response::ResponseRange(RangeResponse {
                    header: of_part(self.revision),
                    ..found(&request, &result)
                })
            }
            (_, OperationResult::Put(result)) => {
                self.change();
                Response::ResponsePut(PutResponse {
                    header: of_part(self.revision),
                    prev_kv: result.previous.as_ref().map(convert::found),
                })
            }
            (_, OperationResult::Delete(result)) => {
                if result.deleted > 0 {
                    self.change();
                }
                Response::ResponseDeleteRange(DeleteRangeResponse {
                    header: of_part(self.revision),
                    deleted: convert::signed(result.deleted),
                    prev_kvs: result.previous.iter().map(convert::found).collect(),
                })
            }
            (Step::Transaction(plan), OperationResult::Transaction(result)) => {
                Response::ResponseTxn(self.transaction(plan, result))
            }
            _ => return None,
        })
    }

    fn change(&mut self) {
        self.revision = self.begun + 1;
    }
}

fn found(request: &RangeRequest, result: &RangeResult) -> RangeResponse {
    if request.count_only {
        return RangeResponse {
            count: convert::signed(result.count),
            ..RangeResponse::default()
        };
    }
    let pairs = result
        .entries
        .iter()
        .map(|found| convert::pair(found.key.to_bytes(), &found.entry, !result.keys_only));
    range::arrange(pairs.collect(), result.count, request)
}
