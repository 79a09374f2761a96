//! Appends and heartbeats to one peer, over one stream that outlives them.
//!
//! Consensus opens a "stream" for every heartbeat and after every hiccup; here they all share one
//! gRPC stream, whose answers carry the sequence of what they answer. A stream that owes an answer
//! for too long is dropped with its channel, because consensus brings no timeout of its own.
//!
//! Consensus takes an answer for that of every request up to the log id it names, and believes the
//! peer to have followed when the last of them was *sent*. A request without entries ends where the
//! one before it ended, so an old answer would vouch for it unseen: a leader that slept through its
//! own deposition could confirm a read by an answer from before its sleep. [`Session::told`] holds
//! such an answer back until the later request has one of its own.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use holdfast_proto::peer::v1 as wire;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    options::{PeerNode, Purpose},
    peer::{channels::Channels, reverted::Acknowledged},
    record::{entry_to_wire, log_id_of_wire, log_id_to_wire, vote_of_wire, vote_to_wire},
    types::{
        AppendEntriesRequest, LogId, NetworkError, RpcError, StreamAppendError, StreamAppendResult,
        Unreachable, Vote,
    },
};

/// Most requests on their way at once.
const WINDOW: usize = 64;

/// The stream to one peer for one purpose.
pub(crate) struct AppendLink {
    channels: Arc<Channels>,
    acknowledged: Acknowledged,
    peer: PeerNode,
    purpose: Purpose,
    /// An answer that takes longer means that the stream hangs.
    patience: Duration,
    sequence: u64,
    open: Option<Open>,
}

struct Open {
    requests: mpsc::Sender<wire::AppendRequest>,
    answers: Streaming<wire::AppendResponse>,
    /// Sequences not answered yet, with the time they were sent; those of sessions that were given
    /// up too.
    owed: VecDeque<(u64, Instant)>,
}

/// One request that a session waits for.
struct Sent {
    sequence: u64,
    vote: Vote,
    previous: Option<LogId>,
    last: Option<LogId>,
}

/// One call of consensus: it ends, the link stays.
struct Session<'a, S> {
    link: &'a mut AppendLink,
    input: Option<S>,
    sent: VecDeque<Sent>,
    /// How far the peer matched, not told to consensus yet.
    matched: VecDeque<Option<LogId>>,
    alarm: Pin<Box<Sleep>>,
    over: bool,
}

impl AppendLink {
    pub(crate) fn new(
        channels: Arc<Channels>,
        acknowledged: Acknowledged,
        peer: PeerNode,
        purpose: Purpose,
        patience: Duration,
    ) -> Self {
        Self {
            channels,
            acknowledged,
            peer,
            purpose,
            patience,
            sequence: 0,
            open: None,
        }
    }

