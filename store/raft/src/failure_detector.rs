//! Notices at once that the leader's process has ended, instead of when its lease has.
//!
//! Silence proves little: a disk stalls, a processor is busy. So consensus waits until the leader's
//! lease is over before it elects another. But of a process that ends, killed or crashed, the kernel
//! closes the connections and refuses new ones. When a follower's stream from the leader ends, it asks
//! the leader something. If nobody listens at that address, it asks the other voters to look for
//! themselves. If a quorum finds the same, it has the one of them whose log goes furthest campaign, as a
//! leader does that hands over: voters need not wait for the lease.
//!
//! A follower alone in its belief does nothing. What is wrong with a quorum's belief is an election that
//! nobody needed, and nothing else: leases are never what makes a read safe ([`crate::barrier`]). A
//! machine that loses its power refuses nothing, and a process that hangs listens on: both are noticed by
//! silence, as ever.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use futures::future::join_all;
use holdfast_disk::Store;
use holdfast_proto::{NodeId, peer::v1 as wire};
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    barrier::is_quorum,
    membership::is_witness,
    network::transfer_request,
    options::{PeerNode, Purpose},
    peer::channels::{Channels, Presence},
    record::{log_id_of_wire, vote_to_wire},
    types::{LogId, Membership, Raft, TransferLeaderRequest, Vote},
};

/// After a first look that tells nothing, since the end of the old connection is still on its way; then
/// twice as long each time.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Longest look at the leader, and longest wait for what the other voters find. By default silence has
/// told consensus by then.
const PATIENCE: Duration = Duration::from_millis(500);

/// Watches over the leader that this node follows.
#[derive(Clone)]
pub(crate) struct FailureDetector {
    raft: Raft,
    store: Store,
    channels: Arc<Channels>,
    endings: Arc<Notify>,
}

/// Held as long as a stream from a leader is open.
pub(crate) struct Attached(Arc<Notify>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A voter that finds the leader's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Survivor {
    id: u64,
    last: Option<LogId>,
    is_witness: bool,
}

impl FailureDetector {
    pub(crate) fn new(raft: Raft, store: Store, channels: Arc<Channels>) -> Self {
        Self {
            raft,
            store,
            channels,
            endings: Arc::default(),
        }
    }

    /// To be kept with a stream from a leader, and dropped with it.
    pub(crate) fn attach(&self) -> Attached {
        Attached(self.endings.clone())
    }

    /// Looks at the leader whenever a stream from one has ended.
    pub(crate) async fn run(self) {
        loop {
            self.endings.notified().await;
            if let Some((vote, leader)) = self.followed()
                && self.has_ended(&leader).await
            {
                tracing::warn!(
                    "nobody listens at {} any more: the process of the leader, {}, has ended",
                    leader.address,
                    leader.name
                );
                self.replace(vote, &leader).await;
            }
        }
    }

    /// What another voter wants to know: whether this node, too, finds that their leader has ended.
    pub(crate) async fn confirms(&self, vote: Vote) -> bool {
        match self.followed() {
            Some((followed, leader)) if followed == vote => self.has_ended(&leader).await,
            _ => false,
        }
    }

    /// The leader that this node follows, and its vote for it.
    fn followed(&self) -> Option<(Vote, PeerNode)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader.filter(|id| *id != metrics.id)?;
        let place = metrics.membership_config.get_node(&leader)?;
        Some((metrics.vote, PeerNode::at(leader, place)))
    }

    async fn has_ended(&self, leader: &PeerNode) -> bool {
        let look = async {
            let mut pause = LOOK_AGAIN;
            loop {
                match self.channels.presence(leader).await {
                    Presence::Answers => return false,
                    Presence::Refused => return true,
                    Presence::Unknown => sleep(pause).await,
                }
                pause *= 2;
            }
        };
        timeout(PATIENCE, look).await.unwrap_or(false)
    }

    /// Has the first of a quorum campaign, if a quorum agrees.
    async fn replace(&self, vote: Vote, leader: &PeerNode) {
        let state = self.raft.with_raft_state(|state| {
            let members = state.membership_state.effective().membership().clone();
            (members, state.log_ids.last().copied())
        });
        let Ok((members, last)) = state.await else {
            return;
        };
        let myself = self.survivor(*self.raft.node_id(), last);
        let asked = members
            .nodes()
            .filter(|(id, _)| **id != myself.id && **id != leader.id.0)
            .filter(|(id, _)| is_voter(&members, **id))
            .map(|(id, place)| self.ask(PeerNode::at(*id, place), vote));
        let others: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        let Some(first) = first_of(&members, myself, &others) else {
            return;
        };
        // The right to campaign ends with the vote: if there is another leader by now, or somebody
        // campaigned, nothing happens.
        let call = TransferLeaderRequest::new(vote, first.id, first.last);
        if first.id == myself.id {
            if let Ok(Err(refused)) = self.raft.handle_transfer_leader(call).await {
                tracing::debug!("this node did not campaign: {refused}");
            }
        } else if let Some((id, place)) = members.nodes().find(|(id, _)| **id == first.id) {
            self.call(PeerNode::at(*id, place), &call).await;
        }
    }

    /// Tells another to campaign, which may have looked too early to know by itself.
    async fn call(&self, peer: PeerNode, call: &TransferLeaderRequest) {
        let Ok(mut client) = self.channels.client(&peer, Purpose::Heartbeat) else {
            return;
        };
        let call = client.transfer_leader(transfer_request(call));
        if let Ok(Err(status)) = timeout(PATIENCE, call).await {
            tracing::debug!(
                "{} was not told to campaign: {}",
                peer.name,
                status.message()
            );
        }
    }

    async fn ask(&self, peer: PeerNode, vote: Vote) -> Option<Survivor> {
        let mut client = self.channels.client(&peer, Purpose::Heartbeat).ok()?;
        let question = wire::LeaderEndedRequest {
            vote: Some(vote_to_wire(&vote)),
        };
        let answer = timeout(PATIENCE, client.leader_ended(question)).await;
        let answer = answer.ok()?.ok()?.into_inner();
        let last = answer.last.as_ref().map(log_id_of_wire);
        answer.ended.then(|| self.survivor(peer.id.0, last))
    }

    fn survivor(&self, id: u64, last: Option<LogId>) -> Survivor {
        Survivor {
            id,
            last,
            is_witness: is_witness(&self.store, NodeId(id)),
        }
    }
}

