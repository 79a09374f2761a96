//! Changing members, and handing the lead over. At the leader only.

use std::{collections::BTreeMap, time::Duration};

use holdfast_core::Role;
use holdfast_disk::Store;
use holdfast_proto::NodeId;
use openraft::ChangeMembers as Change;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    errors::ChangeError,
    options::PeerNode,
    replica::Replica,
    types::{ChangeMembers, ChangeMembershipError, ClientWriteError, WriteError},
};

/// Longest wait for a change to be committed.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// A learner this close to the leader's log may vote, entries.
const CLOSE_ENOUGH: u64 = 2_000;
/// Between two looks at how far a learner is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a promotion waits for the learner to catch up.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);

impl Replica {
    /// Adds a member that receives the log and does not vote. Adding it again changes nothing; a
    /// number that was ever another node's is refused.
    pub async fn add_learner(&self, peer: PeerNode) -> Result<(), ChangeError> {
        self.must_lead()?;
        let id = peer.id;
        let was_removed = self
            .store()
            .read(|state| state.member(id).is_some_and(|member| member.removed));
        if was_removed {
            return Err(ChangeError::IdUsed { id });
        }
        let status = self.status();
        match status.nodes.iter().find(|node| node.id == id) {
            Some(known) if *known == peer => return Ok(()),
            Some(_) => return Err(ChangeError::IdUsed { id }),
            None => {}
        }
        let change = self.raft().add_learner(id.0, peer.place(), false);
        let done = timeout(CHANGE_LIMIT, change).await;
        let index = settle(done.map(|done| done.map(|done| done.log_id().index())))?;
        self.shown(index).await;
        Ok(())
    }

    /// Gives a learner its vote, once it has caught up.
    pub async fn promote(&self, id: NodeId) -> Result<(), ChangeError> {
        self.must_lead()?;
        let status = self.status();
        if status.voters.contains(&id) {
            return Ok(());
        }
        if !status.learners.contains(&id) {
            return Err(ChangeError::NotMember { id });
        }
        self.caught_up(id).await?;
        self.change(Change::AddVoterIds([id.0].into())).await
    }

    /// Ends a change of the voters that an earlier leader began.
    pub async fn finish_change(&self) -> Result<(), ChangeError> {
        self.must_lead()?;
        if !self.status().changing {
            return Ok(());
        }
        self.change(Change::AddVoterIds(std::collections::BTreeSet::new()))
            .await
    }

    /// Removes a member for good: its number is never used again.
    pub async fn remove(&self, id: NodeId) -> Result<(), ChangeError> {
        self.must_lead()?;
        let status = self.status();
        if status.voters.contains(&id) {
            if status.voters.len() == 1 {
                return Err(ChangeError::LastVoter { id });
            }
            self.change(Change::RemoveVoters([id.0].into())).await
        } else if status.learners.contains(&id) {
            self.change(Change::RemoveNodes([id.0].into())).await
        } else {
            Err(ChangeError::NotMember { id })
        }
    }

    /// Tells consensus that a member is reached elsewhere now.
    pub async fn readdress(&self, peer: PeerNode) -> Result<(), ChangeError> {
        self.must_lead()?;
        let id = peer.id;
        match self.status().nodes.iter().find(|node| node.id == id) {
            None => Err(ChangeError::NotMember { id }),
            Some(known) if *known == peer => Ok(()),
            Some(_) => {
                let nodes = BTreeMap::from([(id.0, peer.place())]);
                self.change(Change::SetNodes(nodes)).await
            }
        }
    }

