//! A witness: it votes, keeps ciphertext, and takes no part in anything else.
//!
//! Two nodes and a witness survive the loss of any one of the three, at the price of a small third
//! machine that need not be trusted with a secret. It is a full voter, or it could not make a
//! majority with either of the two; so it may come to lead, where it alone has what was
//! acknowledged. Then it gives leadership back as soon as somebody else is as far.
//!
//! Invariants: (1) it is never given a key: neither the authority's nor one of the keyring. (2) It
//! answers nothing but its status and health, and what its peers ask.

use std::{fmt::Write as _, time::Instant};

use holdfast_core::Role;
use holdfast_proto::NodeId;
use holdfast_raft::{PeerProgress, ReplicaStatus};
use tonic::Status;

use crate::{host::Host, membership::HAND_OVER, status::Reason};

/// Whether a witness does not serve the method at `path`.
pub(crate) fn is_closed(path: &str) -> bool {
    let is_public = !path.starts_with("/grpc.") && !path.starts_with("/holdfast.peer.");
    is_public && path != STATUS
}

/// What it says instead.
pub(crate) fn refusal(host: &Host) -> Status {
    let mut message = "this node is a witness: it votes and serves no clients".to_owned();
    host.read(|state| {
        let serving = state
            .members()
            .filter(|member| !member.removed && member.role != Role::Witness);
        for (place, member) in serving.enumerate() {
            let start = if place == 0 { "; ask " } else { " or " };
            // Writing to a string cannot fail.
            let _ = write!(message, "{start}{} ({})", member.name, member.address);
        }
    });
    Reason::Witness.status(message)
}

/// Hands leadership to a node that serves clients, if one is up to date.
pub(crate) async fn give_back(host: &Host) {
    let serving: Vec<NodeId> = host.read(|state| {
        let voters = state
            .members()
            .filter(|member| !member.removed && member.role == Role::Voter);
        voters.map(|member| member.id).collect()
    });
    let Some(to) = successor(&serving, &host.replica.status()) else {
        return;
    };
    let deadline = Instant::now() + HAND_OVER;
    match host
        .replica
        .transfer_leader(Some(to), deadline.into())
        .await
    {
        Ok(leader) => tracing::info!(%leader, "this witness gave leadership back"),
        Err(error) => tracing::info!(%error, %to, "leadership could not be given back yet"),
    }
}

/// Of the voters that serve clients, the one that is furthest, if it lacks next to nothing.
fn successor(serving: &[NodeId], now: &ReplicaStatus) -> Option<NodeId> {
    if now.changing {
        return None;
    }
    let last = now.last_log.unwrap_or(0);
    let is_ready = |peer: &&PeerProgress| {
        serving.contains(&peer.id)
            && now.voters.contains(&peer.id)
            && peer.last_ack_ms.is_some_and(|ms| ms < LATELY_MS)
            && peer.matched.is_some_and(|matched| matched + NEARLY >= last)
    };
    let ready = now.peers.iter().filter(is_ready);
    ready.max_by_key(|peer| peer.matched).map(|peer| peer.id)
}

const STATUS: &str = "/holdfast.v1.Cluster/Status";
const LATELY_MS: u64 = 500;
/// Entries that a successor may lack: it gets them with the hand-over.
const NEARLY: u64 = 256;

#[cfg(test)]
mod tests {
    use holdfast_raft::ReplicaRole;

    use super::*;

    fn peer(id: u64, matched: u64, last_ack_ms: u64) -> PeerProgress {
        PeerProgress {
            id: NodeId(id),
            matched: Some(matched),
            last_ack_ms: Some(last_ack_ms),
        }
    }

    fn leads_with(peers: Vec<PeerProgress>) -> ReplicaStatus {
        ReplicaStatus {
            id: NodeId(9),
            term: 1,
            leader: Some(NodeId(9)),
            role: ReplicaRole::Leader,
            voters: [1, 2, 8, 9].map(NodeId).into(),
            learners: [3].map(NodeId).into(),
            changing: false,
            nodes: Vec::new(),
            last_log: Some(1_000),
            committed: Some(1_000),
            applied: Some(1_000),
            snapshot: None,
            purged: None,
            peers,
        }
    }

    #[test]
    fn leadership_goes_to_who_serves_clients_and_is_up_to_date() {
        let serving = [1, 2, 3].map(NodeId);
        let next = |peers| successor(&serving, &leads_with(peers));
        assert_eq!(
            next(vec![peer(1, 990, 10), peer(2, 995, 10)]),
            Some(NodeId(2))
        );
        assert_eq!(
            next(vec![peer(1, 990, 10), peer(2, 995, 9_000)]),
            Some(NodeId(1))
        );
        assert_eq!(
            next(vec![peer(1, 100, 10)]),
            None,
            "it would lose time catching up"
        );
        assert_eq!(next(vec![peer(8, 1_000, 1)]), None, "another witness");
        assert_eq!(next(vec![peer(3, 1_000, 1)]), None, "a learner");
        let changing = ReplicaStatus {
            changing: true,
            ..leads_with(vec![peer(1, 1_000, 1)])
        };
        assert_eq!(successor(&serving, &changing), None, "that is ended first");
    }

    #[test]
    fn only_status_health_and_peers_are_answered() {
        for open in [
            STATUS,
            "/grpc.health.v1.Health/Check",
            "/holdfast.peer.v1.Node/Clock",
            "/holdfast.peer.v1.Raft/Append",
        ] {
            assert!(!is_closed(open), "{open}");
        }
        for closed in [
            "/holdfast.v1.Kv/Range",
            "/holdfast.v1.Cluster/Join",
            "/holdfast.v1.Cluster/MemberList",
            "/holdfast.v1.Secrets/Reveal",
            "/anything.else/At",
        ] {
            assert!(is_closed(closed), "{closed}");
        }
    }
}
