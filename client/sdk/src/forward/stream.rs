//! Streams by their path: one connection each, to one server. Who asked makes another when it breaks.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::uri::PathAndQuery;
use tonic::{Response, Status, Streaming};

use super::{BytesCodec, Forwarding, NotForwarded, plain};
use crate::{
    Client,
    attempt::Attempt,
    reason::{self, Verdict, describe},
};

impl Client {
    /// Opens a stream at one server; `how.timeout` is for the opening alone.
    #[doc(hidden)]
    pub async fn forward_stream(
        &self,
        path: &PathAndQuery,
        messages: impl Stream<Item = Bytes> + Send + 'static,
        how: Forwarding,
    ) -> Result<Response<Streaming<Bytes>>, NotForwarded> {
        let nodes = self.nodes();
        let node = nodes
            .pick(how.route(self), how.needs(), None)
            .ok_or_else(|| NotForwarded::Unreachable("there is no server to ask".to_owned()))?;
        let asked = std::time::Instant::now();
        let limit: Duration = how.timeout;
        let attempt = Attempt::new(&node, limit);
        let opening = async {
            let mut grpc = plain(&attempt).await?;
            // No time limit in the request: it would end the stream.
            let request = tonic::Request::new(messages);
            grpc.streaming(request, path.clone(), BytesCodec).await
        };
        let opened = tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(Status::unavailable(format!("no answer within {limit:?}"))));
        opened.map_err(|status| {
            let last = format!("{}: {}", node.address(), describe(&status));
            let verdict = node.judge(&status);
            if verdict == Verdict::Final {
                return NotForwarded::Refused(status);
            }
            if !reason::node_is_well(&status) {
                nodes.unreachable(&node, asked);
            }
            match verdict {
                Verdict::Untrusted => NotForwarded::Untrusted(last),
                Verdict::RetryUntouched => NotForwarded::Unreachable(last),
                Verdict::RetryUnknown | Verdict::Final => NotForwarded::Unknown(last),
            }
        })
    }
}
