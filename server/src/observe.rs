//! What happens to every request before and after its service: one tracing span, one count, one
//! duration, and the doors that stay shut (wrong cluster, fenced node, a witness, a caller who has
//! no right that the method could use).

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::Either;
use tokio::sync::Notify;
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{
    access::{Required, table::METHODS},
    audit::Class,
    author,
    authority::door,
    caller::Caller,
    host::Host,
    status::Reason,
    witness,
};

/// Metadata by which a client says which cluster it means.
pub const CLUSTER: &str = "holdfast-cluster";

/// Metadata of every answer: the member id of the leader, as this node knows it.
pub const LEADER: &str = "holdfast-leader";

/// Wraps the services of one node.
#[derive(Clone)]
pub(crate) struct Observe {
    host: Arc<Host>,
    in_flight: InFlight,
}

impl Observe {
    pub(crate) fn new(host: Arc<Host>, in_flight: InFlight) -> Self {
        Self { host, in_flight }
    }

    /// Why the request must not reach its service, whatever the caller may do.
    fn refusal(
        &self,
        request: &http::Request<Body>,
        caller: &Caller,
        method: &Method,
    ) -> Option<Status> {
        let (path, cluster) = (request.uri().path(), &*self.host.cluster);
        let is_removed = |key: &[u8]| self.host.is_removed(key);
        if let Err(refusal) = author::admit(method.required, caller, cluster, is_removed) {
            return Some(refusal);
        }
        if method.required != Required::Open
            && let Some(refusal) = door::refusal(&self.host, path, caller)
        {
            return Some(refusal);
        }
        if let Some(why) = self.host.fence.reason()
            && !method.served_when_fenced
        {
            return Some(Reason::Fenced.status(why.to_string()));
        }
        if let Some(meant) = request.headers().get(CLUSTER)
            && meant.as_bytes() != cluster.as_bytes()
        {
            return Some(Reason::WrongCluster.status(format!(
                "this node belongs to cluster {cluster}, not to the one that the client means; \
                 use that cluster's context or endpoints"
            )));
        }
        (self.host.is_witness && witness::is_closed(path)).then(|| witness::refusal(&self.host))
    }

    /// The answer to a request that is refused here; it is recorded and counted.
    fn refuse(
        &self,
        path: &str,
        caller: &Caller,
        method: &Method,
        refusal: &Status,
    ) -> http::Response<Body> {
        let audit = &self.host.audit;
        audit.note_refusal(|| caller.who(), path, refusal);
        count(method.name, refusal.code());
        refusal.clone().into_http()
    }

    fn name_leader(&self, response: &mut http::Response<Body>) {
        if let Some(leader) = self.host.leadership().leader {
            response.headers_mut().insert(LEADER, leader.0.into());
        }
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observed {
            observe: self.clone(),
            inner,
        }
    }
}

/// A service under [`Observe`].
#[derive(Clone)]
pub(crate) struct Observed<S> {
    observe: Observe,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Observed<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let caller = Caller::among(request.extensions());
        if let Some(refusal) = self.observe.refusal(&request, &caller, &method) {
            let path = request.uri().path();
            let answer = self.observe.refuse(path, &caller, &method, &refusal);
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let host = &self.observe.host;
        if !method.required.is_of_the_policy()
            || caller.permit_now(host).meets(method.required).is_ok()
        {
            return self.serve(method, caller, request);
        }
        // The service that was asked whether it is ready is the one that is called.
        let next = self.clone();
        let mut observed = std::mem::replace(self, next);
        Box::pin(async move {
            let host = observed.observe.host.clone();
            let required = method.required;
            let met = host.permit(&caller, Instant::now() + CONFIRM, |_, permit| {
                permit.meets(required)
            });
            match met.await {
                Ok(()) => observed.serve(method, caller, request).await,
                Err(refusal) => {
                    let path = request.uri().path();
                    Ok(observed.observe.refuse(path, &caller, &method, &refusal))
                }
            }
        })
    }
}

