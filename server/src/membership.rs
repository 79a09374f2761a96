//! Consensus follows the members: the leader brings voters and learners in line with the state.
//!
//! Members are replicated state, changed by commands. Whoever leads compares them with what
//! consensus has and makes one change at a time, so a change that one leader began the next one
//! ends, and none is lost with the node that was asked for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_core::Role;
use holdfast_proto::NodeId;
use holdfast_raft::{ChangeError, PeerNode, ReplicaStatus};
use tonic::Status;

use crate::{host::Host, status::Reason, witness};

/// One change that brings consensus nearer to the members.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// An earlier leader began a change of the voters and did not end it.
    Finish,
    Add(PeerNode),
    Promote(NodeId),
    /// It moved.
    Readdress(PeerNode),
    Remove(NodeId),
    /// This node is to go, but it leads: another must lead first.
    HandOver,
}

/// A member as the state has it.
#[derive(Clone, Debug)]
struct Wanted {
    node: PeerNode,
    votes: bool,
    removed: bool,
}

/// Keeps consensus in line until the node stops.
pub(crate) async fn run(host: Arc<Host>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = host.closing.cancelled() => return,
        }
        while host.leadership().is_self_ready && reconcile(&host).await {}
        if host.is_witness && host.leadership().is_self_ready {
            witness::give_back(&host).await;
        }
        let is_removed = host.read(|state| state.member(host.id).is_some_and(|own| own.removed));
        if is_removed && host.leadership().leader != Some(host.id) {
            note_removal(&host);
        }
    }
}

/// Makes the next change that is due, at the leader. `true`: it made one.
pub(crate) async fn reconcile(host: &Host) -> bool {
    let Some(step) = next_step(&wanted(host), &host.replica.status()) else {
        return false;
    };
    let done = match &step {
        Step::Finish => host.replica.finish_change().await,
        Step::Add(peer) => host.replica.add_learner(peer.clone()).await,
        Step::Readdress(peer) => host.replica.readdress(peer.clone()).await,
        Step::Promote(id) => host.replica.promote(*id).await,
        Step::Remove(id) => host.replica.remove(*id).await,
        Step::HandOver => {
            let deadline = Instant::now() + HAND_OVER;
            host.replica
                .transfer_leader(None, deadline.into())
                .await
                .map(drop)
        }
    };
    match done {
        Ok(()) => {
            tracing::info!(?step, "the membership was changed");
            true
        }
        // It catches up, or somebody else leads by now: the next look decides.
        Err(
            ChangeError::Lagging { .. } | ChangeError::InProgress | ChangeError::NotLeader { .. },
        ) => false,
        Err(error) => {
            tracing::warn!(?step, %error, "the membership could not be changed yet");
            false
        }
    }
}

