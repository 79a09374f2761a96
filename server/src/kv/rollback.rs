//! Rollback: keys go back to what they were, as one new revision.
//!
//! The plan is made from a view of the state and proposed as one transaction that holds only if
//! nothing in the range was written since; if something was, the plan is made anew. A secret comes
//! back sealed for the version that it becomes; nobody is shown it.

use std::{sync::Arc, time::Instant};

use holdfast_core::{AtRevision, State, VersionId};
use holdfast_proto::{
    KeyRange, Revision, Value, limits,
    log::v1::{command::Body, reply},
    v1::{self, operation::Operation as Kind},
};
use tonic::Status;

use super::{past, unexpected};
use crate::{
    access::Permit,
    caller::Caller,
    convert,
    envelopes::{self, OPENS_SOON},
    host::{Host, Proposal},
    keyring::pause,
    status::{Reason, invalid},
};

/// `Kv.Rollback`.
pub(super) async fn rollback(
    host: &Arc<Host>,
    request: v1::RollbackRequest,
    caller: &Caller,
    deadline: Instant,
) -> Result<v1::RollbackResponse, Status> {
    let range = convert::range(request.range)?;
    let to = Revision::new(request.to)
        .ok_or_else(|| invalid("the rollback names no revision; give one from 1 on"))?;
    let note = if request.note.is_empty() {
        format!("rollback to revision {to}")
    } else {
        request.note
    };
    // The caller's request id belongs to the first try alone: a repeat of the call gets that try's
    // answer if it was applied. Later tries need none, because each holds only on its own view.
    let mut id = request.request;
    let patience = deadline.min(Instant::now() + OPENS_SOON);
    loop {
        host.barrier(deadline).await?;
        let check = |_: &State, permit: &Permit| permit.write_all(&range);
        host.permit(caller, deadline, check).await?;
        let state = host.replica.store().view();
        let (planner, planned, at) = (host.clone(), range.clone(), state.revision());
        let planned = past::on_blocking_thread(move || plan(&planner, &state, &planned, to)).await;
        let operations = match planned {
            Err(status) if Reason::KeyringClosed.is_of(&status) => {
                pause(patience, status).await?;
                continue;
            }
            planned => planned?,
        };
        // What is put back is written, and what was not there then is deleted.
        let check = |_: &State, permit: &Permit| {
            let mut steps = operations.iter().filter_map(|step| step.operation.as_ref());
            steps.try_for_each(|step| match step {
                Kind::Delete(delete) => permit.deletion(delete),
                _ => Ok(()),
            })
        };
        host.permit(caller, deadline, check).await?;
        if operations.is_empty() && id.is_none() {
            return Ok(v1::RollbackResponse {
                header: host.header_now(),
                revision: 0,
                changed: 0,
            });
        }
        let proposal = Proposal {
            request: id.clone(),
            author: caller.author().to_string(),
            note: note.clone(),
            body: Body::Transact(v1::Transaction {
                compare: vec![nothing_newer(&range, at)],
                then: operations,
                otherwise: Vec::new(),
            }),
        };
        let reply = match host.propose(proposal, deadline).await {
            // A new epoch began, or a secret was written, since it was sealed. Nothing is remembered
            // of such a try.
            Err(status) if Reason::Reseal.is_of(&status) => {
                pause(deadline, status).await?;
                continue;
            }
            reply => reply?.into_wire(),
        };
        id = None;
        let Some(reply::Body::Transact(result)) = reply.body else {
            return Err(unexpected());
        };
        if result.succeeded {
            let changed = result.results.len() as u64;
            return Ok(v1::RollbackResponse {
                header: host.header(reply.revision),
                revision: if changed == 0 { 0 } else { reply.revision },
                changed,
            });
        }
        if Instant::now() >= deadline {
            return Err(Reason::Conflict.status(
                "the keys kept changing, so nothing was rolled back; try again with a longer \
                 deadline, or a narrower range",
            ));
        }
    }
}

/// What brings the range back to `to`.
fn plan(
    host: &Host,
    state: &State,
    range: &KeyRange,
    to: Revision,
) -> Result<Vec<v1::Operation>, Status> {
    let Some(now) = Revision::new(state.revision()) else {
        return Ok(Vec::new());
    };
    let changed = past::changed(state, range, to, now)?;
    if changed.len() > limits::TRANSACTION_OPERATIONS {
        return Err(Reason::TooMany.status(format!(
            "{} keys differ from revision {to}, and a rollback changes at most {} at once; \
             nothing was changed; roll back narrower ranges one after the other",
            changed.len(),
            limits::TRANSACTION_OPERATIONS
        )));
    }
    changed
        .into_iter()
        .map(|difference| {
            let kind = match difference.before {
                // A lease of back then may be gone: the value returns without it.
                Some(then) => Kind::Put(v1::PutOperation {
                    keep_lease: difference.after.is_some(),
                    ..again(host, state, &then)?
                }),
                None => Kind::Delete(v1::DeleteOperation {
                    range: Some(KeyRange::single(&difference.key).into()),
                    previous: false,
                }),
            };
            Ok(v1::Operation {
                operation: Some(kind),
            })
        })
        .collect()
}

/// Puts an older version again.
fn again(host: &Host, state: &State, then: &AtRevision) -> Result<v1::PutOperation, Status> {
    let payload = match past::value_of(host.replica.store(), then)? {
        Value::Sealed(payload) => payload,
        value => {
            return Ok(v1::PutOperation {
                key: then.key.to_bytes(),
                value: Some(value.into()),
                // It was there for all to read before.
                replace_secret: true,
                ..v1::PutOperation::default()
            });
        }
    };
    let id = VersionId {
        key: then.key.clone(),
        revision: then.meta.revision,
    };
    let plaintext = envelopes::open(&host.keys, state, &id, then.meta.version, &payload)?;
    envelopes::seal(&host.keys, state, &then.key, &plaintext)
}

/// Holds while no key of the range was put after `revision`.
fn nothing_newer(range: &KeyRange, revision: u64) -> v1::Compare {
    v1::Compare {
        range: Some(range.clone().into()),
        relation: v1::compare::Relation::Less.into(),
        target: Some(v1::compare::Target::Modified(revision + 1)),
    }
}
