//! The service behind the socket: looks who asks for what, and has it passed on.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use holdfast_client::forward::{BytesCodec, Forwarding, NotForwarded, refusal};
use holdfast_proto::{
    limits,
    v1::{self, watch_request::Request as Asked},
};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::{Code, Request, Response, Status, Streaming, body::Body, server::Grpc};
use tower::{Service, service_fn};

use super::{
    Shared,
    denied::{Refused, nobody},
    forward,
    grants::Guest,
    table::{self, Row, Way},
    timeout, watch,
};

/// The service of all connections.
#[derive(Clone)]
pub(super) struct Door(Arc<Shared>);

/// One call.
#[derive(Clone)]
struct Call {
    shared: Arc<Shared>,
    guest: Arc<Guest>,
    row: &'static Row,
    path: PathAndQuery,
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;
type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl Door {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    fn let_in(&self, request: &http::Request<Body>) -> Result<Call, Status> {
        let guest = request.extensions().get::<Arc<Guest>>();
        let guest = guest.ok_or_else(|| Status::internal("the system did not say who asks"))?;
        let row = table::find(request.uri().path()).ok_or_else(|| {
            Status::unimplemented(
                "the agent of this node does not know this method, or no agent serves it; go to the \
                 servers, or update kvagent",
            )
        })?;
        if guest.grants.are_none() {
            return Err(nobody(guest));
        }
        Ok(Call {
            shared: Arc::clone(&self.0),
            guest: Arc::clone(guest),
            row,
            path: PathAndQuery::from_maybe_shared(format!("/{}", row.method))
                .map_err(|_| Status::internal("a method's name is a path"))?,
        })
    }
}

impl Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let call = match self.let_in(&request) {
            Ok(call) => call,
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec)
                .max_decoding_message_size(limits::MESSAGE_BYTES)
                .max_encoding_message_size(limits::MESSAGE_BYTES);
            Ok(match call.row.way {
                Way::Watch | Way::Stream => {
                    let service = service_fn(move |request| call.clone().stream(request));
                    grpc.streaming(service, request).await
                }
                _ => {
                    let service = service_fn(move |request| call.clone().once(request));
                    grpc.unary(service, request).await
                }
            })
        })
    }
}

impl Call {
    /// One message, one answer.
    async fn once(self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let otherwise = match self.row.way {
            Way::Wait => Duration::MAX,
            _ => DEFAULT,
        };
        let timeout = timeout::of(request.metadata(), otherwise);
        let message = request.into_inner();
        self.check(&message)?;
        let (shared, path) = (&*self.shared, &self.path);
        match self.row.way {
            Way::Range => forward::range(shared, path, message, timeout).await,
            Way::Reveal => forward::reveal(shared, path, message, &self.guest, timeout).await,
            way => forward::pass(shared, path, way, message, timeout).await,
        }
    }

    /// Messages both ways, the first of which says what it is about.
    async fn stream(self, request: Request<Streaming<Bytes>>) -> Result<Response<Answers>, Status> {
        let mut requests = request.into_inner();
        let first = requests
            .message()
            .await?
            .ok_or_else(|| refusal(Code::InvalidArgument, "invalid", "there was no request"))?;
        self.check(&first)?;
        if self.row.way == Way::Watch {
            let Ok(v1::WatchRequest {
                request: Some(Asked::Create(create)),
            }) = v1::WatchRequest::decode(first)
            else {
                let why = "a watch begins with what is to be watched";
                return Err(refusal(Code::InvalidArgument, "invalid", why));
            };
            let answers = watch::begin(self.shared, create, requests);
            return Ok(Response::new(Box::pin(answers)));
        }
        // What breaks off on the way here breaks off on the way there.
        let rest = requests.filter_map(|message| std::future::ready(message.ok()));
        let messages = futures::stream::once(std::future::ready(first)).chain(rest);
        let how = Forwarding {
            to_leader: true,
            is_local: false,
            waits: false,
            timeout: OPENING,
        };
        let opened = self.shared.client.forward_stream(&self.path, messages, how);
        match opened.await {
            Ok(answers) => {
                self.shared.contact.answered();
                let metadata = forward::own(answers.metadata());
                let answers: Answers = Box::pin(answers.into_inner().map(forward::item));
                let mut response = Response::new(answers);
                *response.metadata_mut() = metadata;
                Ok(response)
            }
            Err(error) => {
                if matches!(error, NotForwarded::Refused(_)) {
                    self.shared.contact.answered();
                }
                Err(forward::unanswered(
                    &self.shared,
                    error,
                    false,
                    String::new(),
                ))
            }
        }
    }

    fn check(&self, message: &Bytes) -> Result<(), Status> {
        let passed = self.row.check.pass(&self.guest.grants, message);
        passed.map_err(|refused: Refused| {
            let status = refused.status(&self.guest);
            tracing::debug!(peer = %self.guest.peer, method = self.row.method, why = status.message(), "refused");
            status
        })
    }
}

/// Where the caller names no time.
const DEFAULT: Duration = Duration::from_secs(10);
/// How long a server may take to open a stream.
const OPENING: Duration = Duration::from_secs(3);
