//! Answers what peers ask of consensus. Whether the caller may ask is the server's business.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use holdfast_proto::{NodeId, peer::v1 as wire};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    barrier::Barrier,
    failure_detector::{Attached, FailureDetector},
    peer::incoming,
    propose::{Local, Outcome},
    record::{
        RecordError, entry_of_wire, log_id_of_wire, log_id_to_wire, vote_of_wire, vote_to_wire,
    },
    types::{
        AppendEntriesRequest, Fatal, Raft, StreamAppendError, StreamAppendResult,
        TransferLeaderRequest, VoteRequest, VoteResponse,
    },
};

/// `holdfast.peer.v1.Raft`.
#[derive(Clone)]
pub(crate) struct PeerService {
    pub(crate) raft: Raft,
    pub(crate) local: Local,
    pub(crate) barrier: Barrier,
    pub(crate) store: holdfast_disk::Store,
    pub(crate) detector: FailureDetector,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl wire::raft_server::Raft for PeerService {
    type AppendStream = Answers<wire::AppendResponse>;
    type ForwardStream = Answers<wire::ForwardReplies>;
    type ReadIndexStream = Answers<wire::ReadIndexResponse>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let asked = Arc::new(Asked::default());
        let messages = Messages {
            stream: request.into_inner(),
            _attached: self.detector.attach(),
        };
        let requests = requests(messages, self.local.clone(), asked.clone());
        let answers = self.raft.stream_append(requests);
        let of_core = asked.clone();
        let answers = answers.map(move |answer| Ok(append_answer(of_core.next(), answer)));
        // What the core was never given is answered last.
        let refused = stream::once(async move { asked.refused.lock().take() })
            .filter_map(|refused| async move { refused.map(Ok) });
        Ok(Response::new(Box::pin(answers.chain(refused))))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let request = vote_request(request.into_inner())?;
        let answer = self.raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(vote_response(&answer)))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let request = vote_request(request.into_inner())?;
        let answer = self.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(Response::new(vote_response(&answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let answer = incoming::receive(&self.raft, &self.store, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        let request = TransferLeaderRequest::new(
            vote_of_wire(request.from).map_err(|error| malformed(&error))?,
            request.to,
            request.last.as_ref().map(log_id_of_wire),
        );
        let answer = self
            .raft
            .handle_transfer_leader(request)
            .await
            .map_err(stopped)?;
        Ok(Response::new(wire::TransferLeaderResponse {
            accepted: answer.is_ok(),
        }))
    }

    async fn leader_ended(
        &self,
        request: Request<wire::LeaderEndedRequest>,
    ) -> Result<Response<wire::LeaderEndedResponse>, Status> {
        let vote = request.into_inner().vote;
        let vote = vote_of_wire(vote).map_err(|error| malformed(&error))?;
        let ended = self.detector.confirms(vote).await;
        let last = self
            .raft
            .with_raft_state(|state| state.log_ids.last().copied());
        let last = last.await.map_err(stopped)?;
        Ok(Response::new(wire::LeaderEndedResponse {
            ended,
            last: last.as_ref().map(log_id_to_wire),
        }))
    }

    async fn forward(
        &self,
        request: Request<Streaming<wire::ForwardBatch>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (answers, outgoing) = mpsc::unbounded_channel();
        tokio::spawn(take_forwarded(
            self.local.clone(),
            request.into_inner(),
            answers,
        ));
        let replies = UnboundedReceiverStream::new(outgoing)
            .ready_chunks(REPLIES)
            .map(|replies| Ok(wire::ForwardReplies { replies }));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn read_index(
        &self,
        request: Request<Streaming<wire::ReadIndexRequest>>,
    ) -> Result<Response<Self::ReadIndexStream>, Status> {
        let questions = request.into_inner();
        let answers = stream::unfold(
            (questions, self.barrier.clone()),
            |(mut questions, barrier)| async move {
                let question = questions.message().await.ok()??;
                let asker = NodeId(question.from);
                // One that does not parse is none: then a quorum is asked.
                let vote = question.vote.and_then(|vote| vote_of_wire(Some(vote)).ok());
                let outcome = match barrier.index_for(asker, vote).await {
                    Ok(index) => wire::read_index_response::Outcome::Index(index),
                    Err(leader) => wire::read_index_response::Outcome::NotLeader(wire::NotLeader {
                        leader: leader.map_or(0, |id| id.0),
                    }),
                };
                let answer = wire::ReadIndexResponse {
                    id: question.id,
                    outcome: Some(outcome),
                };
                Some((Ok(answer), (questions, barrier)))
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Most replies in one message.
const REPLIES: usize = 512;

/// Sequences handed to the core and not answered yet.
#[derive(Default)]
struct Asked {
    sequences: Mutex<VecDeque<u64>>,
    refused: Mutex<Option<wire::AppendResponse>>,
}

impl Asked {
    fn next(&self) -> u64 {
        self.sequences.lock().pop_front().unwrap_or(0)
    }

    fn refuse(&self, sequence: u64, why: String) {
        *self.refused.lock() = Some(wire::AppendResponse {
            sequence,
            outcome: Some(wire::append_response::Outcome::Failed(why)),
        });
    }
}

/// What a leader sends, until its stream ends.
struct Messages {
    stream: Streaming<wire::AppendRequest>,
    _attached: Attached,
}

/// The requests of a stream, up to one that the core cannot be given.
fn requests(
    messages: Messages,
    local: Local,
    asked: Arc<Asked>,
) -> impl Stream<Item = AppendEntriesRequest> + Send + 'static {
    stream::unfold(
        (messages, local, asked),
        |(mut messages, local, asked)| async move {
            let message = messages.stream.message().await.ok()??;
            let sequence = message.sequence;
            // A log without room would fail the append, and a failed append stops the node.
            let bytes = message.encoded_len();
            if !message.entries.is_empty()
                && let Err(why) = local.take_room(bytes)
            {
                asked.refuse(sequence, why);
                return None;
            }
            match append_request(message) {
                Ok(request) => {
                    asked.sequences.lock().push_back(sequence);
                    Some((request, (messages, local, asked)))
                }
                Err(error) => {
                    asked.refuse(sequence, error.to_string());
                    None
                }
            }
        },
    )
}

fn append_request(message: wire::AppendRequest) -> Result<AppendEntriesRequest, RecordError> {
    Ok(AppendEntriesRequest {
        vote: vote_of_wire(message.vote)?,
        prev_log_id: message.previous.as_ref().map(log_id_of_wire),
        entries: message
            .entries
            .into_iter()
            .map(entry_of_wire)
            .collect::<Result<_, _>>()?,
        leader_commit: message.leader_commit.as_ref().map(log_id_of_wire),
    })
}

fn append_answer(sequence: u64, answer: Result<StreamAppendResult, Fatal>) -> wire::AppendResponse {
    use wire::append_response::Outcome as Answer;

    let outcome = match answer {
        Ok(Ok(id)) => Answer::Matched(wire::AppendMatched {
            id: id.as_ref().map(log_id_to_wire),
            partial: true,
        }),
        Ok(Err(StreamAppendError::Conflict(_))) => Answer::Conflict(true),
        Ok(Err(StreamAppendError::HigherVote(vote))) => Answer::HigherVote(vote_to_wire(&vote)),
        Err(fatal) => Answer::Failed(fatal.to_string()),
    };
    wire::AppendResponse {
        sequence,
        outcome: Some(outcome),
    }
}

fn vote_request(request: wire::VoteRequest) -> Result<VoteRequest, Status> {
    Ok(VoteRequest {
        vote: vote_of_wire(request.vote).map_err(|error| malformed(&error))?,
        last_log_id: request.last.as_ref().map(log_id_of_wire),
        leadership_transfer: request.leader_transfer,
    })
}

fn vote_response(answer: &VoteResponse) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(vote_to_wire(&answer.vote)),
        last: answer.last_log_id.as_ref().map(log_id_to_wire),
        granted: answer.vote_granted,
    }
}

/// Proposes what a follower forwards, and sends each answer when it comes.
async fn take_forwarded(
    local: Local,
    mut batches: Streaming<wire::ForwardBatch>,
    answers: mpsc::UnboundedSender<wire::ForwardReply>,
) {
    while let Ok(Some(batch)) = batches.message().await {
        for forwarded in batch.proposals {
            let answers = answers.clone();
            let id = forwarded.id;
            local.submit(&forwarded.command, move |outcome| {
                drop(answers.send(forward_reply(id, outcome)));
            });
        }
    }
}

fn forward_reply(id: u64, outcome: Outcome) -> wire::ForwardReply {
    use wire::forward_reply::Outcome as Answer;

    let (mut index, mut term) = (0, 0);
    let outcome = match outcome {
        Outcome::Applied(applied) => {
            (index, term) = (applied.index, applied.term);
            Answer::Reply(applied.reply.into_wire().encode_to_vec().into())
        }
        Outcome::NotLeader(leader) => Answer::NotLeader(wire::NotLeader {
            leader: leader.map_or(0, |id| id.0),
        }),
        Outcome::Refused(why) => Answer::Refused(why),
        Outcome::Unknown(why) => Answer::Unknown(why),
    };
    wire::ForwardReply {
        id,
        outcome: Some(outcome),
        index,
        term,
    }
}

fn malformed(error: &RecordError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped<E: std::fmt::Display>(error: E) -> Status {
    Status::unavailable(format!("consensus has stopped: {error}"))
}
