//! What happens to every request of this front before and after its service: who may not pass is
//! refused, and what passes is counted.
//!
//! Lean on purpose: no span and no look-up of a metric a request, and what is asked most goes to its
//! service straight, past the router.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::Either};
use holdfast_proto::etcd::etcdserverpb::kv_server::KvServer;
use metrics::{Counter, Histogram};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{Front, error, kv::KvService, permit::METHODS};
use crate::{
    access::Required,
    audit::{Audit, Class, Who},
    author,
    authority::door,
    caller::Caller,
    observe::{InFlight, code_name},
};

/// Wraps the services of the front.
#[derive(Clone)]
pub(super) struct Door {
    inner: Arc<Inner>,
    kv: KvServer<KvService>,
}

struct Inner {
    front: Arc<Front>,
    in_flight: InFlight,
    /// As [`METHODS`].
    methods: Vec<Counted>,
}

/// A method's metrics.
struct Counted {
    ok: Counter,
    seconds: Histogram,
}

impl Door {
    pub(super) fn new(front: Arc<Front>, kv: KvServer<KvService>, in_flight: InFlight) -> Self {
        let methods = METHODS.iter().map(|(path, _)| {
            let method = path.trim_start_matches('/');
            Counted {
                ok: metrics::counter!(
                    "holdfast_requests_total", "method" => method, "code" => code_name(Code::Ok)
                ),
                seconds: metrics::histogram!("holdfast_request_seconds", "method" => method),
            }
        });
        let inner = Arc::new(Inner {
            methods: methods.collect(),
            front,
            in_flight,
        });
        Self { inner, kv }
    }

    fn audit(&self) -> &Audit {
        &self.inner.front.host.audit
    }

    /// Why the request must not reach its service, whatever the caller may do.
    fn refusal(
        &self,
        request: &http::Request<Body>,
        caller: &Caller,
        method: Option<usize>,
    ) -> Option<Status> {
        let path = request.uri().path();
        if path.starts_with("/grpc.") {
            return None;
        }
        let host = &self.inner.front.host;
        let is_removed = |key: &[u8]| host.is_removed(key);
        let admitted = author::admit_identity(caller.identity(), &host.cluster, is_removed);
        if let Err(refusal) = admitted {
            return Some(refusal);
        }
        if let Some(refusal) = door::refusal(host, path, caller) {
            return Some(refusal);
        }
        if method.is_none() {
            return Some(error::unimplemented(NOT_SERVED));
        }
        if let Some(why) = host.fence.reason() {
            return Some(Status::new(Code::Unavailable, &*why));
        }
        None
    }

    /// Whether the caller wants no answer of a node that knows no leader, and this one knows none.
    fn lacks_leader(&self, request: &http::Request<Body>) -> bool {
        let wants = request.headers().get(NEEDS_LEADER);
        wants.is_some_and(|it| it == "true")
            && self.inner.front.leadership.borrow().leader.is_none()
    }
}

impl Door {
    /// The answer to a request that is refused here; it is recorded and counted.
    fn refuse(
        &self,
        path: &str,
        caller: &Caller,
        method: Option<usize>,
        refusal: Status,
    ) -> http::Response<Body> {
        self.audit().note_refusal(|| caller.who(), path, &refusal);
        count_refused(method, refusal.code());
        refusal.into_http()
    }
}

impl<S> Layer<S> for Door {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded {
            door: self.clone(),
            inner,
        }
    }
}

type Answer<S> = <Guarded<S> as Service<http::Request<Body>>>::Future;

/// A service behind the [`Door`].
#[derive(Clone)]
pub(super) struct Guarded<S> {
    door: Door,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
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
        let path = request.uri().path();
        let caller = Caller::among(request.extensions());
        let method = METHODS.iter().position(|(name, _)| *name == path);
        if let Some(refusal) = self.door.refusal(&request, &caller, method) {
            let answer = self.door.refuse(path, &caller, method, refusal);
            return Box::pin(std::future::ready(Ok(answer)));
        }
        if self.door.lacks_leader(&request) {
            return self.call_led(caller, method, request);
        }
        let required = method.map_or(Required::Open, |method| METHODS[method].1);
        let permit = caller.permit_now(&self.door.inner.front.host);
        if permit.meets(required).is_err() {
            return self.call_doubted(caller, method, required, request);
        }
        if let class @ (Class::Admin(_) | Class::Noted(_)) = Class::of(path) {
            return self.call_recorded(class, caller.who(), permit.rule(required), request);
        }
        self.call_service(caller, request)
    }
}

