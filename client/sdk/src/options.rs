//! What a client can be told. Every duration has a default that fits a cluster in one place.

use std::{net::SocketAddr, time::Duration};

use holdfast_proto::{LeaseId, Revision};

use crate::write::Expected;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Longest a call may take, with all its repeats. Default 10 s; at most 5 minutes (a session
    /// that was quiet for 10 is forgotten by the store).
    pub request_timeout: Duration,
    /// Longest a single attempt may take before another node is tried. Default 3 s.
    pub attempt_timeout: Duration,
    /// When a node has said nothing at all for this long since an attempt began, another node is
    /// asked as well, under the same request id; the first answer counts. Default 300 ms. It is
    /// what a node costs that is frozen or cut off from the others, and that only now and then: it
    /// is left alone for 1 s, then 2 s, up to 8 s (each less a random part), and tried again by one
    /// call.
    pub hedge_after: Duration,
    /// Longest to make a connection, TLS included. Default 1 s.
    pub connect_timeout: Duration,
    /// HTTP/2 pings on a quiet connection, and how long one may stay unanswered. Default 3 s.
    pub keep_alive: Duration,
    /// Connections to each node, at most: each is made when the ones before it are busy. Default 2:
    /// one alone is a point of contention at some 64 concurrent calls; each costs a TLS handshake
    /// and about 50 kB on both sides.
    pub connections_per_endpoint: usize,
    /// Where reads go. Default [`ReadRouting::Spread`].
    pub reads: ReadRouting,
    /// Who is asked about endpoints of the form `srv:NAME`. Default: whom the system asks. See
    /// [`Context::endpoints`](crate::Context::endpoints).
    pub name_server: Option<SocketAddr>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(3),
            hedge_after: Duration::from_millis(300),
            connect_timeout: Duration::from_secs(1),
            keep_alive: Duration::from_secs(3),
            connections_per_endpoint: 2,
            reads: ReadRouting::Spread,
            name_server: None,
        }
    }
}

/// Which node a read is sent to. Any node can answer any read; this is about load and latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadRouting {
    /// Over all nodes in turn.
    #[default]
    Spread,
    /// To the leader: one hop less for each read, all of the load on one node.
    Leader,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// No older than anything acknowledged before the call. Needs a majority.
    #[default]
    Linearizable,
    /// Whatever the asked node has; works without a majority.
    Local,
}

/// How to read one key.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// As it was at this revision; `None`: newest.
    pub revision: Option<Revision>,
    /// How fresh.
    pub consistency: Consistency,
}

/// How to read a range.
#[derive(Clone, Debug, Default)]
pub struct RangeOptions {
    /// At most so many entries; 0: as many as fit in one answer.
    pub limit: u64,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// As it was at this revision; `None`: newest.
    pub revision: Option<Revision>,
    /// How fresh.
    pub consistency: Consistency,
}

/// How to put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// What must be there, else [`crate::WriteError::Conflict`].
    pub expected: Option<Expected>,
    /// The lease to live under.
    pub lease: Option<LeaseId>,
    /// Keep the lease that the key has.
    pub keep_lease: bool,
    /// Why, for the history; at most 1 KiB.
    pub note: String,
    /// Return what was there.
    pub previous: bool,
    /// Also where the key is a secret. The value will be there for all to read, and so will be that
    /// the key is no secret any more.
    pub replace_secret: bool,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// What must be there (one key only), else [`crate::WriteError::Conflict`].
    pub expected: Option<Expected>,
    /// Why, for the history; at most 1 KiB.
    pub note: String,
    /// Return what was there.
    pub previous: bool,
}

/// How to put a secret.
#[derive(Clone, Debug, Default)]
pub struct SecretPutOptions {
    /// What must be there, else [`crate::WriteError::Conflict`].
    pub expected: Option<Expected>,
    /// The lease to live under.
    pub lease: Option<LeaseId>,
    /// Why, for the history; at most 1 KiB. Not secret.
    pub note: String,
}

/// How to open a secret.
#[derive(Clone, Debug, Default)]
pub struct RevealOptions {
    /// The version that was current at this revision; `None`: the newest.
    pub revision: Option<Revision>,
    /// Why, for the audit log; some policies want one.
    pub reason: String,
    /// How fresh.
    pub consistency: Consistency,
}

/// How to destroy a secret.
#[derive(Clone, Debug, Default)]
pub struct DestroyOptions {
    /// The version of this revision alone; `None`: every version, and the key.
    pub revision: Option<Revision>,
    /// Why, for the history; at most 1 KiB.
    pub note: String,
}

/// How to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// First revision to deliver; `None`: from now on.
    pub from: Option<Revision>,
    /// Begin with the range as it is, as a [`crate::WatchItem::Reset`]; `from` is ignored.
    pub snapshot: bool,
    /// Events carry what was there before, where it is kept.
    pub previous: bool,
    /// Deliver a progress mark at least this often. Default 2 s. A node that is silent for three
    /// times as long is given up for another.
    pub progress: Duration,
    /// Give up when no server was reachable for so long. Default `None`: never.
    pub give_up_after: Option<Duration>,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            from: None,
            snapshot: false,
            previous: false,
            progress: Duration::from_secs(2),
            give_up_after: None,
        }
    }
}

/// How to take a lock, or to run for election.
#[derive(Clone, Debug)]
pub struct LockOptions {
    /// The lease behind it: so long after this process fell silent, others may have the lock.
    /// Default 10 s; 1 s to 30 days.
    pub ttl: Duration,
    /// How long to wait for it; `Some(ZERO)`: not at all; `None`: for ever. Default `None`.
    pub wait: Option<Duration>,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            wait: None,
        }
    }
}

/// How to keep a mirror.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// How often to ask the cluster whether the mirror is current, which is what its age is
    /// measured from. One small linearizable read each. Default 2 s.
    pub check: Duration,
    /// Opens each secret of the prefix and keeps it in memory, in the open: read it with
    /// [`crate::Mirror::secret`], without waiting and without any server. Default `None`: the mirror
    /// tells that there is a secret and never knows it.
    pub reveal: Option<MirrorReveal>,
}

/// How a mirror opens secrets. Each version is opened once, and recorded like any other reveal.
#[derive(Clone, Debug, Default)]
pub struct MirrorReveal {
    /// Why, for the audit log; some policies want one.
    pub reason: String,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self {
            check: Duration::from_secs(2),
            reveal: None,
        }
    }
}
