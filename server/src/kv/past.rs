//! What was: versions of a key, and differences between two revisions.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use holdfast_core::{AtRevision, Difference, Located, State, VersionId};
use holdfast_disk::{PastError, Store};
use holdfast_proto::{Key, KeyRange, Revision, Value, v1};
use tonic::Status;

use super::range::too_much;
use crate::{
    access::Permit,
    caller::Caller,
    convert,
    host::Host,
    status::{self, Reason, invalid},
};

/// `Kv.History`.
pub(super) async fn history(
    host: &Arc<Host>,
    request: v1::HistoryRequest,
    caller: &Caller,
    deadline: Instant,
) -> Result<v1::HistoryResponse, Status> {
    let key = convert::key(request.key.clone())?;
    host.barrier(deadline).await?;
    let range = KeyRange::single(&key);
    let check = |_: &State, permit: &Permit| match request.values {
        true => permit.read(&range),
        false => permit.list(&range),
    };
    host.permit(caller, deadline, check).await?;
    let state = host.replica.store().view();
    let store = host.replica.store().clone();
    let mut answer = on_blocking_thread(move || versions(&state, &store, &key, &request)).await?;
    answer.header = host.header_now();
    Ok(answer)
}

fn versions(
    state: &State,
    store: &Store,
    key: &Key,
    request: &v1::HistoryRequest,
) -> Result<v1::HistoryResponse, Status> {
    let mut answer = v1::HistoryResponse::default();
    let mut bytes = 0;
    let wanted = state
        .history(key.as_bytes())
        .into_iter()
        .filter(|meta| request.before == 0 || meta.revision.get() < request.before);
    for meta in wanted {
        let full = bytes > ANSWER_BYTES;
        if full || (request.limit != 0 && answer.versions.len() as u64 == request.limit) {
            answer.more = true;
            break;
        }
        let id = VersionId {
            key: key.clone(),
            revision: meta.revision,
        };
        let value = match state.locate(&id) {
            Some(Located::Here(entry)) if request.values => Some(entry.value.clone()),
            Some(Located::Past(id)) if request.values => Some(value(store, &id)?),
            _ => None,
        };
        let entry = convert::version(key, &meta, value);
        bytes += convert::size(&entry);
        answer.versions.push(v1::Version {
            entry: Some(entry),
            deleted: meta.kind.is_none(),
            digest: Bytes::copy_from_slice(meta.digest.as_bytes()),
        });
    }
    Ok(answer)
}

/// `Kv.Diff`.
pub(super) async fn diff(
    host: &Arc<Host>,
    request: v1::DiffRequest,
    caller: &Caller,
    deadline: Instant,
) -> Result<v1::DiffResponse, Status> {
    let range = convert::range(request.range)?;
    host.barrier(deadline).await?;
    let check = |_: &State, permit: &Permit| permit.read(&range);
    host.permit(caller, deadline, check).await?;
    let state = host.replica.store().view();
    let to = if request.to == 0 {
        state.revision()
    } else {
        request.to
    };
    let from = Revision::new(request.from)
        .ok_or_else(|| invalid("the diff names no first revision; give one from 1 on"))?;
    // Revision 0 is the empty keyspace, so there is no first revision to compare with either.
    let to =
        Revision::new(to).ok_or_else(|| invalid("nothing was ever written; there is no diff"))?;
    let store = host.replica.store().clone();
    let differences =
        on_blocking_thread(move || differences(&state, &store, &range, from, to)).await?;
    Ok(v1::DiffResponse {
        header: host.header_now(),
        differences,
        from: from.get(),
        to: to.get(),
    })
}

fn differences(
    state: &State,
    store: &Store,
    range: &KeyRange,
    from: Revision,
    to: Revision,
) -> Result<Vec<v1::Difference>, Status> {
    let mut bytes = 0;
    let mut differences = Vec::new();
    for difference in changed(state, range, from, to)? {
        let before = difference
            .before
            .map(|row| resolve(store, &row))
            .transpose()?;
        let after = difference
            .after
            .map(|row| resolve(store, &row))
            .transpose()?;
        bytes += before
            .iter()
            .chain(&after)
            .map(convert::size)
            .sum::<usize>();
        if bytes > ANSWER_BYTES {
            return Err(too_much("difference"));
        }
        differences.push(v1::Difference {
            key: difference.key.to_bytes(),
            before,
            after,
        });
    }
    Ok(differences)
}

/// The keys whose values differ between two revisions, in order.
pub(super) fn changed(
    state: &State,
    range: &KeyRange,
    from: Revision,
    to: Revision,
) -> Result<Vec<Difference>, Status> {
    state
        .diff(range, from, to)
        .map_err(|error| status::not_readable(&error))
}

fn resolve(store: &Store, row: &AtRevision) -> Result<v1::Entry, Status> {
    Ok(convert::version(
        &row.key,
        &row.meta,
        Some(value_of(store, row)?),
    ))
}

/// The value of a row, from memory or from disk.
pub(super) fn value_of(store: &Store, row: &AtRevision) -> Result<Value, Status> {
    match &row.value {
        Located::Here(entry) => Ok(entry.value.clone()),
        Located::Past(id) => value(store, id),
    }
}

/// The value of an older version, from disk. Blocks.
pub(crate) fn value(store: &Store, id: &VersionId) -> Result<Value, Status> {
    store.value(id).map_err(|error| match error {
        PastError::Missing => Reason::Compacted.status(format!(
            "the version of {} at revision {} was dropped just now; read it at a newer revision",
            id.key, id.revision
        )),
        error => status::no_past(&error),
    })
}

/// Runs what may read the disk where it holds nobody up.
pub(crate) async fn on_blocking_thread<R: Send + 'static>(
    read: impl FnOnce() -> Result<R, Status> + Send + 'static,
) -> Result<R, Status> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read,
        Err(_) => Err(Reason::Internal.status("the read broke off; try again")),
    }
}

/// An answer with values stays below this, and so within one message with one value more.
const ANSWER_BYTES: usize = 12 * 1024 * 1024;
