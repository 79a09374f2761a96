//! Nodes for the tests: temporary folders, free ports, everything gone with the test.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use holdfast_proto::v1::{
    self, cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
    lock_client::LockClient, watch_client::WatchClient,
};
use holdfast_seal::Protector;
use holdfast_server::{
    configuration::NodeConfiguration,
    dir::NodeDir,
    init::{InitOptions, init},
    join::{JoinOptions, join},
    node::Node,
};
use tempfile::TempDir;
use tonic::{Status, transport::Channel};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Some nodes of one cluster.
pub(crate) struct Nodes {
    pub(crate) home: TempDir,
    pub(crate) all: Vec<Node>,
}

impl Nodes {
    /// A cluster of one.
    pub(crate) async fn one() -> Self {
        Self::one_that(|_| ()).await
    }

    /// A cluster of one whose front for etcd's clients asks for no certificates.
    pub(crate) async fn one_plain() -> Self {
        Self::one_that(|configuration| configuration.etcd_plaintext = true).await
    }

    /// The folder of a cluster of one, which was never started.
    pub(crate) fn unborn() -> (TempDir, NodeDir) {
        let log = tracing_subscriber::fmt().with_test_writer();
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        drop(log.with_env_filter(filter).try_init());
        let home = tempfile::tempdir().unwrap();
        let options = InitOptions {
            dir: home.path().join("n1"),
            name: "n1".parse().unwrap(),
            cluster_name: "test".to_owned(),
            listen: free_address(),
            advertise: None,
            http: None,
            etcd: Some("127.0.0.1:0".to_owned()),
            key_protector: Protector::File,
        };
        let dir = init(&options, SystemTime::now()).unwrap();
        (home, dir)
    }

    async fn one_that(configure: impl FnOnce(&mut NodeConfiguration)) -> Self {
        let (home, mut dir) = Self::unborn();
        dir.configure(configure).unwrap();
        let node = start(dir).await;
        Self {
            home,
            all: vec![node],
        }
    }

    /// A cluster of three voters.
    pub(crate) async fn three() -> Self {
        let mut nodes = Self::one().await;
        for name in ["n2", "n3"] {
            nodes.join(name, v1::Role::Voter).await;
        }
        let status = || nodes.all[0].replica().status();
        eventually("three voters", || {
            status().voters.len() == 3 && !status().changing
        })
        .await;
        nodes
    }

    /// One more node.
    pub(crate) async fn join(&mut self, name: &str, role: v1::Role) {
        let token = self.token(role).await;
        let options = JoinOptions {
            dir: self.path(name),
            name: name.parse().unwrap(),
            listen: free_address(),
            advertise: None,
            http: None,
            etcd: Some("127.0.0.1:0".to_owned()),
            key_protector: Protector::File,
            token: token.parse().unwrap(),
            patience: PATIENCE,
        };
        let dir = join(&options, SystemTime::now()).await.unwrap();
        self.all.push(start(dir).await);
    }

    pub(crate) async fn token(&self, role: v1::Role) -> String {
        let request = v1::CreateTokenRequest {
            role: role.into(),
            ..v1::CreateTokenRequest::default()
        };
        let answer = self.all[0].cluster().create_token(request).await.unwrap();
        answer.into_inner().token
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The node that leads, and another one.
    pub(crate) fn leader_and_follower(&self) -> (&Node, &Node) {
        let leader = self.all[0]
            .replica()
            .status()
            .leader
            .expect("there is a leader");
        let leads = |node: &&Node| node.replica().id() == leader;
        let follows = |node: &&Node| node.replica().id() != leader;
        (
            self.all
                .iter()
                .find(leads)
                .expect("the leader is one of us"),
            self.all
                .iter()
                .find(follows)
                .expect("there is another node"),
        )
    }

    pub(crate) async fn shutdown(self) {
        for node in self.all {
            node.shutdown().await;
        }
    }
}

async fn start(dir: NodeDir) -> Node {
    let node = Node::start(dir).await.unwrap();
    tokio::time::timeout(PATIENCE, node.ready())
        .await
        .expect("the node serves in time");
    node
}

/// Starts a node again from its folder, as soon as the one that stopped has let go of it: in one
/// process that may be a moment later.
pub(crate) async fn restart(path: &Path) -> Node {
    let deadline = Instant::now() + PATIENCE;
    let node = loop {
        let refused = match NodeDir::open(path) {
            Ok(dir) => match Node::start(dir).await {
                Ok(node) => break node,
                Err(error) => format!("{error:?}"),
            },
            Err(error) => format!("{error:?}"),
        };
        assert!(Instant::now() < deadline, "{refused}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    tokio::time::timeout(PATIENCE, node.ready())
        .await
        .expect("the node serves in time");
    node
}

/// A port that was free a moment ago.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Waits for a condition, with a deadline.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The generated clients of a node.
pub(crate) trait Clients {
    fn at(&self) -> Channel;

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.at()).max_decoding_message_size(16 << 20)
    }

    fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.at())
    }

    fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.at())
    }

    fn lock(&self) -> LockClient<Channel> {
        LockClient::new(self.at())
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.at())
    }
}

impl Clients for Node {
    fn at(&self) -> Channel {
        self.channel()
    }
}

pub(crate) fn text(text: &str) -> Option<v1::Value> {
    Some(holdfast_proto::Value::from(text).into())
}

pub(crate) fn put(key: &str, value: &str) -> v1::PutRequest {
    v1::PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: text(value),
        ..v1::PutRequest::default()
    }
}

pub(crate) fn prefix(prefix: &str) -> Option<v1::KeyRange> {
    Some(holdfast_proto::KeyRange::prefix(prefix.as_bytes().to_vec()).into())
}

pub(crate) fn single(key: &str) -> Option<v1::KeyRange> {
    Some(v1::KeyRange {
        key: key.as_bytes().to_vec().into(),
        end: Vec::new().into(),
    })
}

pub(crate) fn reason(status: &Status) -> &str {
    status
        .metadata()
        .get("holdfast-reason")
        .and_then(|reason| reason.to_str().ok())
        .unwrap_or("none")
}