    /// Hands the lead to `to`, or to the voter that is best prepared and no witness, and says who
    /// has it.
    pub async fn transfer_leader(
        &self,
        to: Option<NodeId>,
        deadline: Instant,
    ) -> Result<NodeId, ChangeError> {
        self.must_lead()?;
        let status = self.status();
        let to = match to {
            Some(to) if to == self.id() => return Ok(to),
            Some(to) if status.voters.contains(&to) => to,
            Some(id) => return Err(ChangeError::NotMember { id }),
            None => status
                .peers
                .iter()
                .filter(|peer| {
                    status.voters.contains(&peer.id) && !is_witness(self.store(), peer.id)
                })
                .filter(|peer| peer.last_ack_ms.is_some_and(|ms| ms < 1_000))
                .max_by_key(|peer| (peer.matched, peer.last_ack_ms.map(std::cmp::Reverse)))
                .map(|peer| peer.id)
                .ok_or_else(|| ChangeError::NoSuccessor {
                    why: "no other voter answers".to_owned(),
                })?,
        };
        let mut leadership = self.leadership();
        leadership.borrow_and_update();
        if let Err(fatal) = self.raft().trigger().transfer_leader(to.0).await {
            let why = fatal.to_string();
            return Err(ChangeError::Stopped { why });
        }
        let me = self.id();
        let taken = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != me));
        match timeout_at(deadline, taken).await {
            Ok(Ok(now)) => Ok(now.leader.unwrap_or(to)),
            Ok(Err(_)) => Err(ChangeError::Stopped {
                why: "consensus ended".to_owned(),
            }),
            Err(_) => Err(ChangeError::NoSuccessor {
                why: format!("node {to} did not take the lead in time"),
            }),
        }
    }

    fn must_lead(&self) -> Result<(), ChangeError> {
        if let Some(why) = self.failure().borrow().clone() {
            return Err(ChangeError::Stopped { why });
        }
        let leader = self.leadership().borrow().leader;
        if leader == Some(self.id()) {
            Ok(())
        } else {
            Err(ChangeError::NotLeader { leader })
        }
    }

    async fn caught_up(&self, id: NodeId) -> Result<(), ChangeError> {
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        loop {
            let status = self.status();
            let matched = status.peers.iter().find(|peer| peer.id == id);
            let matched = matched.and_then(|peer| peer.matched);
            let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
            let behind = next(status.last_log).saturating_sub(next(matched));
            if matched.is_some() && behind <= CLOSE_ENOUGH {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(ChangeError::Lagging { id, behind });
            }
            self.must_lead()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn change(&self, change: ChangeMembers) -> Result<(), ChangeError> {
        let change = self.raft().change_membership(change, false);
        let done = timeout(CHANGE_LIMIT, change).await;
        let index = settle(done.map(|done| done.map(|done| done.log_id().index())))?;
        self.shown(index).await;
        Ok(())
    }

    /// Returns once the status has the members of this log index: consensus answers a moment before
    /// it tells, and what is asked next is decided by what it told.
    async fn shown(&self, index: u64) {
        let wait = self.raft().wait(Some(CHANGE_LIMIT));
        let told = wait.metrics(
            |now| {
                now.membership_config
                    .log_id()
                    .is_some_and(|id| id.index() >= index)
            },
            "the change of members to be told",
        );
        // It was done, whether or not this node still leads and tells.
        drop(told.await);
    }
}

/// Whether a member leads only if nobody else can.
pub(crate) fn is_witness(store: &Store, id: NodeId) -> bool {
    store.read(|state| {
        let member = state.member(id);
        member.is_some_and(|member| member.role == Role::Witness)
    })
}

fn settle<T>(
    outcome: Result<Result<T, WriteError>, tokio::time::error::Elapsed>,
) -> Result<T, ChangeError> {
    let Ok(outcome) = outcome else {
        return Err(ChangeError::Unknown {
            why: "no quorum confirmed the change in time".to_owned(),
        });
    };
    outcome.map_err(|error| match error {
        WriteError::APIError(ClientWriteError::ForwardToLeader(to)) => ChangeError::NotLeader {
            leader: to.leader_id.map(NodeId),
        },
        WriteError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::LearnerNotFound(missing) => ChangeError::NotMember {
                id: NodeId(missing.node_id),
            },
            _ => ChangeError::InProgress,
        },
        WriteError::APIError(error) => ChangeError::Unknown {
            why: error.to_string(),
        },
        WriteError::Fatal(fatal) => ChangeError::Stopped {
            why: fatal.to_string(),
        },
    })
}
