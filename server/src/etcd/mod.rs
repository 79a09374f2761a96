//! The etcd v3 front: existing tools use Holdfast unchanged, on a listener of its own.
//!
//! One keyspace, two languages. What `kvctl` wrote is read here in its canonical text; what an etcd
//! client writes is of the kind bytes; revisions, versions and leases are the same numbers on both
//! sides. Who calls is who the certificate names, and signs what it changes. Of the state, this
//! front shows plain entries only ([`convert`] decides).
//!
//! **Served**: KV, Watch, Lease, Lock and Election in whole; of Cluster the list of members; of
//! Maintenance all but Downgrade; of Auth the status. gRPC health and reflection are there too.
//! Whatever else exists answers `UNIMPLEMENTED` with one sentence. etcd's HTTP endpoints are not
//! there: the node's own HTTP port has `/healthz` and `/metrics`.
//!
//! What always holds:
//!
//! * A transaction that changes something raises the revision by one, and any other by none.
//! * Errors have etcd's codes and texts, since clients match them ([`error`]).
//! * A write is applied at most once, also if its answer was lost on the way between nodes
//!   ([`propose`]); without an answer in time the outcome is unknown, and says
//!   `etcdserver: request timed out` as etcd does.
//!
//! # Where it differs from etcd, and why
//!
//! | what | here | because |
//! |---|---|---|
//! | revision of an empty store | 0; etcd's is 1 | the numbers are those that `kvctl` shows |
//! | reads of an old revision, watches from one | `required revision has been compacted` also where retention dropped a version, not only after a compaction | history is kept by key: the last 20 versions and 30 days, within 1 MiB |
//! | limits | key 1 KiB, value 1 MiB, 512 operations a transaction with all nested ones, 4 levels of nesting, 8 MiB of answer: `request is too large`, `too many operations in txn request` | one set of limits for all clients; see `kvctl status` |
//! | lease | at most 30 days: `too large lease TTL` | one set of limits |
//! | equal rows of a sorted range | by key | etcd's sort leaves their order open |
//! | `keys_only` | keeps each key's lease, as etcd before 3.7 does | it costs nothing here |
//! | a put and a deletion of every key from one on, in one transaction | refused as duplicate key if they meet; etcd lets it pass | it would have no single outcome |
//! | a key that one transaction puts and deletes, where etcd lets that pass | makes a revision without an event; etcd sends both | a transaction is one change |
//! | events of several revisions | may come in one response; never in part without `fragment` | a watcher is a place in the history, without a queue |
//! | events of one revision | by key; etcd's by operation | a transaction is one change, whatever the order of its parts |
//! | a running watch through a compaction | goes on as long as memory holds its place | nothing that it was promised need be lost |
//! | `compact_revision` | may be above the compaction's | it is the revision to begin again from that works |
//! | progress marks | after 10 s without events; etcd's default is 10 min | cheap here |
//! | lease of a lock or election, given as 0 | lives 60 s, as etcd's; the call that waits keeps nothing alive | |
//! | versions that `Status` says | 3.6.0, the API's; no storage version | clients look at it before they use something |
//! | `Alarm` | none ever | past a limit a write is refused, and that is all |
//! | `Hash` | of the whole state, sessions and leases too | so nodes that applied the same agree |
//! | `HashKV` | CRC-32 over keys, numbers and digests | equal on all members, not equal to an etcd's |
//! | `Snapshot` | an archive in our format, then zeros and the SHA-256 with which an etcd snapshot ends | `etcdctl snapshot save` takes it; Holdfast alone restores it |
//! | secrets | are not there for reads, counts and watches; what would touch one is refused: permission denied | they are opened one at a time, on record, and not by clients that do not know what they are |
//! | who may do what | by the roles of the certificate's name, as everywhere (`kvctl role`, `kvctl grant`); etcd's users, roles and passwords are not served | one policy for all doors |
//! | a range, a watch or a transaction that is allowed in part | refused as a whole: permission denied | an answer with gaps would look like one without |
//! | URLs of a member that is down | as it told last, none if it never did | a front is a matter of its node's start, not of the replicated state |
//!
//! Where things are: [`listener`] and [`door`] let callers in, [`serving`] holds it together; one
//! module a service; [`check`] has etcd's rules for requests, [`range`] and [`transaction`] its
//! reads and transactions, [`contest`] the line before a lock.

mod addresses;
mod auth;
mod check;
mod cluster;
mod contest;
mod convert;
mod door;
mod election;
mod error;
mod header;
mod kv;
mod lease;
mod listener;
mod lock;
mod maintenance;
mod permit;
mod propose;
mod range;
mod serving;
mod snapshot;
mod transaction;
mod veil;
mod watch;

pub(crate) use self::{listener::is_loopback, serving::serve};

use std::sync::{Arc, atomic::AtomicU64};

use holdfast_raft::Leadership;
use tokio::sync::watch::Receiver;

use self::{addresses::Addresses, header::cluster_number, propose::Lanes};
use crate::host::Host;

/// Shared by all services of the front.
struct Front {
    host: Arc<Host>,
    cluster_id: u64,
    leadership: Receiver<Leadership>,
    lanes: Lanes,
    /// The newest revision that a write through this node was answered with.
    answered: AtomicU64,
    addresses: Addresses,
}

impl Front {
    fn new(host: Arc<Host>) -> Self {
        Self {
            cluster_id: cluster_number(&host.cluster),
            leadership: host.replica.leadership(),
            lanes: Lanes::default(),
            answered: AtomicU64::new(0),
            addresses: Addresses::default(),
            host,
        }
    }
}
