//! All gRPC services of a node on one set of connections.

use std::{io, sync::Arc, time::Duration};

use futures::Stream;
use holdfast_proto::{
    DESCRIPTORS, limits,
    peer::v1::node_server::NodeServer,
    v1::{
        access_server::AccessServer, audit_server::AuditServer, backup_server::BackupServer,
        cluster_server::ClusterServer, fleet_server::FleetServer, keyring_server::KeyringServer,
        kv_server::KvServer, lease_server::LeaseServer, lock_server::LockServer,
        secrets_server::SecretsServer, watch_server::WatchServer,
    },
};
use tonic::{server::NamedService, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::connection::Connection;
use crate::{
    access::service::AccessService,
    audit::service::AuditService,
    backup::service::BackupService,
    cluster::ClusterService,
    fleet::FleetService,
    host::Host,
    keyring::KeyringService,
    kv::KvService,
    lease::LeaseService,
    lock::LockService,
    observe::{InFlight, Observe},
    peer::PeerService,
    reflection::Reflection,
    secrets::SecretsService,
    serving::Running,
    watch::WatchService,
};

/// The services of one node, while they are served.
pub(super) struct Serving {
    health: HealthReporter,
    running: Running,
}

impl Serving {
    /// Begins to serve `connections`.
    pub(super) fn begin(
        host: &Arc<Host>,
        in_flight: InFlight,
        connections: impl Stream<Item = io::Result<Connection>> + Send + 'static,
    ) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        let router = Server::builder()
            .layer(Observe::new(host.clone(), in_flight))
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
            .add_service(
                KvServer::new(KvService::new(host.clone()))
                    .max_decoding_message_size(limits::MESSAGE_BYTES),
            )
            .add_service(WatchServer::new(WatchService::new(host.clone())))
            .add_service(LeaseServer::new(LeaseService::new(host.clone())))
            .add_service(
                LockServer::new(LockService::new(host.clone()))
                    .max_decoding_message_size(limits::MESSAGE_BYTES),
            )
            .add_service(ClusterServer::new(ClusterService::new(host.clone())))
            .add_service(KeyringServer::new(KeyringService::new(host.clone())))
            .add_service(
                SecretsServer::new(SecretsService::new(host.clone()))
                    .max_decoding_message_size(limits::MESSAGE_BYTES),
            )
            .add_service(AuditServer::new(AuditService::new(host.clone())))
            .add_service(BackupServer::new(BackupService::new(host.clone())))
            .add_service(AccessServer::new(AccessService::new(host.clone())))
            .add_service(FleetServer::new(FleetService::new(host.clone())))
            .add_service(NodeServer::new(PeerService::new(host.clone())))
            .add_service(host.replica.service())
            .add_service(health_service)
            .add_service(Reflection::new(DESCRIPTORS));
        let services = match host.is_witness {
            true => &SERVICES_OF_A_WITNESS[..],
            false => &SERVICES[..],
        };
        tokio::spawn(report(host.clone(), health.clone(), services));
        let running = Running::begin("the services", |stopped| {
            router.serve_with_incoming_shutdown(connections, stopped)
        });
        Self { health, running }
    }

    /// Health says from now on that requests should go elsewhere.
    pub(super) async fn report_stopping(&self) {
        set_all(&self.health, &SERVICES, ServingStatus::NotServing).await;
    }

    /// As [`Running::stop_accepting`].
    pub(super) fn stop_accepting(&self) {
        self.running.stop_accepting();
    }

    /// As [`Running::end`].
    pub(super) async fn end(&self, most: Duration) {
        self.running.end(most).await;
    }

    /// Returns when nothing is served any more.
    pub(super) async fn ended(&self) {
        self.running.ended().await;
    }
}

/// Keeps the health service in line with the node: it serves once there is a leader, and never
/// again once it is fenced.
pub(crate) async fn report(
    host: Arc<Host>,
    health: HealthReporter,
    services: &'static [&'static str],
) {
    set_all(&health, services, ServingStatus::NotServing).await;
    let mut leaderships = host.replica.leadership();
    loop {
        let serves = leaderships.borrow_and_update().leader.is_some();
        let status = if serves {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        set_all(&health, services, status).await;
        tokio::select! {
            changed = leaderships.changed() => if changed.is_err() { break },
            _ = host.fence.raised() => break,
            () = host.closing.cancelled() => break,
        }
    }
    set_all(&health, services, ServingStatus::NotServing).await;
}

async fn set_all(health: &HealthReporter, services: &[&'static str], status: ServingStatus) {
    for service in services {
        health.set_service_status(*service, status).await;
    }
}

const SERVICES: [&str; 8] = [
    "",
    KvServer::<KvService>::NAME,
    WatchServer::<WatchService>::NAME,
    LeaseServer::<LeaseService>::NAME,
    LockServer::<LockService>::NAME,
    ClusterServer::<ClusterService>::NAME,
    KeyringServer::<KeyringService>::NAME,
    SecretsServer::<SecretsService>::NAME,
];

/// Of the others health knows nothing there, so nobody is sent to them.
const SERVICES_OF_A_WITNESS: [&str; 1] = [""];

const KEEP_ALIVE: Duration = Duration::from_secs(10);
const STREAMS_PER_CONNECTION: u32 = 4_096;
