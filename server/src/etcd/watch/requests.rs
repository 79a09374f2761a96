//! What a client asks of its watches: to begin, to end, and how far they are.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use holdfast_core::State;
use holdfast_proto::etcd::etcdserverpb::{
    WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};
use tonic::Status;

use super::{stream::Watches, watcher::Watcher};
use crate::etcd::{convert, error};

impl Watches {
    /// Carries out all requests that are there.
    pub(super) async fn answer_requests(&mut self) -> Result<(), Status> {
        while let Some(inbound) = &mut self.inbound {
            match inbound.message().now_or_never() {
                None => break,
                Some(Ok(Some(request))) => self.asked.push_back(request),
                Some(Ok(None)) => self.inbound = None,
                Some(Err(status)) => return Err(status),
            }
        }
        if self
            .asked
            .iter()
            .any(|asked| begins_now(asked) || self.is_denied(asked))
        {
            // "Now" is at least what was acknowledged before; without a quorum, what this node has.
            // And who lags refuses nobody.
            let fresh = self.front.barrier(Instant::now() + FRESHEN).await;
            if let Err(status) = fresh {
                tracing::debug!(%status, "a watch begins without a quorum");
            }
        }
        while let Some(request) = self.asked.pop_front() {
            match request.request_union {
                Some(RequestUnion::CreateRequest(create)) => self.create(create),
                Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
                Some(RequestUnion::ProgressRequest(_)) => self.progress_asked = true,
                // As etcd does, a request of a kind not known here is passed over.
                None => {}
            }
        }
        Ok(())
    }

    fn create(&mut self, create: WatchCreateRequest) {
        let newest = self.front.host.read(State::revision);
        let response = WatchResponse {
            header: self.front.header(newest),
            created: true,
            ..WatchResponse::default()
        };
        match self.begin(create, newest) {
            Ok(id) => self.outbox.push_back(WatchResponse {
                watch_id: id,
                ..response
            }),
            Err(why) => self.outbox.push_back(WatchResponse {
                watch_id: NO_WATCH,
                canceled: true,
                cancel_reason: why.to_owned(),
                ..response
            }),
        }
    }

    fn begin(&mut self, create: WatchCreateRequest, newest: u64) -> Result<i64, &'static str> {
        let next = match u64::try_from(create.start_revision) {
            Ok(0) => newest + 1,
            Ok(start) => start,
            Err(_) => return Err(error::COMPACTED),
        };
        let filters: Vec<_> = create.filters().collect();
        let key = first(&create.key);
        let end = create.range_end;
        if !end.is_empty() && end[..] != [0] && key >= end {
            return Err(error::EMPTY_WATCH);
        }
        let range = convert::range(&key, &end);
        let permit = self.caller.permit_now(&self.front.host);
        if let Err(denied) = permit.read(&range) {
            self.note(&denied);
            return Err(error::PERMISSION_DENIED);
        }
        let id = match create.watch_id {
            0 => self.free_id(),
            id if self.all.contains_key(&id) => return Err(error::DUPLICATE_WATCH),
            id => id,
        };
        let mut watcher = Watcher {
            range,
            next,
            settled: create.start_revision == 0,
            previous: create.prev_kv,
            puts: true,
            deletes: true,
            fragment: create.fragment,
            progress: create.progress_notify,
            quiet: true,
        };
        watcher.filter(filters.into_iter());
        self.all.insert(id, watcher);
        Ok(id)
    }

    /// Whether a watch would be refused by what this node knows of the policy.
    fn is_denied(&self, request: &WatchRequest) -> bool {
        let Some(RequestUnion::CreateRequest(create)) = &request.request_union else {
            return false;
        };
        let range = convert::range(&first(&create.key), &create.range_end);
        let permit = self.caller.permit_now(&self.front.host);
        permit.read(&range).is_err()
    }

    /// Ids count up from 0, past those that the client chose.
    fn free_id(&mut self) -> i64 {
        while self.all.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn cancel(&mut self, id: i64) {
        if self.all.remove(&id).is_some() {
            self.outbox.push_back(WatchResponse {
                header: self.front.header_now(),
                watch_id: id,
                canceled: true,
                ..WatchResponse::default()
            });
        }
    }
}

/// No key stands for the first that there can be.
fn first(key: &Bytes) -> Bytes {
    match key.is_empty() {
        true => Bytes::from_static(&[0]),
        false => key.clone(),
    }
}

fn begins_now(request: &WatchRequest) -> bool {
    matches!(
        &request.request_union,
        Some(RequestUnion::CreateRequest(create)) if create.start_revision == 0
    )
}

/// Says that an answer is not of one watch.
pub(super) const NO_WATCH: i64 = -1;
/// How long a quorum may take to confirm.
const FRESHEN: Duration = Duration::from_secs(2);