impl<S> Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    /// Refused unless a leader is known in a moment: while leadership is handed over there is none.
    fn call_led(
        &mut self,
        caller: Caller,
        method: Option<usize>,
        request: http::Request<Body>,
    ) -> Answer<S> {
        // The service that was asked whether it is ready is the one that is called.
        let next = self.clone();
        let mut guarded = std::mem::replace(self, next);
        Box::pin(async move {
            let mut leadership = guarded.door.inner.front.leadership.clone();
            let known = leadership.wait_for(|now| now.leader.is_some());
            let is_led = matches!(tokio::time::timeout(HANDED_OVER, known).await, Ok(Ok(_)));
            if is_led {
                return guarded.call(request).await;
            }
            let path = request.uri().path();
            Ok(guarded
                .door
                .refuse(path, &caller, method, error::no_leader()))
        })
    }

    /// What the caller may not do as far as this node knows: refused once it is known to have the
    /// newest policy.
    fn call_doubted(
        &mut self,
        caller: Caller,
        method: Option<usize>,
        required: Required,
        request: http::Request<Body>,
    ) -> Answer<S> {
        // The service that was asked whether it is ready is the one that is called.
        let next = self.clone();
        let mut guarded = std::mem::replace(self, next);
        Box::pin(async move {
            let front = guarded.door.inner.front.clone();
            let met = front.permit(&caller, Instant::now() + CONFIRM, |_, permit| {
                permit.meets(required)
            });
            match met.await {
                // Once more from the start, since the door may record it.
                Ok(()) => guarded.call(request).await,
                Err(refusal) => {
                    let path = request.uri().path();
                    Ok(guarded.door.refuse(path, &caller, method, refusal))
                }
            }
        })
    }

    /// An admin act: recorded before its service sees it, or refused.
    fn call_recorded(
        &mut self,
        class: Class,
        who: Who,
        rule: Option<String>,
        request: http::Request<Body>,
    ) -> Answer<S> {
        // The service that was asked whether it is ready is the one that is called.
        let next = self.clone();
        let mut guarded = std::mem::replace(self, next);
        Box::pin(async move {
            let caller = Caller::among(request.extensions());
            let audit = guarded.door.audit();
            match audit.admit(class, &who, rule, request).await {
                Ok(request) => guarded.call_service(caller, request).await,
                Err(refusal) => Ok(refusal.into_http()),
            }
        })
    }

    fn call_service(&mut self, caller: Caller, request: http::Request<Body>) -> Answer<S> {
        let path = request.uri().path();
        let method = METHODS.iter().position(|(name, _)| *name == path);
        let response = if path.starts_with(KV) {
            let response = self.door.kv.call(request);
            Either::Left(response.map(|response| response.map_err(|never| match never {})))
        } else {
            Either::Right(self.inner.call(request))
        };
        let Some(method) = method else {
            return Box::pin(response);
        };
        let ticket = self.door.inner.in_flight.enter();
        let begun = Instant::now();
        let door = self.door.clone();
        Box::pin(async move {
            let response = response.await;
            if let Ok(response) = &response {
                let counted = &door.inner.methods[method];
                match Status::from_header_map(response.headers()) {
                    None => counted.ok.increment(1),
                    Some(status) if status.code() == Code::Ok => counted.ok.increment(1),
                    Some(status) => {
                        let (audit, path) = (door.audit(), METHODS[method].0);
                        audit.note_refusal(|| caller.who(), path, &status);
                        count_refused(Some(method), status.code());
                    }
                }
                counted.seconds.record(begun.elapsed());
            }
            drop(ticket);
            response
        })
    }
}

fn count_refused(method: Option<usize>, code: Code) {
    let method = method.map_or("other", |method| METHODS[method].0.trim_start_matches('/'));
    let code = code_name(code);
    metrics::counter!("holdfast_requests_total", "method" => method, "code" => code).increment(1);
}

/// Asked most.
const KV: &str = "/etcdserverpb.KV/";
/// Metadata of a caller that would rather have an error than an answer without a leader.
pub(super) const NEEDS_LEADER: &str = "hasleader";
const NOT_SERVED: &str = "this part of the etcd v3 API is not served here; the module documentation \
                          of the server's etcd front lists what is";
/// Longer than a hand-over takes, far shorter than a client waits.
const HANDED_OVER: Duration = Duration::from_millis(500);
/// How long it may take to find out that this node has the newest policy, before it refuses.
const CONFIRM: Duration = Duration::from_secs(2);
