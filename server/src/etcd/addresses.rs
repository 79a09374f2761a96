//! Where the etcd fronts of the members are.
//!
//! A front is a matter of its node's start, so it stands in no replicated state: the others are
//! asked, and what they said last is kept, for the time when they cannot be.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use holdfast_proto::{NodeId, v1};
use holdfast_raft::PeerNode;
use parking_lot::Mutex;

use crate::{host::Host, peers::request_within};

/// What the members said; an empty URL: it has no front.
#[derive(Default)]
pub(super) struct Addresses(Mutex<BTreeMap<NodeId, Known>>);

#[derive(Clone)]
struct Known {
    url: Arc<str>,
    at: Instant,
}

impl Addresses {
    /// The URL of each member's front, as far as it is known. Asks those that were not heard of
    /// lately, all at once.
    pub(super) async fn of_all(&self, host: &Host) -> BTreeMap<NodeId, Arc<str>> {
        let peers = host.replica.status().nodes;
        let asked = peers.iter().filter(|peer| peer.id != host.id);
        let stale: Vec<&PeerNode> = {
            let known = self.0.lock();
            let is_fresh = |peer: &&PeerNode| {
                known
                    .get(&peer.id)
                    .is_some_and(|known| known.at.elapsed() < FRESH)
            };
            asked.filter(|peer| !is_fresh(peer)).collect()
        };
        let answers = join_all(stale.into_iter().map(|peer| async move {
            let url = tokio::time::timeout(ANSWER, ask(host, peer)).await.ok()??;
            Some((peer.id, url))
        }))
        .await;
        let mut known = self.0.lock();
        for (id, url) in answers.into_iter().flatten() {
            let at = Instant::now();
            known.insert(id, Known { url, at });
        }
        known.retain(|id, _| peers.iter().any(|peer| peer.id == *id));
        let mut all: BTreeMap<NodeId, Arc<str>> = known
            .iter()
            .map(|(id, known)| (*id, known.url.clone()))
            .collect();
        all.insert(host.id, host.etcd.clone());
        all
    }
}

async fn ask(host: &Host, peer: &PeerNode) -> Option<Arc<str>> {
    let mut client = host.peers.client(peer).ok()?;
    let request = request_within(v1::StatusRequest { local: true }, ANSWER);
    let status = client.status(request).await.ok()?.into_inner();
    let own = status.members.into_iter().next()?;
    Some(own.etcd.into())
}

/// An answer is good for so long.
const FRESH: Duration = Duration::from_secs(5);
/// Whoever takes longer is not waited for.
const ANSWER: Duration = Duration::from_millis(300);
