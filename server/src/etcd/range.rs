//! Reads of a range with etcd's options, now and at an older revision.
//!
//! Filters and sorting look at all of the range, and the limit comes last. A limit without either
//! is applied while reading, as etcd does it; that shows where the order is not asked for but the
//! sort target is.

use std::{cmp::Ordering, time::Instant};

use bytes::Bytes;
use holdfast_core::{AtRevision, Located, State};
use holdfast_disk::{PastError, Store};
use holdfast_proto::{
    KeyRange, Revision, ValueKind,
    etcd::{
        etcdserverpb::{
            RangeRequest, RangeResponse, ResponseHeader,
            range_request::{SortOrder, SortTarget},
        },
        mvccpb::KeyValue,
    },
};
use tonic::Status;

use super::{Front, check, convert, error, permit, veil};
use crate::{access::Permit, caller::Caller, kv::on_blocking_thread, status};

impl Front {
    /// `KV.Range`.
    pub(super) async fn range(
        &self,
        caller: &Caller,
        request: RangeRequest,
        deadline: Instant,
    ) -> Result<RangeResponse, Status> {
        check::range(&request)?;
        match request.serializable {
            true => self.own_writes(deadline).await,
            false => self.barrier(deadline).await?,
        }
        let may = |_: &State, permit: &Permit| permit::range(permit, &request);
        self.permit(caller, deadline, may).await?;
        if is_single(&request) {
            let (revision, pair) = self
                .host
                .read(|state| (state.revision(), single(state, request)));
            return Ok(RangeResponse {
                count: i64::from(pair.is_some()),
                kvs: pair.flatten().into_iter().collect(),
                header: self.header(revision),
                more: false,
            });
        }
        let state = self.host.replica.store().view();
        let revision = state.revision();
        let mut answer = self.range_of(state, &request).await?;
        answer.header = self.header(revision);
        Ok(answer)
    }

    /// A checked request, answered from `state`; without a header.
    pub(super) async fn range_of(
        &self,
        state: State,
        request: &RangeRequest,
    ) -> Result<RangeResponse, Status> {
        match then(request, &state) {
            None => Ok(now(&state, request)),
            Some(revision) => {
                let (store, request) = (self.host.replica.store().clone(), request.clone());
                on_blocking_thread(move || at(&state, &store, &request, revision)).await
            }
        }
    }
}

/// The older revision that is asked for, if any.
fn then(request: &RangeRequest, state: &State) -> Option<Revision> {
    let asked = u64::try_from(request.revision).ok()?;
    Revision::new(asked).filter(|revision| revision.get() != state.revision())
}

/// The commonest read: one key as it is.
fn is_single(request: &RangeRequest) -> bool {
    request.range_end.is_empty() && request.revision <= 0 && !has_filters(request)
}

/// Whether the key is there, and what to show of it.
fn single(state: &State, request: RangeRequest) -> Option<Option<KeyValue>> {
    let entry = state
        .get(&request.key)
        .filter(|entry| !veil::hides(entry))?;
    let shown = !request.count_only;
    Some(shown.then(|| convert::pair(request.key, entry, !request.keys_only)))
}

fn now(state: &State, request: &RangeRequest) -> RangeResponse {
    let range = convert::range(&request.key, &request.range_end);
    // Without secrets the number of all keys is known; with them they are counted out.
    let veiled = veil::is_over(state, &range);
    if request.count_only && !veiled {
        return counted(state.count(&range));
    }
    let (most, with_values) = (most_rows(request), needs_values(request));
    let mut count = 0;
    let mut pairs = Vec::new();
    for (key, entry) in state.range(&range) {
        if veiled && veil::hides(entry) {
            continue;
        }
        count += 1;
        if pairs.len() < most {
            pairs.push(convert::pair(key.to_bytes(), entry, with_values));
        } else if range == KeyRange::all() && !veiled {
            count = state.count(&range);
            break;
        }
    }
    if request.count_only {
        return counted(count);
    }
    arrange(pairs, count, request)
}

