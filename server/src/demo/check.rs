//! The reckoning: each node is asked by itself, and answers from what it has itself.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use holdfast_client::{Client, Context, NodeId};
use holdfast_proto::{KeyRange, limits, v1};
use holdfast_raft::{Dial, PeerNode, Purpose};
use tonic::{Request, transport::Channel};

use super::{DemoError, KnownNode, PREFIX, service::Record, story};
use crate::{
    identity::NodeKey,
    tls::{NodeTls, PeerDialer},
};

/// The nodes of the cluster, each reachable by itself.
pub(super) struct Nodes {
    nodes: Vec<KnownNode>,
    dialer: PeerDialer,
}

/// The state of one node at one applied index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashed {
    pub(super) name: String,
    pub(super) applied: u64,
    pub(super) hash: Vec<u8>,
}

impl Nodes {
    /// All members that the cluster has.
    pub(super) async fn of(context: &Context, client: &Client) -> Result<Self, DemoError> {
        let members = client
            .cluster()
            .member_list()
            .await
            .map_err(|error| story(&error))?;
        let nodes = members.members.into_iter().map(|member| KnownNode {
            id: member.id,
            name: member.name,
            address: member.address,
        });
        Ok(Self {
            nodes: nodes.collect(),
            dialer: PeerDialer::new(operator(context)?),
        })
    }

    /// The name of a node.
    pub(super) fn name(&self, id: NodeId) -> Result<&str, DemoError> {
        let node = self.nodes.iter().find(|node| node.id == id);
        let unknown = || DemoError::Story(format!("node {id} leads, and is no member"));
        node.map(|node| node.name.as_str()).ok_or_else(unknown)
    }

    /// Who leads.
    pub(super) async fn leader(&self) -> Result<NodeId, DemoError> {
        self.leader_but(None).await
    }

    /// Who leads after `old`.
    pub(super) async fn new_leader(&self, old: NodeId) -> Result<NodeId, DemoError> {
        self.leader_but(Some(old)).await
    }

    async fn leader_but(&self, old: Option<NodeId>) -> Result<NodeId, DemoError> {
        let found = async {
            loop {
                for node in self.nodes.iter().filter(|node| Some(node.id) != old) {
                    let leader = self.status(node).await.map_or(0, |status| status.leader);
                    if leader != 0 && Some(NodeId(leader)) != old {
                        return NodeId(leader);
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        until("no leader was found", found).await
    }

    /// Waits until every node has all up to this revision.
    pub(super) async fn catch_up(&self, revision: u64) -> Result<(), DemoError> {
        let caught_up = async {
            for node in &self.nodes {
                let behind = async || {
                    let header = self
                        .status(node)
                        .await
                        .ok()
                        .and_then(|status| status.header);
                    header.is_none_or(|header| header.revision < revision)
                };
                while behind().await {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        };
        until("not every node has caught up", caught_up).await
    }

    /// The acknowledged writes that some node does not have, as `node: key`.
    pub(super) async fn lost(&self, record: &Record) -> Result<Vec<String>, DemoError> {
        let mut lost = Vec::new();
        for node in &self.nodes {
            let found = self.written(node).await.map_err(|status| story(&status))?;
            for write in &record.writes {
                let kept = found.get(write.key.as_bytes());
                if kept != Some(&(write.number, write.revision)) {
                    lost.push(format!("{}: {}", node.name, write.key));
                }
            }
        }
        Ok(lost)
    }

    /// The state hash of every node, all at one applied index.
    pub(super) async fn hashes(&self) -> Result<Vec<Hashed>, DemoError> {
        let same_index = async {
            loop {
                let hashes = self.hashes_now().await;
                let complete = hashes.len() == self.nodes.len();
                if complete
                    && hashes
                        .iter()
                        .all(|hashed| hashed.applied == hashes[0].applied)
                {
                    return hashes;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        until(
            "the nodes did not come to rest at one applied index",
            same_index,
        )
        .await
    }

    async fn hashes_now(&self) -> Vec<Hashed> {
        let mut hashes = Vec::new();
        for node in &self.nodes {
            let Ok(status) = self.status(node).await else {
                continue;
            };
            let own = status.members.into_iter().find(|status| {
                status
                    .member
                    .as_ref()
                    .is_some_and(|member| member.id == node.id.0)
            });
            hashes.extend(
                own.filter(|own| !own.state_hash.is_empty())
                    .map(|own| Hashed {
                        name: node.name.clone(),
                        applied: own.applied,
                        hash: own.state_hash.to_vec(),
                    }),
            );
        }
        hashes
    }

    /// What the service wrote, as this node has it: number and revision by key.
    async fn written(
        &self,
        node: &KnownNode,
    ) -> Result<BTreeMap<Vec<u8>, (i64, u64)>, tonic::Status> {
        let mut client = v1::kv_client::KvClient::new(self.channel(node)?)
            .max_decoding_message_size(limits::MESSAGE_BYTES);
        let mut range: v1::KeyRange = KeyRange::prefix(format!("{PREFIX}/Runs/")).into();
        let (mut found, mut revision) = (BTreeMap::new(), 0);
        loop {
            let answer = client
                .range(v1::RangeRequest {
                    range: Some(range.clone()),
                    revision,
                    consistency: v1::Consistency::Local.into(),
                    ..v1::RangeRequest::default()
                })
                .await?
                .into_inner();
            for entry in answer.entries {
                if let Some(v1::value::Kind::Integer(number)) = entry.value.and_then(|v| v.kind) {
                    found.insert(entry.key.to_vec(), (number, entry.modified));
                }
            }
            if !answer.more {
                return Ok(found);
            }
            (range.key, revision) = (answer.next_key, answer.revision);
        }
    }

    async fn status(&self, node: &KnownNode) -> Result<v1::StatusResponse, tonic::Status> {
        let mut client = v1::cluster_client::ClusterClient::new(self.channel(node)?);
        let mut request = Request::new(v1::StatusRequest { local: true });
        request.set_timeout(ANSWER);
        Ok(client.status(request).await?.into_inner())
    }

    /// To this node and no other: its certificate must say so.
    fn channel(&self, node: &KnownNode) -> Result<Channel, tonic::Status> {
        let peer = PeerNode {
            id: node.id,
            name: node.name.clone(),
            address: node.address.clone(),
        };
        let channel = self.dialer.channel(&peer, Purpose::Heartbeat);
        channel.map_err(|error| tonic::Status::unavailable(error.to_string()))
    }
}

/// TLS as the operator of a context.
fn operator(context: &Context) -> Result<NodeTls, DemoError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let key = NodeKey::from_pem(&text(&context.key)).map_err(|error| story(&error))?;
    NodeTls::load(
        &text(&context.ca),
        &text(&context.cert),
        &key,
        SystemTime::now(),
    )
    .map_err(|error| story(&error))
}

async fn until<T>(otherwise: &str, done: impl Future<Output = T>) -> Result<T, DemoError> {
    tokio::time::timeout(PATIENCE, done)
        .await
        .map_err(|_| DemoError::Story(format!("{otherwise} within {PATIENCE:?}")))
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);
