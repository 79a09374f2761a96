//! etcd's Watch service: many watches on one stream.
//!
//! As on our own front, a watch has no queue: it is a place in the history, and HTTP/2's flow control
//! asks for the next message when there is room. The watches of a stream that have seen everything
//! move on together, with one look at what changed; one that is behind catches up alone.
//! Invariants:
//!
//! 1. A watch gets revisions in order, each once, and never in parts unless it asked for fragments.
//! 2. `created` comes before a watch's first event; answers to requests keep their order.
//! 3. A progress mark is never ahead of an event of the watches that it speaks for.
//! 4. Nothing is told to who may not read the whole range of a watch by then: that watch is canceled.
//! 5. A watch whose revision is gone is canceled with the revision to begin again from.

mod older;
mod requests;
mod stream;
mod watcher;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream as streams};
use holdfast_proto::etcd::etcdserverpb::{WatchRequest, WatchResponse, watch_server::Watch};
use tonic::{Request, Response, Status, Streaming};

use self::stream::Watches;
use super::{Front, door::NEEDS_LEADER};
use crate::caller::Caller;

/// `etcdserverpb.Watch` of one node.
pub(super) struct WatchService(pub(super) Arc<Front>);

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request);
        let needs_leader = request.metadata().get(NEEDS_LEADER);
        let needs_leader = needs_leader.is_some_and(|needs| needs == "true");
        let watches = Watches::new(self.0.clone(), caller, request.into_inner(), needs_leader);
        let responses = streams::unfold(Some(watches), |watches| async move {
            let mut watches = watches?;
            match watches.next().await {
                Ok(response) => Some((Ok(response), Some(watches))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}
