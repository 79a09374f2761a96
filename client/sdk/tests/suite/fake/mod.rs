//! Nodes of a cluster that agree by sharing memory, each with a misbehaviour of its own.

mod fleet;
mod kv;
mod lease;
mod lock;
mod other;
mod secret;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use holdfast_client::{Client, ClientOptions};
use holdfast_proto::v1;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Status,
    metadata::MetadataValue,
    transport::{Endpoint, Server},
};

/// How a node misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Not at all.
    Well,
    /// Takes requests and never answers, as if it were frozen.
    Silent,
    /// Cut off from its peers: answers what it can alone, and lets the rest hang.
    CutOff,
    /// Says that there is no quorum.
    NoQuorum,
    /// Applies writes, and loses the connection before it answers.
    Forgetful,
}

/// What all nodes share.
pub(crate) struct World {
    pub(crate) revision: u64,
    pub(crate) compacted: u64,
    pub(crate) entries: BTreeMap<Bytes, v1::Entry>,
    pub(crate) log: Vec<v1::Event>,
    /// Every write that arrived, with the node it arrived at.
    pub(crate) arrivals: Vec<(u64, v1::RequestId)>,
    /// Every read that needs a majority, with the node it arrived at.
    pub(crate) reads: Vec<u64>,
    pub(crate) answers: HashMap<(Bytes, u64), Result<u64, u64>>,
    pub(crate) leases: HashMap<u64, u64>,
    pub(crate) next_lease: u64,
    /// Leases are granted for so long, whatever was asked for.
    pub(crate) ttl_ms: u64,
    pub(crate) renewals: u64,
    /// Contenders for the one lock, in line.
    pub(crate) line: Vec<(u64, u64)>,
    /// What contenders for the office show, by lease, and since which revision; 0: not yet.
    pub(crate) shown: HashMap<u64, (v1::Value, u64)>,
    /// By key and revision.
    pub(crate) plaintexts: BTreeMap<(Bytes, u64), Bytes>,
    /// What was opened: key, revision, reason.
    pub(crate) reveals: Vec<(Bytes, u64, String)>,
    /// No secret is opened without one.
    pub(crate) wants_reason: bool,
    /// No secret is opened at all.
    pub(crate) denies: bool,
    /// Opening a secret takes until this is over.
    pub(crate) reveals_hang: bool,
    pub(crate) epochs: Vec<v1::EpochStatus>,
    /// Versions that are not under the newest epoch; one less each time somebody looks.
    pub(crate) unwrapped: u64,
    /// Nobody rewraps: it stays as it is.
    pub(crate) stalled: bool,
    pub(crate) recovery: Option<v1::Recovery>,
    /// What holders of shares are asked.
    pub(crate) challenge: Option<v1::ChallengeRecoveryResponse>,
    /// The right answer.
    pub(crate) proof: Bytes,
    /// Every report that arrived.
    pub(crate) reports: Vec<v1::FleetReport>,
    /// Why none is taken; empty: all are.
    pub(crate) no_reports: String,
    /// Whose overrides count.
    pub(crate) administrators: Vec<String>,
    pub(crate) leader: u64,
    pub(crate) term: u64,
}

/// A handle on what all nodes share.
#[derive(Clone)]
pub(crate) struct Shared {
    world: Arc<Mutex<World>>,
    pub(crate) changed: tokio::sync::watch::Sender<u64>,
}

/// What one node's services know.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) id: u64,
    pub(crate) shared: Shared,
    pub(crate) manner: Arc<Mutex<Manner>>,
}

/// One node: a server in a runtime of its own, so that it can be killed with its connections.
pub(crate) struct FakeNode {
    context: Context,
    address: SocketAddr,
    /// Keeps the address while the node is down: nodes of other tests take whatever port is free.
    _place: TcpSocket,
    runtime: Option<Runtime>,
}

/// Some nodes and what they share.
pub(crate) struct Cluster {
    pub(crate) shared: Shared,
    pub(crate) nodes: Vec<FakeNode>,
}

impl Cluster {
    pub(crate) fn start(nodes: u64) -> Self {
        let shared = Shared {
            world: Arc::new(Mutex::new(World {
                revision: 0,
                compacted: 0,
                entries: BTreeMap::new(),
                log: Vec::new(),
                arrivals: Vec::new(),
                reads: Vec::new(),
                answers: HashMap::new(),
                leases: HashMap::new(),
                next_lease: 1,
                ttl_ms: 60_000,
                renewals: 0,
                line: Vec::new(),
                shown: HashMap::new(),
                plaintexts: BTreeMap::new(),
                reveals: Vec::new(),
                wants_reason: false,
                denies: false,
                reveals_hang: false,
                epochs: Vec::new(),
                unwrapped: 0,
                stalled: false,
                recovery: None,
                challenge: None,
                proof: Bytes::new(),
                reports: Vec::new(),
                no_reports: String::new(),
                administrators: Vec::new(),
                leader: 1,
                term: 1,
            })),
            changed: tokio::sync::watch::Sender::new(0),
        };
        let nodes = (1..=nodes).map(|id| FakeNode::start(id, &shared)).collect();
        Self { shared, nodes }
    }

    /// A client of all nodes. `tune` changes its options, which are quick by default.
    pub(crate) fn client(&self, tune: impl FnOnce(&mut ClientOptions)) -> Client {
        let mut options = ClientOptions {
            request_timeout: std::time::Duration::from_secs(10),
            hedge_after: std::time::Duration::from_millis(100),
            ..ClientOptions::default()
        };
        tune(&mut options);
        self.client_of("fake", options)
    }

