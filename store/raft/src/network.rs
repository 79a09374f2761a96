//! Consensus' network: one client a peer and purpose.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};
use holdfast_proto::peer::v1 as wire;
use openraft::{
    RPCTypes,
    errors::{ReplicationClosed, Timeout},
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
};
use tokio::time::timeout;

use crate::{
    options::{PeerNode, Purpose},
    peer::{
        append::{AppendLink, unreachable},
        channels::{Channels, Client},
        reverted::Acknowledged,
        snapshot,
    },
    record::{log_id_of_wire, log_id_to_wire, vote_of_wire, vote_to_wire},
    snapshot::SnapshotData,
    types::{
        AppendEntriesRequest, AppendEntriesResponse, NetworkError, Place, RpcError, Snapshot,
        SnapshotResponse, StreamAppendError, StreamAppendResult, StreamingError,
        TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, Types, Vote,
        VoteRequest, VoteResponse,
    },
};

/// An append that is not answered for so long hangs. Well above a slow disk's sync.
const APPEND_PATIENCE: Duration = Duration::from_secs(2);
/// The same for a heartbeat, which waits for a sync at most.
const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(1);
/// Votes get this long at least: consensus would give up sooner than a new connection is up.
const LEAST_VOTE_LIMIT: Duration = Duration::from_millis(40);

/// Makes clients; shared by all of a replica's tasks.
#[derive(Clone)]
pub(crate) struct Network {
    id: u64,
    channels: Arc<Channels>,
    acknowledged: Acknowledged,
}

impl Network {
    pub(crate) fn new(id: u64, channels: Arc<Channels>) -> Self {
        Self {
            id,
            channels,
            acknowledged: Acknowledged::default(),
        }
    }

    fn peer(&self, target: u64, place: &Place, purpose: Purpose, patience: Duration) -> Peer {
        let node = PeerNode::at(target, place);
        Peer {
            id: self.id,
            node: node.clone(),
            channels: self.channels.clone(),
            link: AppendLink::new(
                self.channels.clone(),
                self.acknowledged.clone(),
                node,
                purpose,
                patience,
            ),
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, place: &Place) -> Peer {
        self.peer(target, place, Purpose::Append, APPEND_PATIENCE)
    }

    async fn new_heartbeat_client(&mut self, target: u64, place: &Place) -> Peer {
        self.peer(target, place, Purpose::Heartbeat, HEARTBEAT_PATIENCE)
    }

    async fn new_snapshot_client(&mut self, target: u64, place: &Place) -> Peer {
        self.peer(target, place, Purpose::Snapshot, APPEND_PATIENCE)
    }
}

/// One peer, for one task of consensus.
pub(crate) struct Peer {
    id: u64,
    node: PeerNode,
    channels: Arc<Channels>,
    link: AppendLink,
}

impl Peer {
    /// One question and its answer, on the channel for urgent ones.
    async fn ask<Q, A, F>(
        &self,
        kind: RPCTypes,
        limit: Duration,
        question: Q,
        call: impl FnOnce(Client, Q) -> F,
    ) -> Result<A, RpcError>
    where
        F: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        let client = self
            .channels
            .client(&self.node, Purpose::Heartbeat)
            .map_err(|error| unreachable(error.to_string()))?;
        match timeout(limit, call(client, question)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(unreachable(status.message().to_owned())),
            Err(_) => Err(RpcError::Timeout(Timeout {
                action: kind,
                id: self.id,
                target: self.node.id.0,
                timeout: limit,
            })),
        }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse, RpcError> {
        let input = Box::pin(futures::stream::iter([request]));
        let mut answers = self.stream_append(input, option).await?;
        match answers.next().await {
            Some(Ok(Ok(matched))) => Ok(AppendEntriesResponse::PartialSuccess(matched)),
            Some(Ok(Err(StreamAppendError::Conflict(_)))) => Ok(AppendEntriesResponse::Conflict),
            Some(Ok(Err(StreamAppendError::HigherVote(vote)))) => {
                Ok(AppendEntriesResponse::HigherVote(vote))
            }
            Some(Err(error)) => Err(error),
            None => Err(RpcError::Network(NetworkError::from_string("no answer"))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let answers = self.link.run(input).await?;
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        let limit = option.hard_ttl().max(LEAST_VOTE_LIMIT);
        let question = vote_request(&request);
        let answer = self
            .ask(
                RPCTypes::Vote,
                limit,
                question,
                |mut client, question| async move { client.vote(question).await },
            )
            .await?;
        vote_response(answer)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        let limit = option.hard_ttl().max(LEAST_VOTE_LIMIT);
        let question = vote_request(&request);
        let answer = self
            .ask(
                RPCTypes::Vote,
                limit,
                question,
                |mut client, question| async move { client.pre_vote(question).await },
            )
            .await?;
        vote_response(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse, StreamingError> {
        snapshot::send(&self.channels, &self.node, vote, snapshot, cancel).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse, RpcError> {
        let question = transfer_request(&request);
        let answer = self
            .ask(
                RPCTypes::TransferLeader,
                option.hard_ttl(),
                question,
                |mut client, question| async move { client.transfer_leader(question).await },
            )
            .await?;
        Ok(if answer.accepted {
            Ok(())
        } else {
            // Which of its reasons it was makes no difference here: it is only logged.
            Err(TransferLeaderError::LogNotFlushed {
                expected: request.last_log_id().copied(),
                actual: None,
            })
        })
    }
}

pub(crate) fn transfer_request(request: &TransferLeaderRequest) -> wire::TransferLeaderRequest {
    wire::TransferLeaderRequest {
        from: Some(vote_to_wire(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_to_wire),
    }
}

fn vote_request(request: &VoteRequest) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(vote_to_wire(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_to_wire),
        leader_transfer: request.leadership_transfer,
    }
}

fn vote_response(answer: wire::VoteResponse) -> Result<VoteResponse, RpcError> {
    let vote = vote_of_wire(answer.vote)
        .map_err(|error| RpcError::Network(NetworkError::from_string(error)))?;
    let last = answer.last.as_ref().map(log_id_of_wire);
    Ok(VoteResponse::new(vote, last, answer.granted))
}
