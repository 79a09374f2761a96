//! A plain value for a key that holds a secret is most likely that secret, put by the wrong command.
//!
//! `apply` refuses it; by then it stands in the log of every node. So it is refused here, too, before
//! it is proposed. What slips by in the moment in which a key becomes a secret is refused there.

use std::time::Instant;

use holdfast_core::State;
use holdfast_proto::{ValueKind, v1, v1::operation::Operation as Kind};
use tonic::Status;

use crate::{convert, host::Host, status::Reason};

/// Refuses a put of a plain value in the place of a secret.
pub(super) async fn check_put(
    host: &Host,
    put: &v1::PutOperation,
    deadline: Instant,
) -> Result<(), Status> {
    check(host, deadline, |state| replaces(state, put)).await
}

/// As [`check_put`], of every put of a transaction, on both branches.
pub(super) async fn check_transaction(
    host: &Host,
    transaction: &v1::Transaction,
    deadline: Instant,
) -> Result<(), Status> {
    check(host, deadline, |state| found(state, transaction)).await
}

/// `found` says which key. Who lags refuses nobody.
async fn check(
    host: &Host,
    deadline: Instant,
    found: impl Fn(&State) -> Option<bytes::Bytes>,
) -> Result<(), Status> {
    let found = || host.read(|state| state.has_secrets().then(|| found(state)).flatten());
    if found().is_none() {
        return Ok(());
    }
    host.barrier(deadline).await?;
    let Some(key) = found() else {
        return Ok(());
    };
    let key = convert::key(key)?;
    Err(Reason::IsSecret.status(format!(
        "{key} is a secret, and a plain value in its place is there for all to read; nothing was \
         written: put it as a secret, or say that the secret is to be replaced"
    )))
}

fn found(state: &State, transaction: &v1::Transaction) -> Option<bytes::Bytes> {
    let mut steps = transaction.then.iter().chain(&transaction.otherwise);
    steps.find_map(|step| match step.operation.as_ref()? {
        Kind::Put(put) => replaces(state, put),
        Kind::Transaction(inner) => found(state, inner),
        _ => None,
    })
}

fn replaces(state: &State, put: &v1::PutOperation) -> Option<bytes::Bytes> {
    if put.replace_secret || put.value.is_none() {
        return None;
    }
    let entry = state.get(&put.key)?;
    (entry.value.kind() == ValueKind::Sealed).then(|| put.key.clone())
}