    /// A client that takes them for nodes of this cluster.
    pub(crate) fn client_of(&self, cluster: &str, options: ClientOptions) -> Client {
        let channels = self.nodes.iter().map(FakeNode::channel).collect();
        Client::from_channels(channels, cluster, options).unwrap()
    }

    pub(crate) fn all(&self, manner: Manner) {
        self.nodes.iter().for_each(|node| node.behave(manner));
    }
}

impl Shared {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// As a write of somebody else.
    pub(crate) fn write(&self, key: &str, value: &str) -> u64 {
        let value = v1::value::Kind::Text(value.to_owned());
        let value = v1::Value { kind: Some(value) };
        let key = Bytes::copy_from_slice(key.as_bytes());
        let revision = self.world().put(key, Some(value));
        self.changed.send_replace(revision);
        revision
    }
}

impl World {
    pub(crate) fn put(&mut self, key: Bytes, value: Option<v1::Value>) -> u64 {
        self.revision += 1;
        let before = self.entries.get(&key);
        let entry = v1::Entry {
            key: key.clone(),
            value,
            created: before.map_or(self.revision, |entry| entry.created),
            modified: self.revision,
            version: before.map_or(1, |entry| entry.version + 1),
            ..v1::Entry::default()
        };
        self.entries.insert(key, entry.clone());
        self.log.push(v1::Event {
            r#type: v1::event::Type::Put.into(),
            entry: Some(entry),
            previous: None,
        });
        self.revision
    }

    pub(crate) fn delete(&mut self, key: &Bytes) {
        self.revision += 1;
        self.entries.remove(key);
        self.log.push(v1::Event {
            r#type: v1::event::Type::Delete.into(),
            entry: Some(v1::Entry {
                key: key.clone(),
                modified: self.revision,
                ..v1::Entry::default()
            }),
            previous: None,
        });
    }

    pub(crate) fn begin_epoch(&mut self, reason: &str) -> u64 {
        let epoch = self.epochs.len() as u64 + 1;
        self.unwrapped = self.plaintexts.len() as u64;
        self.epochs.push(v1::EpochStatus {
            epoch,
            reason: reason.to_owned(),
            ..v1::EpochStatus::default()
        });
        epoch
    }

    /// Who sent each arrival of the newest request, in order.
    pub(crate) fn arrivals_of_last(&self) -> Vec<u64> {
        let Some((_, last)) = self.arrivals.last() else {
            return Vec::new();
        };
        let same = |id: &v1::RequestId| id.session == last.session && id.sequence == last.sequence;
        let arrivals = self.arrivals.iter().filter(|(_, id)| same(id));
        arrivals.map(|(node, _)| *node).collect()
    }
}

impl Context {
    pub(crate) fn header(&self) -> Option<v1::Header> {
        let world = self.shared.world();
        Some(v1::Header {
            cluster: "fake".to_owned(),
            member: self.id,
            term: world.term,
            revision: world.revision,
            ..v1::Header::default()
        })
    }

    pub(crate) fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }

    /// The misbehaviour of every call that needs a majority.
    pub(crate) async fn misbehave(&self) -> Result<(), Status> {
        match self.manner() {
            Manner::CutOff => std::future::pending().await,
            _ => self.misbehave_alone().await,
        }
    }

    /// The misbehaviour of what a node answers alone.
    pub(crate) async fn misbehave_alone(&self) -> Result<(), Status> {
        match self.manner() {
            Manner::Silent => std::future::pending().await,
            Manner::NoQuorum => Err(refusal(
                Status::unavailable("no leader with a quorum answered"),
                "no_quorum",
            )),
            Manner::Well | Manner::CutOff | Manner::Forgetful => Ok(()),
        }
    }
}

impl FakeNode {
    fn start(id: u64, shared: &Shared) -> Self {
        let place = TcpSocket::new_v4().unwrap();
        place.set_reuseaddr(true).unwrap();
        place.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let mut node = Self {
            context: Context {
                id,
                shared: shared.clone(),
                manner: Arc::new(Mutex::new(Manner::Well)),
            },
            address: place.local_addr().unwrap(),
            _place: place,
            runtime: None,
        };
        node.restart();
        node
    }

    /// Serves (again), at the address it had.
    pub(crate) fn restart(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = self.address;
        let context = self.context.clone();
        let (bound, ready) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            bound.send(()).unwrap();
            Server::builder()
                .add_service(v1::kv_server::KvServer::new(context.clone()))
                .add_service(v1::watch_server::WatchServer::new(context.clone()))
                .add_service(v1::lease_server::LeaseServer::new(context.clone()))
                .add_service(v1::lock_server::LockServer::new(context.clone()))
                .add_service(v1::secrets_server::SecretsServer::new(context.clone()))
                .add_service(v1::keyring_server::KeyringServer::new(context.clone()))
                .add_service(v1::fleet_server::FleetServer::new(context.clone()))
                .add_service(v1::cluster_server::ClusterServer::new(context))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        ready.recv().unwrap();
        self.runtime = Some(runtime);
    }

    /// Kills it: its connections break, and nobody listens any more.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // On a thread of its own: a runtime must not end inside another.
            let end = move || runtime.shutdown_timeout(std::time::Duration::from_secs(5));
            std::thread::spawn(end).join().unwrap();
        }
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.context.manner.lock().unwrap() = manner;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn channel(&self) -> tonic::transport::Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address())).unwrap();
        endpoint.connect_lazy()
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A refusal as servers word it.
pub(crate) fn refusal(mut status: Status, reason: &'static str) -> Status {
    let reason = MetadataValue::from_static(reason);
    status.metadata_mut().insert("holdfast-reason", reason);
    status
}

/// What these nodes do not do.
pub(crate) fn absent<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not in this test"))
}
