//! What happens to every request before and after its service: one tracing span, one count, one
//! duration, and the doors that stay shut (wrong cluster, fenced node, a
//! witness).

#[cfg(test)]
pub(crate) mod described;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use futures::future::Either;
use tokio::sync::Notify;
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{
    audit::{Class, Who},
    author,
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

    /// Why the request must not reach its service.
    fn refusal<B>(&self, request: &http::Request<B>, method: &Method) -> Option<Status> {
        let (path, cluster) = (request.uri().path(), &*self.host.cluster);
        let is_removed = |key: &[u8]| self.host.is_removed(key);
        if let Err(refusal) = author::admit(path, request.extensions(), cluster, is_removed) {
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
        if let Some(refusal) = self.observe.refusal(&request, &method) {
            let extensions = request.extensions();
            let who = || Who::new(author::name_of(extensions), author::address(extensions));
            self.observe
                .host
                .audit
                .note_refusal(who, request.uri().path(), &refusal);
            count(method.name, refusal.code());
            return Box::pin(std::future::ready(Ok(refusal.into_http())));
        }
        if !method.counted {
            return Box::pin(self.inner.call(request));
        }
        let author = author::name_of(request.extensions());
        let span = tracing::info_span!("request", method = method.name, author = %author);
        let ticket = self.observe.in_flight.enter();
        let begun = Instant::now();
        let observe = self.observe.clone();
        let address = author::address(request.extensions());
        let response = match Class::of(request.uri().path()) {
            Class::Other => Either::Left(self.inner.call(request)),
            class => {
                // The service that was asked whether it is ready is the one that is called.
                let next = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, next);
                let (observe, who) = (observe.clone(), Who::new(author.clone(), address));
                Either::Right(async move {
                    match observe.host.audit.admit(class, &who, request).await {
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
                    let who = || Who::new(author, address);
                    observe.host.audit.note_refusal(who, method.name, &status);
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
    /// Consensus traffic is counted by consensus, not request by request.
    counted: bool,
    /// A fenced node still says what is wrong with it.
    served_when_fenced: bool,
}

impl Method {
    /// Names come from a fixed list, so that a caller cannot make metrics grow.
    fn of(path: &str) -> Self {
        let name = METHODS
            .iter()
            .find_map(|name| (path.strip_prefix('/') == Some(name)).then_some(*name));
        match name {
            Some(name) => Self {
                name,
                counted: true,
                served_when_fenced: name.ends_with("/Status"),
            },
            None if path.starts_with("/holdfast.peer.v1.Raft/") => Self {
                name: "holdfast.peer.v1.Raft",
                counted: false,
                // A removed node may be needed for the very change that lets it go; one that
                // differs has stopped its replica.
                served_when_fenced: true,
            },
            None => Self {
                name: "other",
                counted: true,
                served_when_fenced: path.starts_with("/grpc."),
            },
        }
    }
}

const METHODS: &[&str] = &[
    "holdfast.v1.Kv/Range",
    "holdfast.v1.Kv/Put",
    "holdfast.v1.Kv/Delete",
    "holdfast.v1.Kv/Transact",
    "holdfast.v1.Kv/History",
    "holdfast.v1.Kv/Diff",
    "holdfast.v1.Kv/Rollback",
    "holdfast.v1.Kv/Compact",
    "holdfast.v1.Kv/SetRetention",
    "holdfast.v1.Watch/Watch",
    "holdfast.v1.Lease/Grant",
    "holdfast.v1.Lease/Revoke",
    "holdfast.v1.Lease/KeepAlive",
    "holdfast.v1.Lease/TimeToLive",
    "holdfast.v1.Lease/List",
    "holdfast.v1.Lock/Acquire",
    "holdfast.v1.Lock/Release",
    "holdfast.v1.Lock/Campaign",
    "holdfast.v1.Lock/Proclaim",
    "holdfast.v1.Lock/Resign",
    "holdfast.v1.Lock/Leader",
    "holdfast.v1.Lock/Observe",
    "holdfast.v1.Cluster/Status",
    "holdfast.v1.Cluster/MemberList",
    "holdfast.v1.Cluster/CreateToken",
    "holdfast.v1.Cluster/Join",
    "holdfast.v1.Cluster/Promote",
    "holdfast.v1.Cluster/Remove",
    "holdfast.v1.Cluster/TransferLeader",
    "holdfast.v1.Keyring/Status",
    "holdfast.v1.Keyring/InitRecovery",
    "holdfast.v1.Keyring/ChallengeRecovery",
    "holdfast.v1.Keyring/VerifyRecovery",
    "holdfast.v1.Keyring/Rotate",
    "holdfast.v1.Secrets/Put",
    "holdfast.v1.Secrets/Reveal",
    "holdfast.v1.Secrets/Destroy",
    "holdfast.v1.Audit/Tail",
    "holdfast.v1.Audit/Verify",
    "holdfast.v1.Backup/Create",
    "holdfast.v1.Backup/List",
    "holdfast.v1.Backup/Verify",
    "holdfast.v1.Backup/Fetch",
    "holdfast.peer.v1.Node/RenewLeases",
    "holdfast.peer.v1.Node/LeaseRemaining",
    "holdfast.peer.v1.Node/StateHash",
    "holdfast.peer.v1.Node/AuthorityKey",
    "holdfast.peer.v1.Node/RenewCertificate",
    "holdfast.peer.v1.Node/Clock",
    "holdfast.peer.v1.Node/Status",
    "holdfast.peer.v1.Node/ChangeMembership",
    "holdfast.peer.v1.Node/AuditTail",
    "holdfast.peer.v1.Node/AuditChain",
    "holdfast.peer.v1.Node/CreateBackup",
    "holdfast.peer.v1.Node/ListBackups",
    "holdfast.peer.v1.Node/VerifyBackup",
    "holdfast.peer.v1.Node/FetchBackup",
];

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

    #[test]
    fn every_method_of_the_api_has_its_own_name_in_metrics() {
        let mut named = described::methods(holdfast_proto::DESCRIPTORS);
        // Consensus traffic is counted by consensus.
        named.retain(|name| !name.starts_with("holdfast.peer.v1.Raft/"));
        let mut listed: Vec<String> = METHODS.iter().map(|name| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(named, listed);
    }

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