    /// Sends what `input` yields, and yields an answer for each, in order.
    pub(crate) async fn run<'a, S>(
        &'a mut self,
        input: S,
    ) -> Result<impl Stream<Item = Result<StreamAppendResult, RpcError>> + Send + 'a, RpcError>
    where
        S: Stream<Item = AppendEntriesRequest> + Send + Unpin + 'a,
    {
        self.drop_if_hung();
        let mut input = input;
        let mut first = None;
        if self.open.is_none() {
            // Consensus paces its attempts by holding back the first request. Without waiting for
            // it, a peer that refuses connections would be dialled thousands of times a second.
            first = input.next().await;
            self.open = Some(self.connect().await?);
        }
        let session = Session {
            alarm: Box::pin(sleep_until(Instant::now() + self.patience)),
            link: self,
            input: Some(stream::iter(first).chain(input)),
            sent: VecDeque::new(),
            matched: VecDeque::new(),
            over: false,
        };
        Ok(stream::unfold(session, |mut session| async move {
            let next = session.next().await?;
            Some((next, session))
        }))
    }

    async fn connect(&mut self) -> Result<Open, RpcError> {
        let mut client = self
            .channels
            .client(&self.peer, self.purpose)
            .map_err(|error| unreachable(error.to_string()))?;
        let (requests, outgoing) = mpsc::channel(WINDOW);
        let opening = client.append(ReceiverStream::new(outgoing));
        match timeout(self.patience, opening).await {
            Ok(Ok(response)) => Ok(Open {
                requests,
                answers: response.into_inner(),
                owed: VecDeque::new(),
            }),
            Ok(Err(status)) => Err(unreachable(format!(
                "node {} at {}: {}",
                self.peer.id,
                self.peer.address,
                status.message()
            ))),
            Err(_) => {
                self.channels.forget(&self.peer, self.purpose);
                Err(unreachable(format!(
                    "node {} at {} took no stream within {:?}",
                    self.peer.id, self.peer.address, self.patience
                )))
            }
        }
    }

    fn drop_if_hung(&mut self) {
        let oldest = self.open.as_ref().and_then(|open| open.owed.front());
        if oldest.is_some_and(|(_, at)| at.elapsed() > self.patience) {
            self.close(true);
        }
    }

    /// The stream is of no more use; `channel` says whether its connection is not either.
    fn close(&mut self, channel: bool) {
        self.open = None;
        if channel {
            self.channels.forget(&self.peer, self.purpose);
        }
    }
}