impl<S> Observed<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    /// Has the service answer, and looks on.
    fn serve(
        &mut self,
        method: Method,
        caller: Caller,
        request: http::Request<Body>,
    ) -> <Self as Service<http::Request<Body>>>::Future {
        if !method.counted {
            return Box::pin(self.inner.call(request));
        }
        let span = tracing::info_span!("request", method = method.name, author = %caller.author());
        let ticket = self.observe.in_flight.enter();
        let begun = Instant::now();
        let observe = self.observe.clone();
        let response = match Class::of(request.uri().path()) {
            Class::Other => Either::Left(self.inner.call(request)),
            class => {
                // As above.
                let next = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, next);
                let (host, who) = (observe.host.clone(), caller.who());
                let rule = caller.permit_now(&host).rule(method.required);
                Either::Right(async move {
                    match host.audit.admit(class, &who, rule, request).await {
                        Ok(request) => inner.call(request).await,
                        Err(refusal) => Ok(refusal.into_http()),
                    }
                })
            }
        };
        let answer = async move {
            let mut response = response.await;
            if let Ok(response) = &mut response {
                observe.name_leader(response);
                let status = Status::from_header_map(response.headers());
                let code = status.as_ref().map_or(tonic::Code::Ok, Status::code);
                count(method.name, code);
                if let Some(status) = status {
                    let audit = &observe.host.audit;
                    audit.note_refusal(|| caller.who(), method.name, &status);
                }
            }
            metrics::histogram!("holdfast_request_seconds", "method" => method.name)
                .record(begun.elapsed());
            drop(ticket);
            response
        };
        Box::pin(answer.instrument(span))
    }
}

fn count(method: &'static str, code: tonic::Code) {
    let code = code_name(code);
    metrics::counter!("holdfast_requests_total", "method" => method, "code" => code).increment(1);
}

pub(crate) fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
        Code::Unknown => "unknown",
    }
}

/// A method as metrics name it.
struct Method {
    name: &'static str,
    /// What the caller must show.
    required: Required,
    /// Consensus traffic is counted by consensus, not request by request.
    counted: bool,
    /// A fenced node still says what is wrong with it.
    served_when_fenced: bool,
}

impl Method {
    /// Names come from a fixed list, so that a caller cannot make metrics grow.
    fn of(path: &str) -> Self {
        let row = METHODS
            .iter()
            .find(|(name, _)| path.strip_prefix('/') == Some(name));
        match row {
            Some(&(name, required)) => Self {
                name,
                required,
                counted: true,
                served_when_fenced: name.ends_with("/Status"),
            },
            None if path.starts_with("/holdfast.peer.v1.Raft/") => Self {
                name: "holdfast.peer.v1.Raft",
                required: Required::Node,
                counted: false,
                // A removed node may be needed for the very change that lets it go; one that
                // differs has stopped its replica.
                served_when_fenced: true,
            },
            None => {
                let is_grpc = path.starts_with("/grpc.");
                Self {
                    name: "other",
                    required: match is_grpc {
                        true => Required::Open,
                        // There is none of that name, which is told to nobody from outside.
                        false => Required::Certificate,
                    },
                    counted: true,
                    served_when_fenced: is_grpc,
                }
            }
        }
    }
}

/// How long it may take to find out that this node has the newest policy, before it refuses.
const CONFIRM: Duration = Duration::from_secs(2);

/// Counts the requests that have no answer yet, so that a node can wait for them before it stops.
#[derive(Clone, Default)]
pub(crate) struct InFlight {
    inner: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    count: AtomicUsize,
    none_left: Notify,
}

/// One request without an answer.
pub(crate) struct Ticket(InFlight);

impl InFlight {
    pub(crate) fn enter(&self) -> Ticket {
        self.inner.count.fetch_add(1, Ordering::AcqRel);
        Ticket(self.clone())
    }

    /// Returns once every request that is under way has its answer.
    pub(crate) async fn drained(&self) {
        loop {
            let notified = self.inner.none_left.notified();
            if self.inner.count.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.inner.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.inner.none_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_waits_for_the_last_request() {
        let in_flight = InFlight::default();
        let ticket = in_flight.enter();
        let waiting = tokio::spawn({
            let in_flight = in_flight.clone();
            async move { in_flight.drained().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(ticket);
        waiting.await.unwrap();
    }
}
