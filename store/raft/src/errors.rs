//! One error for each thing a replica can be asked. Each variant says whether anything happened.

use std::time::Duration;

use holdfast_proto::NodeId;

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The files could not be opened; the source names which and what to do.
    #[error("the replica's files could not be opened")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A node that had joined finds no log of its own.
    #[error(
        "node {id} ran before but its log is gone; it must not vote again under that number: \
         remove the member and join anew"
    )]
    Wiped {
        /// The node.
        id: NodeId,
    },
    /// The timing does not hold together.
    #[error("the timing cannot work: {0}")]
    Timing(String),
    /// Consensus would not start.
    #[error("consensus did not start: {0}")]
    Consensus(String),
}

/// Why a cluster was not founded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitializeError {
    /// The node belongs to a cluster.
    #[error("this node already belongs to a cluster; nothing was changed")]
    AlreadyInitialized,
    /// The node has stopped.
    #[error("the replica has stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why a proposal has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Certainly not applied: no leader took it in time.
    #[error("no leader was found within {waited:?}; nothing was written")]
    NoLeader {
        /// How long it was tried.
        waited: Duration,
    },
    /// May or may not be applied, now or later.
    #[error("the outcome is unknown: {why}; the write may still happen")]
    Unknown {
        /// What broke.
        why: String,
    },
    /// Certainly not applied: the leader would not take it.
    #[error("{why}; nothing was written")]
    Refused {
        /// What and what to do.
        why: String,
    },
    /// Certainly not applied by this node: it has stopped.
    #[error("the replica has stopped: {why}; nothing was written")]
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why a linearizable read cannot be served.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// No leader confirmed itself in time.
    #[error("no leader with a quorum answered within {waited:?}")]
    NoQuorum {
        /// How long it was tried.
        waited: Duration,
    },
    /// The node has stopped.
    #[error("the replica has stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why the membership was not changed, or the leadership not handed over.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Only the leader changes members.
    #[error("only the leader changes members; nothing was changed")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// The number belongs or belonged to another node.
    #[error("node number {id} was used before and is never reused; join under a new one")]
    IdUsed {
        /// The number.
        id: NodeId,
    },
    /// No such member.
    #[error("node {id} is not a member")]
    NotMember {
        /// The number.
        id: NodeId,
    },
    /// The cluster would be left without a voter.
    #[error("node {id} is the last voter; a cluster cannot lose it")]
    LastVoter {
        /// The number.
        id: NodeId,
    },
    /// Another change is under way.
    #[error("another membership change is under way; try again when it is done")]
    InProgress,
    /// The node is too far behind to vote.
    #[error("node {id} is {behind} entries behind; promote it when it has caught up")]
    Lagging {
        /// The number.
        id: NodeId,
        /// Log entries it lacks.
        behind: u64,
    },
    /// No other voter could take over.
    #[error("no voter could take the lead: {why}")]
    NoSuccessor {
        /// What was tried.
        why: String,
    },
    /// The change may or may not take place.
    #[error("the outcome is unknown: {why}; look at the members before trying again")]
    Unknown {
        /// What broke.
        why: String,
    },
    /// The node has stopped.
    #[error("the replica has stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
}

/// Why no archive was written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Nothing was applied yet, so there is nothing to archive.
    #[error("there is nothing to archive yet")]
    Empty,
    /// The archive could not be written; the log is kept whole.
    #[error("the archive could not be written: {why}; the log is kept whole")]
    Write {
        /// What the disk said.
        why: String,
    },
    /// The node has stopped.
    #[error("the replica has stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
}