impl<S> Session<'_, S>
where
    S: Stream<Item = AppendEntriesRequest> + Send + Unpin,
{
    async fn next(&mut self) -> Option<Result<StreamAppendResult, RpcError>> {
        if self.over {
            return None;
        }
        let outcome = self.step().await?;
        if !matches!(outcome, Ok(Ok(_))) {
            self.over = true;
        }
        Some(outcome)
    }

    async fn step(&mut self) -> Option<Result<StreamAppendResult, RpcError>> {
        loop {
            if let Some(matched) = self.told() {
                return Some(Ok(Ok(matched)));
            }
            if self.sent.is_empty() && self.input.is_none() {
                return None;
            }
            let Some(open) = self.link.open.as_mut() else {
                return Some(Err(broken("the stream is closed")));
            };
            let room = open.owed.len() < WINDOW;
            let takes = room && self.input.is_some();
            tokio::select! {
                request = next_of(self.input.as_mut()), if takes => match request {
                    Some(request) => {
                        if let Err(error) = self.send(request) {
                            return Some(Err(error));
                        }
                    }
                    None => self.input = None,
                },
                answer = open.answers.message(), if !open.owed.is_empty() => {
                    match self.receive(answer) {
                        Ok(None) => {}
                        Ok(Some(Ok(matched))) => self.matched.push_back(matched),
                        // What is not told is sent again.
                        Ok(Some(Err(refusal))) => return Some(Ok(Err(refusal))),
                        Err(error) => return Some(Err(error)),
                    }
                }
                () = &mut self.alarm, if !open.owed.is_empty() => {
                    let due = open.owed.front().map(|(_, at)| *at + self.link.patience);
                    match due {
                        Some(due) if due > Instant::now() => self.alarm.as_mut().reset(due),
                        _ => {
                            self.link.close(true);
                            return Some(Err(broken("no answer in time")));
                        }
                    }
                }
            }
        }
    }

    /// The next answer that speaks for no request that has none yet.
    fn told(&mut self) -> Option<Option<LogId>> {
        let matched = self.matched.front()?;
        let speaks_for = |next: &Sent| next.last <= *matched;
        if self.sent.front().is_some_and(speaks_for) {
            return None;
        }
        self.matched.pop_front()
    }

    fn send(&mut self, request: AppendEntriesRequest) -> Result<(), RpcError> {
        self.link.sequence += 1;
        let sequence = self.link.sequence;
        let last = request.entries.last().map(|entry| entry.log_id);
        self.sent.push_back(Sent {
            sequence,
            vote: request.vote,
            previous: request.prev_log_id,
            last: last.or(request.prev_log_id),
        });
        let message = wire::AppendRequest {
            sequence,
            vote: Some(vote_to_wire(&request.vote)),
            previous: request.prev_log_id.as_ref().map(log_id_to_wire),
            entries: request.entries.into_iter().map(entry_to_wire).collect(),
            leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
        };
        let Some(open) = self.link.open.as_mut() else {
            return Err(broken("the stream is closed"));
        };
        let now = Instant::now();
        if open.owed.is_empty() {
            self.alarm.as_mut().reset(now + self.link.patience);
        }
        open.owed.push_back((sequence, now));
        // `owed` never grows past the window, and neither does the queue, so only a stream that
        // ended refuses.
        if open.requests.try_send(message).is_err() {
            self.link.close(false);
            return Err(broken("the peer closed the stream"));
        }
        Ok(())
    }

    fn receive(
        &mut self,
        answer: Result<Option<wire::AppendResponse>, tonic::Status>,
    ) -> Result<Option<StreamAppendResult>, RpcError> {
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                self.link.close(false);
                return Err(broken("the peer ended the stream"));
            }
            Err(status) => {
                self.link.close(false);
                return Err(broken(status.message()));
            }
        };
        if let Some(open) = self.link.open.as_mut() {
            while open
                .owed
                .front()
                .is_some_and(|(owed, _)| *owed <= answer.sequence)
            {
                open.owed.pop_front();
            }
        }
        // Answers to a session that was given up come first and concern nobody.
        if self
            .sent
            .front()
            .is_none_or(|sent| sent.sequence != answer.sequence)
        {
            return Ok(None);
        }
        let Some(sent) = self.sent.pop_front() else {
            return Ok(None);
        };
        self.judge(&sent, answer.outcome).map(Some)
    }

    fn judge(
        &mut self,
        sent: &Sent,
        outcome: Option<wire::append_response::Outcome>,
    ) -> Result<StreamAppendResult, RpcError> {
        use wire::append_response::Outcome;

        let peer = self.link.peer.id.0;
        match outcome {
            Some(Outcome::Matched(matched)) => {
                let id = if matched.partial {
                    matched.id.as_ref().map(log_id_of_wire)
                } else {
                    sent.last
                };
                self.link.acknowledged.note(peer, &sent.vote, id);
                Ok(Ok(id))
            }
            Some(Outcome::Conflict(_)) => {
                // The peer ends its side after a conflict.
                self.link.close(false);
                if self
                    .link
                    .acknowledged
                    .denies(peer, &sent.vote, sent.previous)
                {
                    let why = format!(
                        "node {peer} lost entries that it had acknowledged; it must not take part \
                         again under this number: remove the member and join it anew"
                    );
                    tracing::error!(peer, "{why}");
                    return Err(unreachable(why));
                }
                sent.previous
                    .map(|previous| Err(StreamAppendError::Conflict(previous)))
                    .ok_or_else(|| broken("the peer says that an empty log conflicts"))
            }
            Some(Outcome::HigherVote(vote)) => {
                self.link.close(false);
                let vote = vote_of_wire(Some(vote)).map_err(|error| broken(&error.to_string()))?;
                Ok(Err(StreamAppendError::HigherVote(vote)))
            }
            Some(Outcome::Failed(why)) => {
                self.link.close(false);
                Err(unreachable(why))
            }
            None => {
                self.link.close(false);
                Err(broken("the peer's answer says nothing"))
            }
        }
    }
}

async fn next_of<S: Stream + Unpin>(input: Option<&mut S>) -> Option<S::Item> {
    match input {
        Some(input) => input.next().await,
        None => None,
    }
}

/// Try again at once: the peer was there a moment ago.
fn broken(why: &str) -> RpcError {
    RpcError::Network(NetworkError::from_string(why))
}

/// Try again after a pause.
pub(crate) fn unreachable(why: String) -> RpcError {
    RpcError::Unreachable(Unreachable::from_string(why))
}
