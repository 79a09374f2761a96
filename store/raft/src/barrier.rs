//! Linearizable reads: before one, the leader shows that it still leads (ReadIndex), and this node
//! catches up to what the leader had committed by then.
//!
//! Rounds are shared. While one is under way everybody who comes later waits for the next, so a
//! thousand readers cost as many messages as one. Leases are not used for reads: in this version
//! of the consensus library they are not safe across restarts.

use std::{sync::Arc, time::Duration};

use holdfast_proto::{NodeId, peer::v1 as wire};
use openraft::{ReadPolicy, errors::ForwardReason};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    errors::BarrierError,
    options::{PeerNode, Purpose},
    peer::channels::Channels,
    progress::Progress,
    status::Leadership,
    types::{LinearizableReadError, Raft, ReadError, index_of},
};

/// The index to catch up to, or who might know it.
type Round = Result<u64, Option<NodeId>>;
type Waiter = oneshot::Sender<Round>;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// A leader that does not answer a question for so long is not there.
const PATIENCE: Duration = Duration::from_millis(500);
const GATHER: usize = 4096;

/// Asks for rounds; clones share them.
#[derive(Clone)]
pub(crate) struct Barrier {
    here: mpsc::UnboundedSender<Waiter>,
    there: mpsc::UnboundedSender<Waiter>,
}

impl Barrier {
    /// The handle, and the two tasks that somebody must run.
    pub(crate) fn new(
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
            channels,
            leader: Box::new(leader),
            stream: None,
            next_id: 0,
        };
        (
            Self { here, there },
            rounds_here(raft, asked_here),
            questions.run(asked_there),
        )
    }

    /// A round of this node as the leader.
    pub(crate) async fn index_here(&self) -> Round {
        ask(&self.here).await
    }

    /// Returns when reads of this node are linearizable.
    pub(crate) async fn pass(
        &self,
        id: NodeId,
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
                    let queue = if leader == id {
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
    // What else is ready to run comes first: on a busy node, most of it asks, too.
    tokio::task::yield_now().await;
    while waiters.len() < GATHER
        && let Ok(waiter) = asked.try_recv()
    {
        waiters.push(waiter);
    }
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
        let question = wire::ReadIndexRequest { id: self.next_id };
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
}
