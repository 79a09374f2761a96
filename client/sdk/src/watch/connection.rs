//! One connection of a watch: it ends with its node, the watch goes on with the next.

use std::sync::Arc;

use holdfast_proto::v1::{self, watch_request::Request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Client, attempt::Attempt, node::Node};

pub(super) struct Connection {
    pub(super) node: Arc<Node>,
    pub(super) responses: Streaming<v1::WatchResponse>,
    /// Whether the server said that it watches.
    pub(super) created: bool,
    requests: mpsc::Sender<v1::WatchRequest>,
}

impl Connection {
    pub(super) async fn open(
        client: &Client,
        node: Arc<Node>,
        create: v1::WatchCreate,
    ) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(2);
        // The queue was just made and has room.
        let _ = requests.try_send(request(Request::Create(create)));
        let limit = client.options().attempt_timeout;
        // No time limit in the request: it would end the watch.
        let mut watch = Attempt::new(&node, limit).watch();
        let opening = watch.watch(ReceiverStream::new(queue));
        let responses = tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(Status::unavailable(format!("no answer within {limit:?}"))))?
            .into_inner();
        Ok(Self {
            node,
            responses,
            created: false,
            requests,
        })
    }

    pub(super) fn request_progress(&self) {
        // Full means that one is on its way already.
        let asked = request(Request::Progress(v1::WatchProgressRequest {}));
        let _ = self.requests.try_send(asked);
    }
}

fn request(request: Request) -> v1::WatchRequest {
    v1::WatchRequest {
        request: Some(request),
    }
}
