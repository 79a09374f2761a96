//! What a replica is told when it starts.

use std::{path::PathBuf, sync::Arc, time::Duration};

use holdfast_proto::NodeId;
use tonic::transport::Channel;

use crate::{clock::Clock, types::Place};

/// One member as consensus knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNode {
    /// Its number; never reused.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// `HOST:PORT`, where its peers reach it.
    pub address: String,
}

impl PeerNode {
    pub(crate) fn at(id: u64, place: &Place) -> Self {
        Self {
            id: NodeId(id),
            name: place.name.clone(),
            address: place.address.clone(),
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            name: self.name.clone(),
            address: self.address.clone(),
        }
    }
}

/// What a channel to a peer carries. Each purpose has a connection of its own, so that neither log
/// entries nor a snapshot ever delay a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Small and urgent: heartbeats, votes, hand-overs, read indexes.
    Heartbeat,
    /// Log entries, and proposals on their way to the leader.
    Append,
    /// Archives for members that lag too far.
    Snapshot,
}

/// How a replica reaches its peers. The server brings mTLS; tests bring plain loopback.
pub trait Dial: Send + Sync + 'static {
    /// A channel that connects when it is first used. The replica keeps it for as long as the
    /// peer's address stays the same.
    fn channel(&self, peer: &PeerNode, purpose: Purpose) -> Result<Channel, DialError>;
}

/// Why there is no channel to a peer.
#[derive(Debug, thiserror::Error)]
#[error("there is no way to reach {address}: {why}")]
pub struct DialError {
    /// The address that was to be dialled.
    pub address: String,
    /// What is wrong with it.
    pub why: String,
}

/// Heartbeats and elections.
///
/// A follower campaigns after `election_max_ms` of silence (the leader's lease) plus a random wait
/// between both bounds, so the silence before an election is `election_max_ms + election_min_ms`
/// at least. A leader whose process ends is replaced within milliseconds, since its connections tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest random wait, milliseconds. More than a heartbeat.
    pub election_min_ms: u64,
    /// Longest random wait and the leader's lease, milliseconds. Costs availability after a crash
    /// when longer, causes elections without need when shorter than a disk's stall.
    pub election_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 50,
            election_min_ms: 60,
            election_max_ms: 240,
        }
    }
}

impl Timing {
    /// For a node that is to lead only if nobody else can: it waits as long as anybody may. Its
    /// lease stays what it is, so it gives its vote no later than others do.
    #[must_use]
    pub fn last_to_campaign(self) -> Self {
        Self {
            election_min_ms: self
                .election_max_ms
                .saturating_sub(1)
                .max(self.election_min_ms),
            ..self
        }
    }

    /// The leader's lease: so long a follower that heard it lets nobody else campaign.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }
}

/// What a replica needs to start.
#[derive(Clone)]
pub struct ReplicaOptions {
    /// This node's number.
    pub id: NodeId,
    /// Folder of its log, archives and past.
    pub dir: PathBuf,
    /// True the first time only: a node that ran before and finds nothing in `dir` is refused,
    /// because it would forget what it promised.
    pub fresh: bool,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// An archive is written when the log grew by this many bytes since the last one, or by that
    /// archive's own size if it is larger. Less costs disk writes, more a longer start.
    pub archive_after_bytes: u64,
    /// Log kept behind an archive for members that lag, bytes.
    pub keep_log_bytes: u64,
    /// New writes are refused when the disk has less room than this, bytes.
    pub reserve_bytes: u64,
    /// What commands are stamped with.
    pub clock: Arc<Clock>,
    /// How peers are reached.
    pub dial: Arc<dyn Dial>,
}

impl ReplicaOptions {
    /// Defaults for everything but what has none.
    pub fn new(id: NodeId, dir: impl Into<PathBuf>, dial: Arc<dyn Dial>) -> Self {
        Self {
            id,
            dir: dir.into(),
            fresh: true,
            timing: Timing::default(),
            archive_after_bytes: 64 * 1024 * 1024,
            keep_log_bytes: 16 * 1024 * 1024,
            reserve_bytes: 4 * 1024 * 1024,
            clock: Arc::default(),
            dial,
        }
    }
}