/// Waits until consensus is as `reached` wants, whoever leads.
pub(crate) async fn wait_until(
    host: &Host,
    deadline: Instant,
    reached: impl Fn(&ReplicaStatus) -> bool,
) -> Result<(), Status> {
    let is_done = |now: &ReplicaStatus| !now.changing && reached(now);
    while !is_done(&host.replica.status()) {
        if Instant::now() >= deadline {
            return Err(Reason::Deadline.status(
                "the change was recorded and goes on in the background (the node may have to catch \
                 up first); see `kvctl member list`",
            ));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

fn wanted(host: &Host) -> Vec<Wanted> {
    host.read(|state| {
        state
            .members()
            .map(|member| Wanted {
                node: PeerNode {
                    id: member.id,
                    name: member.name.to_string(),
                    address: member.address.to_string(),
                },
                votes: matches!(member.role, Role::Voter | Role::Witness),
                removed: member.removed,
            })
            .collect()
    })
}

fn next_step(wanted: &[Wanted], now: &ReplicaStatus) -> Option<Step> {
    if now.changing {
        return Some(Step::Finish);
    }
    let is_member = |id: &NodeId| now.voters.contains(id) || now.learners.contains(id);
    let mut steps = wanted.iter().filter_map(|member| {
        let id = member.node.id;
        match (member.removed, is_member(&id)) {
            (true, true) if id == now.id => Some(Step::HandOver),
            (true, true) => Some(Step::Remove(id)),
            (true, false) => None,
            (false, false) => Some(Step::Add(member.node.clone())),
            (false, true) if member.votes && !now.voters.contains(&id) => {
                has_caught_up(id, now).then_some(Step::Promote(id))
            }
            (false, true) => {
                let known = now.nodes.iter().find(|node| node.id == id);
                let moved = known.is_some_and(|node| node.address != member.node.address);
                moved.then(|| Step::Readdress(member.node.clone()))
            }
        }
    });
    steps.next()
}

/// This node is out of the cluster: it learnt so from its own state, or, if it was down then, from
/// a peer that refused it.
pub(crate) fn note_removal(host: &Host) {
    if host.fence.raise(REMOVED) {
        tracing::warn!("{REMOVED}");
    }
}

/// A learner votes once it has nearly everything, so that it cannot hold up a commit for long.
fn has_caught_up(id: NodeId, now: &ReplicaStatus) -> bool {
    let last = now.last_log.unwrap_or(0);
    now.peers
        .iter()
        .find(|peer| peer.id == id)
        .and_then(|peer| peer.matched)
        .is_some_and(|matched| matched + NEARLY >= last)
}

const REMOVED: &str = "this node was removed from the cluster, so it serves nothing any more; \
                       to bring it back, empty its folder and join it anew with a token";
const LOOK: Duration = Duration::from_millis(100);
pub(crate) const HAND_OVER: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const NEARLY: u64 = 256;

#[cfg(test)]
mod tests {
    use holdfast_raft::{PeerProgress, ReplicaRole};

    use super::*;

    fn status(voters: &[u64], learners: &[u64], matched: &[(u64, u64)]) -> ReplicaStatus {
        ReplicaStatus {
            id: NodeId(1),
            term: 1,
            leader: Some(NodeId(1)),
            role: ReplicaRole::Leader,
            voters: voters.iter().copied().map(NodeId).collect(),
            learners: learners.iter().copied().map(NodeId).collect(),
            changing: false,
            nodes: Vec::new(),
            last_log: Some(1_000),
            committed: Some(1_000),
            applied: Some(1_000),
            snapshot: None,
            purged: None,
            peers: matched
                .iter()
                .map(|&(id, matched)| PeerProgress {
                    id: NodeId(id),
                    matched: Some(matched),
                    last_ack_ms: Some(1),
                })
                .collect(),
        }
    }

    fn member(id: u64, votes: bool, removed: bool) -> Wanted {
        Wanted {
            node: PeerNode {
                id: NodeId(id),
                name: format!("n{id}"),
                address: format!("127.0.0.1:{id}"),
            },
            votes,
            removed,
        }
    }

    #[test]
    fn a_new_member_is_added_and_votes_once_it_caught_up() {
        let wanted = [member(1, true, false), member(2, true, false)];
        let alone = status(&[1], &[], &[]);
        assert_eq!(
            next_step(&wanted, &alone),
            Some(Step::Add(wanted[1].node.clone()))
        );
        let lagging = status(&[1], &[2], &[(2, 10)]);
        assert_eq!(next_step(&wanted, &lagging), None);
        let caught_up = status(&[1], &[2], &[(2, 990)]);
        assert_eq!(
            next_step(&wanted, &caught_up),
            Some(Step::Promote(NodeId(2)))
        );
        let done = status(&[1, 2], &[], &[(2, 990)]);
        assert_eq!(next_step(&wanted, &done), None);
    }

    #[test]
    fn a_change_that_an_earlier_leader_began_is_ended_first() {
        let half_done = ReplicaStatus {
            changing: true,
            ..status(&[1, 2], &[], &[(2, 990)])
        };
        let wanted = [
            member(1, true, false),
            member(2, true, false),
            member(3, true, false),
        ];
        assert_eq!(next_step(&wanted, &half_done), Some(Step::Finish));
    }

    #[test]
    fn a_learner_by_role_is_never_promoted() {
        let wanted = [member(1, true, false), member(2, false, false)];
        assert_eq!(next_step(&wanted, &status(&[1], &[2], &[(2, 1_000)])), None);
    }

    #[test]
    fn a_removed_member_goes_and_a_removed_leader_hands_over_first() {
        let wanted = [
            member(1, true, true),
            member(2, true, false),
            member(3, true, true),
        ];
        let now = status(&[1, 2, 3], &[], &[]);
        assert_eq!(next_step(&wanted, &now), Some(Step::HandOver));
        assert_eq!(next_step(&wanted[1..], &now), Some(Step::Remove(NodeId(3))));
        assert_eq!(next_step(&wanted[1..], &status(&[1, 2], &[], &[])), None);
    }
}
