//! What a replica says about itself.

use std::collections::BTreeSet;

use holdfast_proto::NodeId;
use openraft::Instant as _;

use crate::{
    options::PeerNode,
    types::{RaftMetrics, ServerState, index_of},
};

/// What part a node plays right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRole {
    /// Receives the log without a vote.
    Learner,
    /// Votes and follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped.
    Stopped,
}

/// Who leads, and whether it may act yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term this node is in.
    pub term: u64,
    /// Who leads it, if known.
    pub leader: Option<NodeId>,
    /// This node leads and has applied the first entry of its own term, so that it knows
    /// everything that was ever acknowledged.
    pub is_self_ready: bool,
}

/// How far one peer is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The peer.
    pub id: NodeId,
    /// Up to this index its log is the leader's.
    pub matched: Option<u64>,
    /// Since it was last heard, milliseconds; `None` before the first time.
    pub last_ack_ms: Option<u64>,
}

/// One replica at one moment. Indexes are of the log; `None` means nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// This node.
    pub id: NodeId,
    /// Its term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// Its part.
    pub role: ReplicaRole,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who learns.
    pub learners: BTreeSet<NodeId>,
    /// Two sets of voters have to agree: a change of the voters has begun and not ended.
    pub changing: bool,
    /// All members, as consensus reaches them.
    pub nodes: Vec<PeerNode>,
    /// Newest entry of its log.
    pub last_log: Option<u64>,
    /// Newest entry known to be committed.
    pub committed: Option<u64>,
    /// Newest entry applied.
    pub applied: Option<u64>,
    /// Where its newest archive ends.
    pub snapshot: Option<u64>,
    /// Where its log was cut.
    pub purged: Option<u64>,
    /// The others, at the leader only.
    pub peers: Vec<PeerProgress>,
}

impl ReplicaStatus {
    pub(crate) fn of(metrics: &RaftMetrics) -> Self {
        let membership = metrics.membership_config.membership();
        let stopped = metrics.running_state.is_err();
        let acked = |id: &u64| {
            let times = metrics.heartbeat.as_ref()?;
            let at = (*times.get(id)?)?;
            Some(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
        };
        Self {
            id: NodeId(metrics.id),
            term: metrics.current_term,
            leader: metrics.current_leader.map(NodeId),
            role: if stopped {
                ReplicaRole::Stopped
            } else {
                ReplicaRole::of(metrics.state)
            },
            voters: membership.voter_ids().map(NodeId).collect(),
            changing: membership.get_joint_config().len() > 1,
            learners: membership.learner_ids().map(NodeId).collect(),
            nodes: membership
                .nodes()
                .map(|(id, place)| PeerNode::at(*id, place))
                .collect(),
            last_log: metrics.last_log_index,
            committed: index_of(&metrics.local_committed),
            applied: index_of(&metrics.last_applied),
            snapshot: index_of(&metrics.snapshot),
            purged: index_of(&metrics.purged),
            peers: metrics
                .replication
                .iter()
                .flatten()
                .filter(|(id, _)| **id != metrics.id)
                .map(|(id, matched)| PeerProgress {
                    id: NodeId(*id),
                    matched: index_of(matched),
                    last_ack_ms: acked(id),
                })
                .collect(),
        }
    }
}

impl ReplicaRole {
    fn of(state: ServerState) -> Self {
        match state {
            ServerState::Learner => Self::Learner,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Leader => Self::Leader,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}