/// Who is to campaign, if they are enough to elect a leader: two that do at once take each other's votes.
fn first_of(members: &Membership, myself: Survivor, others: &[Survivor]) -> Option<Survivor> {
    let present = || std::iter::once(myself).chain(others.iter().copied());
    let ids: Vec<u64> = present().map(|survivor| survivor.id).collect();
    if !is_voter(members, myself.id) || !is_quorum(members, &ids) {
        return None;
    }
    present().max_by_key(|survivor| (survivor.last, !survivor.is_witness, Reverse(survivor.id)))
}

fn is_voter(members: &Membership, id: u64) -> bool {
    members.voter_ids().any(|voter| voter == id)
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId as _;

    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::types::{LeaderId, Place};

    fn members(voters: &[u64]) -> Membership {
        let nodes: BTreeMap<_, _> = (1..=5).map(|id| (id, Place::default())).collect();
        let voters: BTreeSet<_> = voters.iter().copied().collect();
        Membership::new(vec![voters], nodes).unwrap()
    }

    fn survivor(id: u64, index: u64) -> Survivor {
        let leader = LeaderId::new(1, 1);
        Survivor {
            id,
            last: Some(LogId::new(leader.to_committed(), index)),
            is_witness: false,
        }
    }

    fn first(members: &Membership, myself: Survivor, others: &[Survivor]) -> Option<u64> {
        first_of(members, myself, others).map(|first| first.id)
    }

    #[test]
    fn of_those_whose_logs_go_as_far_the_lowest_number_campaigns() {
        let three = members(&[1, 2, 3]);
        let (second, third) = (survivor(2, 7), survivor(3, 7));
        assert_eq!(first(&three, second, &[third]), Some(2));
        assert_eq!(first(&three, third, &[second]), Some(2));
    }

    #[test]
    fn a_log_that_goes_further_campaigns() {
        let three = members(&[1, 2, 3]);
        let (second, third) = (survivor(2, 7), survivor(3, 8));
        assert_eq!(first(&three, second, &[third]), Some(3));
        assert_eq!(first(&three, third, &[second]), Some(3));
    }

    #[test]
    fn a_witness_lets_others_go_first_unless_its_log_goes_further() {
        let three = members(&[1, 2, 3]);
        let witness = |index| Survivor {
            is_witness: true,
            ..survivor(2, index)
        };
        let third = survivor(3, 7);
        assert_eq!(first(&three, witness(7), &[third]), Some(3));
        assert_eq!(first(&three, third, &[witness(8)]), Some(2));
    }

    #[test]
    fn less_than_a_quorum_replaces_nobody() {
        let (three, five) = (members(&[1, 2, 3]), members(&[1, 2, 3, 4, 5]));
        assert_eq!(first(&three, survivor(2, 7), &[]), None);
        assert_eq!(first(&five, survivor(2, 7), &[survivor(3, 7)]), None);
        let both = [survivor(3, 7), survivor(4, 7)];
        assert_eq!(first(&five, survivor(2, 7), &both), Some(2));
    }

    #[test]
    fn who_has_no_vote_replaces_nobody() {
        let three = members(&[1, 3, 4]);
        let both = [survivor(3, 7), survivor(4, 7)];
        assert_eq!(first(&three, survivor(2, 9), &both), None);
    }
}
