//! The etcd v3 front: existing tools use Holdfast unchanged, on a listener of its own.

mod addresses;
mod auth;
mod caller;
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
mod propose;
mod range;
mod serving;
mod snapshot;
mod transaction;
mod watch;

pub(crate) use self::{listener::is_loopback, serving::Serving};

use std::sync::Arc;

use holdfast_raft::Leadership;

use self::{addresses::Addresses, header::cluster_number, propose::Lanes};
use crate::host::Host;

/// Shared by all services of the front.
struct Front {
    host: Arc<Host>,
    cluster_id: u64,
    leadership: tokio::sync::watch::Receiver<Leadership>,
    lanes: Lanes,
    addresses: Addresses,
}

impl Front {
    fn new(host: Arc<Host>) -> Self {
        Self {
            cluster_id: cluster_number(&host.cluster),
            leadership: host.replica.leadership(),
            lanes: Lanes::default(),
            addresses: Addresses::default(),
            host,
        }
    }
}
