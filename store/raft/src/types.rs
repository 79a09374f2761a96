//! The one place that opens openraft's type parameters; everything else uses these names.

use std::fmt;

use futures::FutureExt as _;
use holdfast_core::Reply;
use tokio::sync::oneshot;

use crate::{machine::Machine, record::Record};

/// The parameters of consensus.
///
/// Standard leader ids: one leader a term, so that a term alone fences what its leader proposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Record;
    type R = Response;
    type NodeId = u64;
    type Node = Place;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = Responder<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// What consensus keeps of a member beside its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) address: String,
}

pub(crate) type Raft = openraft::Raft<Types, Machine>;
pub(crate) type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::impls::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Record, u64, Place>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, Place>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, Place>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, Place>;
pub(crate) type Snapshot =
    openraft::Snapshot<CommittedLeaderId, u64, Place, crate::snapshot::SnapshotData>;
pub(crate) type LogState = openraft::LogState<Types>;
pub(crate) type IoFlushed = openraft::storage::IOFlushed<Types>;
pub(crate) type EntryResponder = openraft::storage::EntryResponder<Types>;
pub(crate) type ApplyResponder = openraft::storage::ApplyResponder<Types>;
pub(crate) type AppendEntriesRequest = openraft::raft::AppendEntriesRequest<Types>;
pub(crate) type AppendEntriesResponse = openraft::raft::AppendEntriesResponse<Types>;
pub(crate) type StreamAppendResult = openraft::raft::StreamAppendResult<Types>;
pub(crate) type StreamAppendError = openraft::raft::StreamAppendError<Types>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<Types>;
pub(crate) type VoteResponse = openraft::raft::VoteResponse<Types>;
pub(crate) type SnapshotResponse = openraft::raft::SnapshotResponse<Types>;
pub(crate) type TransferLeaderRequest = openraft::raft::TransferLeaderRequest<Types>;
pub(crate) type TransferLeaderResponse = openraft::raft::TransferLeaderResponse<Types>;
pub(crate) type TransferLeaderError = openraft::raft::TransferLeaderError<Types>;
pub(crate) type RpcError = openraft::errors::RPCError<Types>;
pub(crate) type StreamingError = openraft::errors::StreamingError<Types>;
pub(crate) type Unreachable = openraft::errors::Unreachable<Types>;
pub(crate) type NetworkError = openraft::errors::NetworkError<Types>;
pub(crate) type Fatal = openraft::errors::Fatal<Types>;
pub(crate) type ClientWriteError = openraft::errors::ClientWriteError<Types>;
pub(crate) type ChangeMembershipError =
    openraft::errors::ChangeMembershipError<CommittedLeaderId, u64>;
pub(crate) type WriteError = openraft::errors::RaftError<Types, ClientWriteError>;
pub(crate) type LinearizableReadError = openraft::errors::LinearizableReadError<Types>;
pub(crate) type ReadError = openraft::errors::RaftError<Types, LinearizableReadError>;
pub(crate) type FoundError =
    openraft::errors::RaftError<Types, openraft::errors::InitializeError<Types>>;
pub(crate) type WriteResult = openraft::raft::ClientWriteResult<Types>;
pub(crate) type RaftMetrics = openraft::RaftMetrics<Types>;
pub(crate) type ChangeMembers = openraft::ChangeMembers<u64, Place>;
pub(crate) use openraft::ServerState;

/// What applying one entry answers: a reply where the entry was a command.
#[derive(Clone)]
pub(crate) struct Response(pub(crate) Option<Reply>);

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "reply" } else { "none" })
    }
}

/// Carries one answer to whoever proposed; `None` if the core went away without one.
pub(crate) struct Responder<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Responder<T> {
    pub(crate) fn new(answer: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// The same, and a future that ends when it has answered.
    pub(crate) fn watched(mut self) -> (Self, impl Future<Output = ()> + Send)
    where
        T: 'static,
    {
        let (answered, ended) = oneshot::channel::<()>();
        let answer = self.0.take();
        let watched = Self::new(move |outcome| {
            if let Some(answer) = answer {
                answer(outcome);
            }
            drop(answered);
        });
        (watched, ended.map(drop))
    }
}

impl<T: Send + 'static> openraft::raft::responder::Responder<Types, T> for Responder<T> {
    fn on_complete(mut self, outcome: T) {
        if let Some(answer) = self.0.take() {
            answer(Some(outcome));
        }
    }
}

impl<T> Drop for Responder<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(None);
        }
    }
}

/// A log id of a term and an index.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

/// The term of a log id.
pub(crate) fn term_of(id: &LogId) -> u64 {
    id.leader_id.term
}

/// The index of a log id, if there is one.
pub(crate) fn index_of(id: &Option<LogId>) -> Option<u64> {
    id.as_ref().map(|id| id.index)
}
