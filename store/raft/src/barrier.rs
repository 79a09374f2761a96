//! Linearizable reads: before one, the leader shows that it still leads (ReadIndex), and this node
//! catches up to what the leader had committed by then.
//!
//! Rounds are shared. While one is under way everybody who comes later waits for the next, so a
//! thousand readers cost as many messages as one. Leases are not used for reads: in this version
//! of the consensus library they are not safe across restarts.
//!
//! # The asker's vote
//!
//! A follower that asks tells its vote, which it looked up after its readers had come. Where the leader
//! and the asker are a quorum by themselves, as with three nodes, no further message is needed: as long
//! as both have voted for this leader, no other can have been elected. So if the leader, asked later,
//! still has the vote that the asker had, nobody else led when the readers came, and whatever was
//! acknowledged by then is in what this leader has committed. Else, and with more nodes, the leader asks
//! a quorum as it does for its own readers.

use std::{sync::Arc, time::Duration};

use holdfast_proto::{NodeId, peer::v1 as wire};
use openraft::{LinearizerOption, ReadPolicy, errors::ForwardReason};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    batch::top_up,
    errors::BarrierError,
    options::{PeerNode, Purpose},
    peer::channels::Channels,
    progress::Progress,
    record::vote_to_wire,
    status::Leadership,
    types::{LinearizableReadError, Membership, Raft, ReadError, Vote, index_of},
};

/// The index to catch up to, or who might know it.
type Round = Result<u64, Option<NodeId>>;
type Waiter = oneshot::Sender<Round>;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// A leader that does not answer a question for so long is not there.
const PATIENCE: Duration = Duration::from_millis(500);
const GATHER: usize = 4096;
/// How often a round lets others run first, that they may join it.
const TURNS: usize = 1;

/// Asks for rounds; clones share them.
#[derive(Clone)]
pub(crate) struct Barrier {
    id: NodeId,
    raft: Raft,
    here: mpsc::UnboundedSender<Waiter>,
    there: mpsc::UnboundedSender<Waiter>,
}

impl Barrier {
    /// The handle, and the two tasks that somebody must run.
    pub(crate) fn new(
        id: NodeId,
        raft: Raft,
        channels: Arc<Channels>,
        leader: impl Fn() -> Option<PeerNode> + Send + Sync + 'static,
    ) -> (
        Self,
        impl Future<Output = ()> + Send,
        impl Future<Output = ()> + Send,
    ) {
        let (here, asked_here) = mpsc::unbounded_channel();
        let (there, asked_there) = mpsc::unbounded_channel();
        let questions = Questions {
            id,
            raft: raft.clone(),
            channels,
            leader: Box::new(leader),
            stream: None,
            next_id: 0,
        };
        let barrier = Self {
            id,
            raft: raft.clone(),
            here,
            there,
        };
        (
            barrier,
            rounds_here(raft, asked_here),
            questions.run(asked_there),
        )
    }

    /// A round of this node as the leader, for a follower that asks.
    pub(crate) async fn index_for(&self, asker: NodeId, vote: Option<Vote>) -> Round {
        if let Some(vote) = vote
            && let Some(index) = self.seconded(asker, vote).await
        {
            return Ok(index);
        }
        ask(&self.here).await
    }

    /// The index, if the asker's vote and this node's are a quorum for this node: see above.
    async fn seconded(&self, asker: NodeId, vote: Vote) -> Option<u64> {
        // Consensus knows how far a new leader must have come; its lease only tells whether to go on.
        let at_once = LinearizerOption::new(None, false).with_wait_timeout(Duration::ZERO);
        let linearizer = self.raft.get_read_linearizer(at_once).await.ok()?;
        // After that: had it led in an earlier term, the asker could not have had this vote before.
        let both = [self.id.0, asker.0];
        let agreed = self.raft.with_raft_state(move |state| {
            let voters = state.membership_state.effective().membership();
            *state.vote_ref() == vote && is_quorum(voters, &both)
        });
        let agreed = agreed.await.ok()?;
        agreed.then(|| linearizer.read_log_id().index())
    }

