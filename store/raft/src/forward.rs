//! A follower's proposals on their way to the leader: one stream, whatever has gathered in one
//! message.
//!
//! A stream ends when it breaks, when it owes an answer for too long, or when somebody else leads.
//! What was sent and not answered is then unknown; what was not sent yet is certainly not taken.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use holdfast_core::Reply;
use holdfast_proto::{
    NodeId,
    log::v1 as log,
    peer::v1::{self as wire, forward_reply::Outcome as Answer},
};
use prost::Message as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    batch::top_up,
    options::{PeerNode, Purpose},
    peer::channels::Channels,
    propose::{Applied, Outcome},
    status::Leadership,
};

/// Most proposals in one message, and most messages on their way.
const BATCH: usize = 512;
const WINDOW: usize = 16;
/// How often a message lets others run first, that they may join it.
const TURNS: usize = 1;
/// Most bytes of proposals in one message, unless a single one is larger.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// A leader that takes no stream for so long is not there.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// A stream on which nothing is answered for so long hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hands proposals to the task that forwards them.
#[derive(Clone)]
pub(crate) struct Forward(mpsc::UnboundedSender<Proposal>);

struct Proposal {
    command: Bytes,
    answer: oneshot::Sender<Outcome>,
    stage: Arc<AtomicU8>,
}

const WAITING: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Forward {
    /// The handle, and the task that somebody must run.
    pub(crate) fn new(
        channels: Arc<Channels>,
        leader: impl Fn() -> Option<PeerNode> + Send + Sync + 'static,
        leadership: watch::Receiver<Leadership>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (proposals, queue) = mpsc::unbounded_channel();
        let task = Forwarder {
            channels,
            leader: Box::new(leader),
            leadership,
            queue,
            stream: None,
            pending: HashMap::new(),
            next_id: 0,
        };
        (Self(proposals), task.run())
    }

    /// One attempt.
    pub(crate) async fn propose(&self, command: Bytes, deadline: Instant) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let stage = Arc::new(AtomicU8::new(WAITING));
        let proposal = Proposal {
            command,
            answer,
            stage: stage.clone(),
        };
        if self.0.send(proposal).is_err() {
            return Outcome::NotLeader(None);
        }
        match timeout_at(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Unknown("the replica stopped".to_owned()),
            Err(_) => {
                let was = stage.swap(WITHDRAWN, Ordering::AcqRel);
                if was == WAITING {
                    Outcome::NotLeader(None)
                } else {
                    Outcome::Unknown("the leader did not answer in time".to_owned())
                }
            }
        }
    }
}

struct Forwarder {
    channels: Arc<Channels>,
    leader: Box<dyn Fn() -> Option<PeerNode> + Send + Sync>,
    leadership: watch::Receiver<Leadership>,
    queue: mpsc::UnboundedReceiver<Proposal>,
    stream: Option<LeaderStream>,
    pending: HashMap<u64, oneshot::Sender<Outcome>>,
    next_id: u64,
}

struct LeaderStream {
    leader: PeerNode,
    batches: mpsc::Sender<wire::ForwardBatch>,
    answers: Streaming<wire::ForwardReplies>,
    /// When the peer last answered, or was first owed an answer.
    heard: Instant,
}

enum Event {
    Queued,
    Closed,
    Answers(Result<Option<wire::ForwardReplies>, tonic::Status>),
    LeaderChanged,
    Alarm,
}

impl Forwarder {
    async fn run(mut self) {
        let mut gathered = Vec::with_capacity(BATCH);
        loop {
            match self.event(&mut gathered).await {
                Event::Closed => return,
                Event::Queued => {
                    top_up(&mut gathered, &mut self.queue, BATCH, TURNS).await;
                    self.send(&mut gathered).await;
                }
                Event::Answers(Ok(Some(replies))) => self.answer(replies),
                Event::Answers(Ok(None)) => self.end("the leader ended the stream", false),
                Event::Answers(Err(status)) => {
                    let why = format!("the stream to the leader broke: {}", status.message());
                    self.end(&why, false);
                }
                Event::LeaderChanged => self.follow(),
                Event::Alarm => self.end("the leader stopped answering", true),
            }
        }
    }

    async fn event(&mut self, gathered: &mut Vec<Proposal>) -> Event {
        let is_owed = !self.pending.is_empty();
        let alarm = self
            .stream
            .as_ref()
            .map_or_else(Instant::now, |stream| stream.heard + PATIENCE);
        let has_stream = self.stream.is_some();
        let answers = async {
            match self.stream.as_mut() {
                Some(stream) => stream.answers.message().await,
                None => Ok(None),
            }
        };
        tokio::select! {
            count = self.queue.recv_many(gathered, BATCH) => {
                if count == 0 { Event::Closed } else { Event::Queued }
            }
            answers = answers, if has_stream => Event::Answers(answers),
            changed = self.leadership.changed() => match changed {
                Ok(()) => Event::LeaderChanged,
                Err(_) => Event::Closed,
            },
            () = sleep_until(alarm), if is_owed => Event::Alarm,
        }
    }

