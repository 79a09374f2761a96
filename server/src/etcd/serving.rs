//! The services of this front on one listener of their own.

use std::{sync::Arc, time::Duration};

use holdfast_proto::{
    etcd::{
        DESCRIPTORS,
        etcdserverpb::{
            auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
            lease_server::LeaseServer, maintenance_server::MaintenanceServer,
            watch_server::WatchServer,
        },
        v3electionpb::election_server::ElectionServer,
        v3lockpb::lock_server::LockServer,
    },
    limits,
};
use tokio::net::TcpListener;
use tonic::transport::Server;

use super::{
    Front,
    auth::AuthService,
    cluster::ClusterService,
    door::Door,
    election::ElectionService,
    kv::KvService,
    lease::LeaseService,
    listener::{Access, connections},
    lock::LockService,
    maintenance::MaintenanceService,
    watch::WatchService,
};
use crate::{
    host::Host, node::report_health, observe::InFlight, reflection::Reflection, serving::Running,
    tls::NodeTls,
};

/// Begins to serve the front of one node on `listener`; without `tls` to anybody on this machine.
pub(crate) fn serve(
    host: &Arc<Host>,
    listener: TcpListener,
    tls: Option<&NodeTls>,
    in_flight: InFlight,
) -> Running {
    let front = Arc::new(Front::new(host.clone()));
    let access = match tls {
        Some(tls) => Access::Certificates(tls),
        None => Access::Plaintext {
            cluster: &host.cluster,
        },
    };
    let connections = connections(listener, access);
    let (health, health_service) = tonic_health::server::health_reporter();
    let kv =
        KvServer::new(KvService(front.clone())).max_decoding_message_size(limits::MESSAGE_BYTES);
    let router = Server::builder()
        .layer(Door::new(front.clone(), kv, in_flight))
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
        .add_service(WatchServer::new(WatchService(front.clone())))
        .add_service(LeaseServer::new(LeaseService(front.clone())))
        .add_service(LockServer::new(LockService(front.clone())))
        .add_service(ElectionServer::new(ElectionService(front.clone())))
        .add_service(ClusterServer::new(ClusterService(front.clone())))
        .add_service(MaintenanceServer::new(MaintenanceService(front.clone())))
        .add_service(AuthServer::new(AuthService(front)))
        .add_service(health_service)
        .add_service(Reflection::new(DESCRIPTORS));
    tokio::spawn(report_health(host.clone(), health, &[""]));
    Running::begin("the etcd front", |stopped| {
        router.serve_with_incoming_shutdown(connections, stopped)
    })
}

const KEEP_ALIVE: Duration = Duration::from_secs(10);
const STREAMS_PER_CONNECTION: u32 = 16_384;
