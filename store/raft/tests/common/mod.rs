//! Clusters of replicas in one process, over a network that can fail.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod link;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use holdfast_proto::{NodeId, log::v1 as log, v1};
use holdfast_raft::{PeerNode, ProposeError, Replica, ReplicaOptions};
use prost::Message as _;
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;

use link::{Link, Network};

/// Long enough for anything that is going to happen on a busy machine.
pub(crate) const PLENTY: Duration = Duration::from_secs(20);

/// Nodes 1 to n, those that run.
pub(crate) struct Cluster {
    pub(crate) network: Network,
    pub(crate) nodes: BTreeMap<u64, Node>,
    dir: PathBuf,
    /// The folder goes with the cluster, unless somebody else made it.
    _made: Option<TempDir>,
    adjust: fn(&mut ReplicaOptions),
}

pub(crate) struct Node {
    pub(crate) replica: Replica,
    server: JoinHandle<()>,
}

impl Cluster {
    /// `size` voters, one of them leading.
    pub(crate) async fn of(size: u64) -> Self {
        Self::with(size, |_| {}).await
    }

    pub(crate) async fn with(size: u64, adjust: fn(&mut ReplicaOptions)) -> Self {
        let made = tempfile::tempdir().unwrap();
        let mut cluster = Self::founded(made.path(), size, adjust).await;
        cluster._made = Some(made);
        cluster
    }

    /// In a folder of somebody else's.
    pub(crate) async fn founded(dir: &Path, size: u64, adjust: fn(&mut ReplicaOptions)) -> Self {
        let mut cluster = Self {
            network: Network::default(),
            nodes: BTreeMap::new(),
            dir: dir.to_owned(),
            _made: None,
            adjust,
        };
        cluster.start(1, true).await;
        cluster.node(1).initialize(peer(1)).await.unwrap();
        cluster.leader().await;
        for id in 2..=size {
            cluster.start(id, true).await;
            let (first, id) = (cluster.node(1), NodeId(id));
            // What was done is told: what comes next is decided by it. It was not always.
            first.add_learner(peer(id.0)).await.unwrap();
            assert!(first.status().learners.contains(&id));
            first.promote(id).await.unwrap();
            assert!(first.status().voters.contains(&id));
        }
        cluster
    }

    /// Starts a node on its folder.
    pub(crate) async fn start(&mut self, id: u64, fresh: bool) {
        let replica = self.try_start(id, fresh).await.unwrap();
        let connections = UnboundedReceiverStream::new(self.network.listen(id));
        let serving = Server::builder()
            .add_service(replica.service())
            .serve_with_incoming(connections);
        let server = tokio::spawn(async move { serving.await.unwrap() });
        self.nodes.insert(id, Node { replica, server });
    }

    pub(crate) async fn try_start(
        &self,
        id: u64,
        fresh: bool,
    ) -> Result<Replica, holdfast_raft::StartError> {
        let mut options = ReplicaOptions::new(NodeId(id), self.dir(id), self.network.dialer(id));
        options.fresh = fresh;
        (self.adjust)(&mut options);
        std::fs::create_dir_all(&options.dir).unwrap();
        Replica::start(options).await
    }

    pub(crate) fn dir(&self, id: u64) -> PathBuf {
        folder_of(&self.dir, id)
    }

    pub(crate) fn node(&self, id: u64) -> &Replica {
        &self.nodes[&id].replica
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// Whom all running nodes follow, once they do and it may act.
    pub(crate) async fn leader(&self) -> u64 {
        self.leader_among(&self.ids()).await
    }

    pub(crate) async fn leader_among(&self, ids: &[u64]) -> u64 {
        eventually("a leader that all know", || {
            let leaders: Vec<_> = ids
                .iter()
                .map(|id| *self.node(*id).leadership().borrow())
                .collect();
            let leader = leaders.first()?.leader?;
            let agreed = leaders.iter().all(|known| known.leader == Some(leader));
            let ready =
                ids.contains(&leader.0) && self.node(leader.0).leadership().borrow().is_self_ready;
            (agreed && ready).then_some(leader.0)
        })
        .await
    }

    /// Nobody reaches the node any more, and it is gone without a word.
    pub(crate) async fn kill(&mut self, id: u64) {
        let others = self.ids();
        self.network.isolate(id, &others, Link::Cut);
        self.network.silence(id);
        let node = self.nodes.remove(&id).unwrap();
        node.replica.shutdown().await;
        node.server.abort();
        self.network
            .isolate(id, &others, Link::Open(Duration::ZERO));
    }

    /// Every node holds `key`.
    pub(crate) async fn all_hold(&self, key: &str) {
        for id in self.ids() {
            self.holds(id, key).await;
        }
    }

    pub(crate) async fn holds(&self, id: u64, key: &str) {
        eventually(&format!("{key} on node {id}"), || {
            has(self.node(id), key).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes.into_values() {
            node.replica.shutdown().await;
            node.server.abort();
        }
    }
}

/// Where a node of a cluster in `dir` keeps its files.
pub(crate) fn folder_of(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("n{id}"))
}

pub(crate) fn peer(id: u64) -> PeerNode {
    PeerNode {
        id: NodeId(id),
        name: format!("n{id}"),
        address: format!("replica:{id}"),
    }
}

pub(crate) fn has(replica: &Replica, key: &str) -> bool {
    replica
        .store()
        .read(|state| state.get(key.as_bytes()).is_some())
}

/// A put without a request id: nobody repeats it.
pub(crate) fn put(key: &str) -> Bytes {
    put_of(key, 16, None)
}

/// A put with a request id of its own.
pub(crate) fn named_put(key: &str) -> Bytes {
    static SESSION: AtomicU64 = AtomicU64::new(1);
    let session = SESSION.fetch_add(1, Ordering::Relaxed);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&session.to_le_bytes());
    let request = v1::RequestId {
        session: bytes.to_vec().into(),
        sequence: 1,
        first_incomplete: 1,
    };
    put_of(key, 16, Some(request))
}

pub(crate) fn put_of(key: &str, bytes: usize, request: Option<v1::RequestId>) -> Bytes {
    let value = v1::value::Kind::Text("x".repeat(bytes));
    let put = v1::PutOperation {
        key: key.as_bytes().to_vec().into(),
        value: Some(v1::Value { kind: Some(value) }),
        ..Default::default()
    };
    let command = log::Command {
        request,
        author: "node/test".to_owned(),
        body: Some(log::command::Body::Put(log::Put {
            put: Some(put),
            expected: None,
        })),
        ..Default::default()
    };
    command.encode_to_vec().into()
}

/// Proposes and must succeed.
pub(crate) async fn write(replica: &Replica, key: &str) {
    let deadline = Instant::now() + PLENTY;
    replica.propose(named_put(key), deadline).await.unwrap();
}

/// Proposes and must fail before twice its time is over.
pub(crate) async fn fails(replica: &Replica, command: Bytes, within: Duration) -> ProposeError {
    let proposal = replica.propose(command, Instant::now() + within);
    let answer = timeout(within * 2 + Duration::from_secs(1), proposal).await;
    answer
        .expect("a proposal outlived its deadline")
        .unwrap_err()
}

/// Looks until there is something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PLENTY;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