    /// Somebody else may lead now: what the old leader owes, it may never answer.
    fn follow(&mut self) {
        let leader = self.leadership.borrow_and_update().leader;
        let led_by = self.stream.as_ref().map(|stream| stream.leader.id);
        if leader.is_some() && led_by.is_some() && leader != led_by {
            self.end("the leader changed before the write was confirmed", false);
        }
    }

    async fn send(&mut self, gathered: &mut Vec<Proposal>) {
        if let Err(leader) = self.connect().await {
            for proposal in gathered.drain(..) {
                drop(proposal.answer.send(Outcome::NotLeader(leader)));
            }
            return;
        }
        let mut batch = wire::ForwardBatch::default();
        let mut bytes = 0;
        let mut batches = Vec::new();
        if self.pending.is_empty()
            && let Some(stream) = self.stream.as_mut()
        {
            stream.heard = Instant::now();
        }
        for proposal in gathered.drain(..) {
            let moved =
                proposal
                    .stage
                    .compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire);
            if moved.is_err() {
                continue;
            }
            self.next_id += 1;
            self.pending.insert(self.next_id, proposal.answer);
            if bytes > 0 && bytes + proposal.command.len() > BATCH_BYTES {
                batches.push(std::mem::take(&mut batch));
                bytes = 0;
            }
            bytes += proposal.command.len();
            batch.proposals.push(wire::Forwarded {
                id: self.next_id,
                command: proposal.command,
            });
        }
        batches.push(batch);
        for batch in batches {
            let Some(stream) = self.stream.as_ref() else {
                return;
            };
            match timeout(PATIENCE, stream.batches.send(batch)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self.end("the leader closed the stream", false),
                Err(_) => self.end("the leader takes no more proposals", true),
            }
        }
    }

    /// A stream to whoever leads; else who might.
    async fn connect(&mut self) -> Result<(), Option<NodeId>> {
        let Some(leader) = (self.leader)() else {
            return Err(None);
        };
        if let Some(stream) = &self.stream {
            if stream.leader.id == leader.id {
                return Ok(());
            }
            self.end("the leader changed before the write was confirmed", false);
        }
        let Ok(mut client) = self.channels.client(&leader, Purpose::Append) else {
            return Err(None);
        };
        let (batches, outgoing) = mpsc::channel(WINDOW);
        let opening = client.forward(ReceiverStream::new(outgoing));
        match timeout(CONNECT_LIMIT, opening).await {
            Ok(Ok(response)) => {
                self.stream = Some(LeaderStream {
                    leader,
                    batches,
                    answers: response.into_inner(),
                    heard: Instant::now(),
                });
                Ok(())
            }
            Ok(Err(status)) => {
                tracing::debug!(leader = leader.id.0, "no stream: {}", status.message());
                Err(None)
            }
            Err(_) => {
                self.channels.forget(&leader, Purpose::Append);
                Err(None)
            }
        }
    }

    fn answer(&mut self, replies: wire::ForwardReplies) {
        if let Some(stream) = self.stream.as_mut() {
            stream.heard = Instant::now();
        }
        for reply in replies.replies {
            if let Some(waiting) = self.pending.remove(&reply.id) {
                drop(waiting.send(outcome(reply)));
            }
        }
    }

    fn end(&mut self, why: &str, channel: bool) {
        if let Some(stream) = self.stream.take()
            && channel
        {
            self.channels.forget(&stream.leader, Purpose::Append);
        }
        for (_, waiting) in self.pending.drain() {
            drop(waiting.send(Outcome::Unknown(why.to_owned())));
        }
    }
}

fn outcome(reply: wire::ForwardReply) -> Outcome {
    match reply.outcome {
        Some(Answer::Reply(encoded)) => {
            let reply_of_log = log::Reply::decode(encoded)
                .map_err(|error| error.to_string())
                .and_then(|reply| Reply::from_wire(reply).map_err(|error| error.to_string()));
            match reply_of_log {
                Ok(applied) => Outcome::Applied(Applied {
                    reply: applied,
                    index: reply.index,
                    term: reply.term,
                }),
                Err(why) => Outcome::Unknown(format!("the leader's reply does not decode: {why}")),
            }
        }
        Some(Answer::NotLeader(to)) => {
            Outcome::NotLeader((to.leader != 0).then_some(NodeId(to.leader)))
        }
        Some(Answer::Refused(why)) => Outcome::Refused(why),
        Some(Answer::Unknown(why)) => Outcome::Unknown(why),
        None => Outcome::Unknown("the leader's reply says nothing".to_owned()),
    }
}
