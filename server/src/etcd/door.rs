//! What happens to every request of this front before and after its service: who may not pass is
//! refused, and what passes is counted.
//!
//! Lean on purpose: no span and no look-up of a metric a request, and what is asked most goes to its
//! service straight, past the router.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures::{FutureExt as _, future::Either};
use holdfast_proto::etcd::etcdserverpb::kv_server::KvServer;
use metrics::{Counter, Histogram};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{Front, caller::Caller, error, kv::KvService};
use crate::{
    audit::{Audit, Class},
    author,
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
        let methods = METHODS.iter().map(|path| {
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

    /// Why the request must not reach its service.
    fn refusal(&self, request: &http::Request<Body>, method: Option<usize>) -> Option<Status> {
        let path = request.uri().path();
        if path.starts_with("/grpc.") {
            return None;
        }
        let host = &self.inner.front.host;
        let identity = request
            .extensions()
            .get::<Caller>()
            .and_then(Caller::identity);
        let is_removed = |key: &[u8]| host.is_removed(key);
        if let Err(refusal) = author::admit_identity(identity, &host.cluster, is_removed) {
            return Some(refusal);
        }
        if method.is_none() {
            return Some(error::unimplemented(NOT_SERVED));
        }
        if let Some(why) = host.fence.reason() {
            return Some(Status::new(Code::Unavailable, &*why));
        }
        let leaderless = self.inner.front.leadership.borrow().leader.is_none();
        if leaderless
            && request
                .headers()
                .get(NEEDS_LEADER)
                .is_some_and(|it| it == "true")
        {
            return Some(error::no_leader());
        }
        None
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
        let method = METHODS.iter().position(|name| *name == path);
        if let Some(refusal) = self.door.refusal(&request, method) {
            let who = || Caller::who(request.extensions().get());
            self.door.audit().note_refusal(who, path, &refusal);
            count_refused(method, refusal.code());
            return Box::pin(std::future::ready(Ok(refusal.into_http())));
        }
        if let class @ (Class::Admin(_) | Class::Noted(_)) = Class::of(path) {
            return self.call_recorded(class, request);
        }
        self.call_service(request)
    }
}

impl<S> Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    /// An admin act: recorded before its service sees it, or refused.
    fn call_recorded(&mut self, class: Class, request: http::Request<Body>) -> Answer<S> {
        // The service that was asked whether it is ready is the one that is called.
        let next = self.clone();
        let mut guarded = std::mem::replace(self, next);
        let who = Caller::who(request.extensions().get());
        Box::pin(async move {
            match guarded.door.audit().admit(class, &who, request).await {
                Ok(request) => guarded.call_service(request).await,
                Err(refusal) => Ok(refusal.into_http()),
            }
        })
    }

    fn call_service(&mut self, request: http::Request<Body>) -> Answer<S> {
        let path = request.uri().path();
        let method = METHODS.iter().position(|name| *name == path);
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
                match Status::from_header_map(response.headers()).map(|status| status.code()) {
                    None | Some(Code::Ok) => counted.ok.increment(1),
                    Some(code) => count_refused(Some(method), code),
                }
                counted.seconds.record(begun.elapsed());
            }
            drop(ticket);
            response
        })
    }
}

fn count_refused(method: Option<usize>, code: Code) {
    let method = method.map_or("other", |method| METHODS[method].trim_start_matches('/'));
    let code = code_name(code);
    metrics::counter!("holdfast_requests_total", "method" => method, "code" => code).increment(1);
}

/// Every method there is a service for, the commonest first.
const METHODS: [&str; 48] = [
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.KV/Compact",
    "/v3lockpb.Lock/Lock",
    "/v3lockpb.Lock/Unlock",
    "/v3electionpb.Election/Campaign",
    "/v3electionpb.Election/Proclaim",
    "/v3electionpb.Election/Leader",
    "/v3electionpb.Election/Observe",
    "/v3electionpb.Election/Resign",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Cluster/MemberRemove",
    "/etcdserverpb.Cluster/MemberUpdate",
    "/etcdserverpb.Cluster/MemberPromote",
    "/etcdserverpb.Maintenance/Alarm",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.Maintenance/MoveLeader",
    "/etcdserverpb.Maintenance/Downgrade",
    "/etcdserverpb.Auth/AuthEnable",
    "/etcdserverpb.Auth/AuthDisable",
    "/etcdserverpb.Auth/AuthStatus",
    "/etcdserverpb.Auth/Authenticate",
    "/etcdserverpb.Auth/UserAdd",
    "/etcdserverpb.Auth/UserGet",
    "/etcdserverpb.Auth/UserList",
    "/etcdserverpb.Auth/UserDelete",
    "/etcdserverpb.Auth/UserChangePassword",
    "/etcdserverpb.Auth/UserGrantRole",
    "/etcdserverpb.Auth/UserRevokeRole",
    "/etcdserverpb.Auth/RoleAdd",
    "/etcdserverpb.Auth/RoleGet",
    "/etcdserverpb.Auth/RoleList",
    "/etcdserverpb.Auth/RoleDelete",
    "/etcdserverpb.Auth/RoleGrantPermission",
    "/etcdserverpb.Auth/RoleRevokePermission",
];

/// Asked most.
const KV: &str = "/etcdserverpb.KV/";
/// Metadata of a caller that would rather have an error than an answer without a leader.
pub(super) const NEEDS_LEADER: &str = "hasleader";
const NOT_SERVED: &str = "this part of the etcd v3 API is not served here; the module documentation \
                          of the server's etcd front lists what is";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_has_a_service_passes_the_door() {
        let mut listed: Vec<&str> = METHODS
            .iter()
            .map(|path| path.trim_start_matches('/'))
            .collect();
        listed.sort_unstable();
        assert_eq!(
            crate::observe::described::methods(holdfast_proto::etcd::DESCRIPTORS),
            listed
        );
    }
}
