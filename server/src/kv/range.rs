//! Ranges of keys, now and at an older revision, in pages that fit one message.

use std::{sync::Arc, time::Instant};

use holdfast_core::{Located, State};
use holdfast_disk::Store;
use holdfast_proto::{Key, KeyRange, Revision, v1};
use tonic::Status;

use super::past;
use crate::{
    access::Permit,
    caller::Caller,
    convert,
    host::Host,
    status::{self, Reason},
};

/// `Kv.Range`.
pub(super) async fn range(
    host: &Arc<Host>,
    request: v1::RangeRequest,
    caller: &Caller,
    deadline: Instant,
) -> Result<v1::RangeResponse, Status> {
    let range = convert::range(request.range)?;
    let wanted = Wanted {
        limit: request.limit,
        keys_only: request.keys_only,
        count_only: request.count_only,
    };
    host.freshen(request.consistency, deadline).await?;
    let check = |permit: &Permit| match wanted.keys_only || wanted.count_only {
        true => permit.list(&range),
        false => permit.read(&range),
    };
    let mut answer = if let Some(key) = range.as_single()
        && request.revision == 0
    {
        let read =
            host.read(|state| check(&caller.permit(state)).map(|()| one(state, key, wanted)));
        match read {
            Ok(answer) => answer,
            Err(_) => {
                host.permit(caller, deadline, |_, permit| check(permit))
                    .await?;
                host.read(|state| one(state, key, wanted))
            }
        }
    } else {
        host.permit(caller, deadline, |_, permit| check(permit))
            .await?;
        let state = host.replica.store().view();
        match Revision::new(request.revision) {
            Some(revision) if revision.get() != state.revision() => {
                let store = host.replica.store().clone();
                past::on_blocking_thread(move || then(&state, &store, &range, revision, wanted))
                    .await?
            }
            _ => now(&state, &range, wanted),
        }
    };
    answer.header = host.header_now();
    Ok(answer)
}

/// What of a range is wanted.
#[derive(Clone, Copy)]
struct Wanted {
    /// 0: as many as fit.
    limit: u64,
    keys_only: bool,
    count_only: bool,
}

/// The commonest read: one key as it is.
fn one(state: &State, key: &[u8], wanted: Wanted) -> v1::RangeResponse {
    let mut answer = v1::RangeResponse {
        revision: state.revision(),
        ..v1::RangeResponse::default()
    };
    if let Some(entry) = state.get(key) {
        answer.count = 1;
        if !wanted.count_only
            && let Ok(key) = Key::new(bytes::Bytes::copy_from_slice(key))
        {
            answer.entries.push(entry.to_wire(&key, !wanted.keys_only));
        }
    }
    answer
}

fn now(state: &State, range: &KeyRange, wanted: Wanted) -> v1::RangeResponse {
    let mut page = Page::new(state.revision(), state.count(range));
    if !wanted.count_only {
        for (key, entry) in state.range(range) {
            if !page.has_room(wanted.limit) {
                page.continue_at(key);
                break;
            }
            page.push(key, entry.to_wire(key, !wanted.keys_only));
        }
    }
    page.answer
}

fn then(
    state: &State,
    store: &Store,
    range: &KeyRange,
    revision: Revision,
    wanted: Wanted,
) -> Result<v1::RangeResponse, Status> {
    let rows = state
        .range_at(range, revision)
        .map_err(|error| status::not_readable(&error))?;
    let mut page = Page::new(revision.get(), rows.len() as u64);
    if !wanted.count_only {
        for row in &rows {
            if !page.has_room(wanted.limit) {
                page.continue_at(&row.key);
                break;
            }
            let value = match &row.value {
                _ if wanted.keys_only => None,
                Located::Here(entry) => Some(entry.value.clone()),
                Located::Past(id) => Some(past::value(store, id)?),
            };
            page.push(&row.key, convert::version(&row.key, &row.meta, value));
        }
    }
    Ok(page.answer)
}

/// One answer, filled until it is full.
struct Page {
    answer: v1::RangeResponse,
    bytes: usize,
    /// The entry that did not fit any more: the next page begins with it.
    full: bool,
}

impl Page {
    fn new(revision: u64, count: u64) -> Self {
        Self {
            answer: v1::RangeResponse {
                revision,
                count,
                ..v1::RangeResponse::default()
            },
            bytes: 0,
            full: false,
        }
    }

    fn has_room(&self, limit: u64) -> bool {
        let entries = self.answer.entries.len() as u64;
        !self.full && (limit == 0 || entries < limit)
    }

    fn push(&mut self, key: &Key, entry: v1::Entry) {
        let bytes = convert::size(&entry);
        if self.bytes + bytes > PAGE_BYTES && !self.answer.entries.is_empty() {
            self.full = true;
            self.continue_at(key);
            return;
        }
        self.bytes += bytes;
        self.answer.entries.push(entry);
    }

    fn continue_at(&mut self, key: &Key) {
        if !self.answer.more {
            self.answer.more = true;
            self.answer.next_key = key.to_bytes();
        }
    }
}

/// A page fits the 4 MiB that gRPC clients accept unless told otherwise.
const PAGE_BYTES: usize = 3 * 1024 * 1024 + 512 * 1024;

/// A request that would need more than one message where there are no pages.
pub(super) fn too_much(what: &str) -> Status {
    Reason::TooLarge.status(format!(
        "the {what} does not fit one answer; ask for a narrower range"
    ))
}