    /// Returns when reads of this node are linearizable.
    pub(crate) async fn pass(
        &self,
        leadership: &watch::Receiver<Leadership>,
        failure: &watch::Receiver<Option<String>>,
        progress: &Progress,
        deadline: Instant,
    ) -> Result<(), BarrierError> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut leadership = leadership.clone();
        loop {
            if let Some(why) = failure.borrow().clone() {
                return Err(BarrierError::Stopped { why });
            }
            let leader = leadership.borrow_and_update().leader;
            let asked = match leader {
                None => Err(None),
                Some(leader) => {
                    let queue = if leader == self.id {
                        &self.here
                    } else {
                        &self.there
                    };
                    timeout_at(deadline, ask(queue)).await.unwrap_or(Err(None))
                }
            };
            if let Ok(index) = asked {
                let mut applied = progress.applied();
                let caught_up = applied.wait_for(|last| index_of(last) >= Some(index));
                if let Ok(Ok(_)) = timeout_at(deadline, caught_up).await {
                    return Ok(());
                }
            }
            if Instant::now() >= deadline {
                return Err(BarrierError::NoQuorum {
                    waited: began.elapsed(),
                });
            }
            let until = deadline.min(Instant::now() + pause);
            let changed = timeout_at(until, leadership.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                tokio::time::sleep_until(until).await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether they are a majority of each configuration that has a say.
pub(crate) fn is_quorum(voters: &Membership, of: &[u64]) -> bool {
    voters.get_joint_config().iter().all(|configuration| {
        let present = configuration.iter().filter(|id| of.contains(id)).count();
        present > configuration.len() / 2
    })
}

async fn ask(queue: &mpsc::UnboundedSender<Waiter>) -> Round {
    let (waiter, round) = oneshot::channel();
    if queue.send(waiter).is_err() {
        return Err(None);
    }
    round.await.unwrap_or(Err(None))
}

/// Waits for somebody to ask, and takes all who do. False: nobody will any more.
async fn gather(asked: &mut mpsc::UnboundedReceiver<Waiter>, waiters: &mut Vec<Waiter>) -> bool {
    if asked.recv_many(waiters, GATHER).await == 0 {
        return false;
    }
    top_up(waiters, asked, GATHER, TURNS).await;
    true
}

/// One round after the other, each for all who came before it began.
async fn rounds_here(raft: Raft, mut asked: mpsc::UnboundedReceiver<Waiter>) {
    let mut waiters = Vec::new();
    while gather(&mut asked, &mut waiters).await {
        let round = match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(ReadError::APIError(LinearizableReadError::ForwardToLeader(to)))
                if to.reason == ForwardReason::NotLeader =>
            {
                Err(to.leader_id.map(NodeId))
            }
            Err(_) => Err(None),
        };
        for waiter in waiters.drain(..) {
            waiter.send(round).ok();
        }
    }
}

/// A follower's questions to the leader, one at a time, over one stream.
struct Questions {
    id: NodeId,
    raft: Raft,
    channels: Arc<Channels>,
    leader: Box<dyn Fn() -> Option<PeerNode> + Send + Sync>,
    stream: Option<LeaderStream>,
    next_id: u64,
}

struct LeaderStream {
    leader: PeerNode,
    questions: mpsc::Sender<wire::ReadIndexRequest>,
    answers: Streaming<wire::ReadIndexResponse>,
}

impl Questions {
    async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Waiter>) {
        let mut waiters = Vec::new();
        while gather(&mut asked, &mut waiters).await {
            let round = match timeout(PATIENCE, self.round()).await {
                Ok(round) => round,
                Err(_) => {
                    if let Some(stream) = self.stream.take() {
                        self.channels.forget(&stream.leader, Purpose::Heartbeat);
                    }
                    Err(None)
                }
            };
            if round.is_err() {
                self.stream = None;
            }
            for waiter in waiters.drain(..) {
                waiter.send(round).ok();
            }
        }
    }

    async fn round(&mut self) -> Round {
        let vote = self.raft.with_raft_state(|state| *state.vote_ref());
        let vote = vote.await.map_err(|_| None)?;
        let leader = (self.leader)().ok_or(None)?;
        if self
            .stream
            .as_ref()
            .is_none_or(|stream| stream.leader != leader)
        {
            self.stream = Some(self.connect(leader).await.ok_or(None)?);
        }
        let stream = self.stream.as_mut().ok_or(None)?;
        self.next_id += 1;
        let question = wire::ReadIndexRequest {
            id: self.next_id,
            from: self.id.0,
            vote: Some(vote_to_wire(&vote)),
        };
        stream.questions.send(question).await.map_err(|_| None)?;
        loop {
            let answer = stream.answers.message().await;
            let answer = answer.ok().flatten().ok_or(None)?;
            // An answer to a question that was given up is older than this one.
            if answer.id != self.next_id {
                continue;
            }
            return match answer.outcome {
                Some(wire::read_index_response::Outcome::Index(index)) => Ok(index),
                Some(wire::read_index_response::Outcome::NotLeader(to)) => {
                    Err((to.leader != 0).then_some(NodeId(to.leader)))
                }
                _ => Err(None),
            };
        }
    }

    async fn connect(&self, leader: PeerNode) -> Option<LeaderStream> {
        let mut client = self.channels.client(&leader, Purpose::Heartbeat).ok()?;
        let (questions, outgoing) = mpsc::channel(4);
        let answers = client
            .read_index(ReceiverStream::new(outgoing))
            .await
            .ok()?;
        Some(LeaderStream {
            leader,
            questions,
            answers: answers.into_inner(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn a_round_takes_along_whoever_is_about_to_ask() {
        let (queue, mut asked) = mpsc::unbounded_channel();
        for _ in 0..3 {
            let queue = queue.clone();
            // Runs when the others let it.
            tokio::spawn(async move { queue.send(oneshot::channel().0) });
        }
        queue.send(oneshot::channel().0).unwrap();
        drop(queue);
        let mut waiters = Vec::new();
        assert!(gather(&mut asked, &mut waiters).await);
        assert_eq!(waiters.len(), 4);
        waiters.clear();
        assert!(!gather(&mut asked, &mut waiters).await, "nobody is left");
    }

    #[test]
    fn two_are_a_quorum_of_three_of_each_configuration_and_one_twice_is_one() {
        let voters = |configurations: &[&[u64]]| {
            let configurations: Vec<BTreeSet<u64>> = configurations
                .iter()
                .map(|ids| ids.iter().copied().collect())
                .collect();
            Membership::new_with_defaults(configurations, [7])
        };
        let three = voters(&[&[1, 2, 3]]);
        assert!(is_quorum(&three, &[1, 2]));
        assert!(!is_quorum(&three, &[1, 1]));
        assert!(!is_quorum(&three, &[1, 7]), "a learner has no vote");
        assert!(!is_quorum(&voters(&[&[1, 2, 3, 4]]), &[1, 2]));
        assert!(is_quorum(&voters(&[&[1, 2]]), &[1, 2]));
        let joint = voters(&[&[1, 2, 3], &[1, 3, 4]]);
        assert!(!is_quorum(&joint, &[1, 2]), "no majority of the new one");
        assert!(is_quorum(&joint, &[1, 3]));
    }
}
