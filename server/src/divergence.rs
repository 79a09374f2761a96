//! Every node is to have the same state: each compares its hash with its peers', again and again.
//!
//! A node that differs from a majority of the members at the same log index has applied something
//! differently (a fault of its memory, its disk, or ours). It must not serve another answer: it
//! fences itself, hands leadership over, and says so: it runs on for that alone, and does not start
//! again with the same folder.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use holdfast_proto::peer::v1 as peer;
use holdfast_raft::PeerNode;

use crate::{dir::NodeDir, host::Host, membership, peers::request_within, status::Reason};

/// Compares until the node stops or is fenced.
pub(crate) async fn run(host: Arc<Host>, dir: Arc<NodeDir>) {
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = host.closing.cancelled() => return,
        }
        // Under load a peer has left the newest index before it is asked, but every node keeps the
        // milestones; at rest the newest index says most.
        let applied = host.replica.store().applied();
        for index in [applied, applied - applied % MILESTONE] {
            if differs_at(&host, index).await {
                raise(&host, &dir, index).await;
                return;
            }
        }
    }
}

/// Asks the peers for their hashes at one index: whether this node differs from a majority.
async fn differs_at(host: &Host, index: u64) -> bool {
    let Some(own) = host.replica.store().hash_at(index) else {
        return false;
    };
    let status = host.replica.status();
    let peers = status.nodes.iter().filter(|node| node.id != host.id);
    let theirs: Vec<Bytes> = peers
        .map(|peer| hash_of(host, peer, index))
        .collect::<FuturesUnordered<_>>()
        .filter_map(|hash| async move { hash })
        .collect()
        .await;
    differs(own.as_bytes(), &theirs, status.nodes.len())
}

/// Whether more than half of all `members` agree with each other on another hash.
fn differs(own: &[u8], theirs: &[Bytes], members: usize) -> bool {
    theirs.iter().any(|hash| {
        let same = theirs.iter().filter(|other| *other == hash).count();
        hash[..] != *own && same * 2 > members
    })
}

/// A peer may be a little behind: it is asked a few times.
async fn hash_of(host: &Host, peer: &PeerNode, index: u64) -> Option<Bytes> {
    let mut client = host.peers.client(peer).ok()?;
    for _ in 0..ATTEMPTS {
        let message = peer::StateHashRequest { index };
        let answer = match client.state_hash(request_within(message, ANSWER)).await {
            Ok(answer) => answer.into_inner(),
            Err(refusal) => {
                if Reason::Removed.is_of(&refusal) {
                    membership::note_removal(host);
                }
                return None;
            }
        };
        if answer.index == index {
            return Some(answer.hash);
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

async fn raise(host: &Host, dir: &NodeDir, index: u64) {
    let why = format!(
        "this node's state differs from that of most other nodes at log index {index}, so it \
         serves nothing any more; keep its folder for analysis, remove the member and join it anew"
    );
    if host.fence.raise(&why) {
        tracing::error!(index, "{why}");
    }
    if let Err(error) = dir.mark_fenced(&why) {
        tracing::error!(%error, "it could not be noted that this node is fenced; do not start it again");
    }
    if host.leadership().leader == Some(host.id) {
        let deadline = Instant::now() + HAND_OVER;
        if let Err(error) = host.replica.transfer_leader(None, deadline.into()).await {
            tracing::error!(%error, "a fenced leader could not hand over; it stops");
        }
    }
    host.replica.shutdown().await;
}

/// The store keeps the hash of every index that this divides.
const MILESTONE: u64 = 256;
const EVERY: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);
const HAND_OVER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(bytes: &[u8]) -> Vec<Bytes> {
        bytes
            .iter()
            .map(|byte| Bytes::copy_from_slice(&[*byte]))
            .collect()
    }

    #[test]
    fn only_a_majority_of_all_members_proves_a_node_wrong() {
        assert!(differs(&[1], &hashes(&[2, 2]), 3));
        assert!(
            !differs(&[1], &hashes(&[2]), 3),
            "one against one proves nothing"
        );
        assert!(
            !differs(&[1], &hashes(&[1, 2]), 3),
            "the other one is wrong"
        );
        assert!(!differs(&[1], &hashes(&[2, 3]), 3));
        assert!(!differs(&[1], &hashes(&[2, 2]), 5));
        assert!(!differs(&[1], &[], 1));
    }
}