/// Blocks on the disk.
fn at(
    state: &State,
    store: &Store,
    request: &RangeRequest,
    revision: Revision,
) -> Result<RangeResponse, Status> {
    let range = convert::range(&request.key, &request.range_end);
    let mut rows = state
        .range_at(&range, revision)
        .map_err(|error| error::not_readable(&error))?;
    rows.retain(|row| row.meta.kind != Some(ValueKind::Sealed));
    let count = rows.len() as u64;
    if request.count_only {
        return Ok(counted(count));
    }
    let with_values = needs_values(request);
    let pairs = rows
        .iter()
        .take(most_rows(request))
        .map(|row| older(store, row, with_values))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(arrange(pairs, count, request))
}

fn older(store: &Store, row: &AtRevision, with_value: bool) -> Result<KeyValue, Status> {
    let key = row.key.to_bytes();
    if !with_value {
        return Ok(convert::version(key, &row.meta, None));
    }
    match &row.value {
        Located::Here(entry) => Ok(convert::version(key, &row.meta, Some(&entry.value))),
        Located::Past(id) => {
            let value = store.value(id).map_err(|error| not_at_hand(&error))?;
            Ok(convert::version(key, &row.meta, Some(&value)))
        }
    }
}

/// An older value is not there: dropped just now, or the past cannot be read.
pub(super) fn not_at_hand(error: &PastError) -> Status {
    match error {
        PastError::Missing => error::compacted(),
        error => status::no_past(error),
    }
}

fn counted(count: u64) -> RangeResponse {
    RangeResponse {
        count: convert::signed(count),
        ..RangeResponse::default()
    }
}

/// How many rows to read: one more than the limit shows that there are more.
pub(super) fn most_rows(request: &RangeRequest) -> usize {
    let reads_all = has_filters(request) || !is_default_order(request);
    match usize::try_from(request.limit) {
        Ok(limit) if limit > 0 && !reads_all => limit.saturating_add(1),
        _ => usize::MAX,
    }
}

/// Whether values are shown, or sorted by.
pub(super) fn needs_values(request: &RangeRequest) -> bool {
    !request.keys_only || request.sort_target() == SortTarget::Value
}

fn has_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn is_default_order(request: &RangeRequest) -> bool {
    match request.sort_order() {
        SortOrder::None => true,
        SortOrder::Ascend => request.sort_target() == SortTarget::Key,
        SortOrder::Descend => false,
    }
}

/// Filters, sorts and cuts what was read, `count` keys in all.
pub(super) fn arrange(
    mut pairs: Vec<KeyValue>,
    count: u64,
    request: &RangeRequest,
) -> RangeResponse {
    if has_filters(request) {
        pairs.retain(|pair| passes(pair, request));
    }
    sort(&mut pairs, request);
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let more = limit > 0 && pairs.len() > limit;
    if more {
        pairs.truncate(limit);
    }
    if request.keys_only && needs_values(request) {
        for pair in &mut pairs {
            pair.value = Bytes::new();
        }
    }
    RangeResponse {
        header: None::<ResponseHeader>,
        kvs: pairs,
        more,
        count: convert::signed(count),
    }
}

fn passes(pair: &KeyValue, request: &RangeRequest) -> bool {
    let within = |revision: i64, least: i64, most: i64| {
        (least == 0 || revision >= least) && (most == 0 || revision <= most)
    };
    within(
        pair.mod_revision,
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        pair.create_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
}

/// Rows come by key; equal ones stay in that order.
fn sort(pairs: &mut [KeyValue], request: &RangeRequest) {
    let by: fn(&KeyValue, &KeyValue) -> Ordering = match request.sort_target() {
        SortTarget::Key => |one, other| one.key.cmp(&other.key),
        SortTarget::Version => |one, other| one.version.cmp(&other.version),
        SortTarget::Create => |one, other| one.create_revision.cmp(&other.create_revision),
        SortTarget::Mod => |one, other| one.mod_revision.cmp(&other.mod_revision),
        SortTarget::Value => |one, other| one.value.cmp(&other.value),
    };
    match (request.sort_order(), request.sort_target()) {
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => {}
        (SortOrder::Descend, SortTarget::Key) => pairs.reverse(),
        (SortOrder::Descend, _) => pairs.sort_by(|one, other| by(other, one)),
        _ => pairs.sort_by(by),
    }
}
