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

/// Shared by all who ask.
#[derive(Default)]
pub(super) struct Addresses(Mutex<Known>);

/// What the members said last; an empty URL: it has no front.
#[derive(Default)]
struct Known(BTreeMap<NodeId, Said>);

struct Said {
    url: Arc<str>,
    at: Instant,
}

impl Addresses {
    /// The URL of each member's front, as far as it is known. Asks those that were not heard of
    /// lately, all at once.
    pub(super) async fn of_all(&self, host: &Host) -> BTreeMap<NodeId, Arc<str>> {
        let peers = host.replica.status().nodes;
        let stale: Vec<&PeerNode> = {
            let known = self.0.lock();
            let now = Instant::now();
            let others = peers.iter().filter(|peer| peer.id != host.id);
            others
                .filter(|peer| !known.is_fresh(peer.id, now))
                .collect()
        };
        let answers = join_all(stale.into_iter().map(|peer| async move {
            let url = tokio::time::timeout(ANSWER, ask(host, peer)).await.ok()??;
            Some((peer.id, url))
        }))
        .await;
        let mut known = self.0.lock();
        known.take_in(answers.into_iter().flatten(), Instant::now());
        known.keep(|id| peers.iter().any(|peer| peer.id == id));
        let mut all = known.all();
        all.insert(host.id, host.etcd.clone());
        all
    }
}

impl Known {
    fn is_fresh(&self, id: NodeId, now: Instant) -> bool {
        let said = self.0.get(&id);
        said.is_some_and(|said| now.saturating_duration_since(said.at) < FRESH)
    }

    /// Who gave no answer keeps what it said before, however long ago.
    fn take_in(&mut self, answers: impl Iterator<Item = (NodeId, Arc<str>)>, at: Instant) {
        for (id, url) in answers {
            self.0.insert(id, Said { url, at });
        }
    }

    fn keep(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.0.retain(|id, _| is_member(*id));
    }

    fn all(&self) -> BTreeMap<NodeId, Arc<str>> {
        let urls = self.0.iter().map(|(id, said)| (*id, said.url.clone()));
        urls.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_down_keeps_its_url_until_it_is_a_member_no_more() {
        let mut known = Known::default();
        let start = Instant::now();
        let urls = [(NodeId(1), "https://one"), (NodeId(2), "https://two")];
        known.take_in(urls.map(|(id, url)| (id, url.into())).into_iter(), start);
        assert!(known.is_fresh(NodeId(2), start));

        // Much later it is asked again, and only the first one answers.
        let later = start + FRESH * 100;
        assert!(!known.is_fresh(NodeId(2), later));
        known.take_in([(NodeId(1), "https://moved".into())].into_iter(), later);
        known.keep(|_| true);
        let expected = BTreeMap::from([
            (NodeId(1), "https://moved".into()),
            (NodeId(2), "https://two".into()),
        ]);
        assert_eq!(known.all(), expected);
        assert!(!known.is_fresh(NodeId(2), later), "it is asked each time");

        known.keep(|id| id == NodeId(1));
        assert_eq!(known.all().len(), 1);
    }
}
