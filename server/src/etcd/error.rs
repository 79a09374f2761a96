//! Errors as etcd words them: clients match the code and the text.
//!
//! What the store refuses for reasons that etcd does not know (a value above our limit, a fenced
//! node) comes as the nearest error that clients do know.

use holdfast_core::{ReadError, Reason, Refusal};
use holdfast_raft::{BarrierError, ProposeError};
use tonic::{Code, Status};

use crate::{access::Denied, audit::WHY};

pub(super) fn empty_key() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: key is not provided")
}

pub(super) fn key_not_found() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: key not found")
}

pub(super) fn value_provided() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: value is provided")
}

pub(super) fn lease_provided() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: lease is provided")
}

pub(super) fn too_many_operations() -> Status {
    Status::new(
        Code::InvalidArgument,
        "etcdserver: too many operations in txn request",
    )
}

pub(super) fn duplicate_key() -> Status {
    Status::new(
        Code::InvalidArgument,
        "etcdserver: duplicate key given in txn request",
    )
}

pub(super) fn invalid_sort_option() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: invalid sort option")
}

pub(super) fn too_large() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: request is too large")
}

pub(super) fn compacted() -> Status {
    Status::new(Code::OutOfRange, COMPACTED)
}

pub(super) fn future_revision() -> Status {
    Status::new(
        Code::OutOfRange,
        "etcdserver: mvcc: required revision is a future revision",
    )
}

pub(super) fn no_space() -> Status {
    Status::new(
        Code::ResourceExhausted,
        "etcdserver: mvcc: database space exceeded",
    )
}

pub(super) fn too_many_requests() -> Status {
    Status::new(Code::ResourceExhausted, "etcdserver: too many requests")
}

pub(super) fn lease_not_found() -> Status {
    Status::new(Code::NotFound, "etcdserver: requested lease not found")
}

pub(super) fn lease_exists() -> Status {
    Status::new(Code::FailedPrecondition, "etcdserver: lease already exists")
}

pub(super) fn ttl_too_large() -> Status {
    Status::new(Code::OutOfRange, "etcdserver: too large lease TTL")
}

pub(super) fn permission_denied() -> Status {
    Status::new(Code::PermissionDenied, PERMISSION_DENIED)
}

/// What no rule allows. Clients match the text, so what is not allowed is told beside it.
pub(super) fn denied(denied: &Denied) -> Status {
    let mut status = permission_denied();
    let why: String = denied.message().escape_default().collect();
    if let Ok(why) = why.parse() {
        status.metadata_mut().insert(WHY, why);
    }
    status
}

pub(super) fn no_leader() -> Status {
    Status::new(Code::Unavailable, "etcdserver: no leader")
}

pub(super) fn not_leader() -> Status {
    Status::new(Code::FailedPrecondition, "etcdserver: not leader")
}

pub(super) fn bad_transferee() -> Status {
    Status::new(
        Code::FailedPrecondition,
        "etcdserver: bad leader transferee",
    )
}

pub(super) fn timed_out() -> Status {
    Status::new(Code::Unavailable, "etcdserver: request timed out")
}

pub(super) fn stopped() -> Status {
    Status::new(Code::Unavailable, "etcdserver: server stopped")
}

pub(super) fn not_authenticating() -> Status {
    Status::new(
        Code::FailedPrecondition,
        "etcdserver: authentication is not enabled",
    )
}

/// A command was answered by what no such command answers.
pub(super) fn unexpected() -> Status {
    Status::new(
        Code::Internal,
        "the store answered something else than was asked; look at what was written, then decide",
    )
}

/// As etcd's lock and election services word it, without a code.
pub(super) fn session_expired() -> Status {
    Status::new(Code::Unknown, "mutex: session is expired")
}

pub(super) fn election_not_leader() -> Status {
    Status::new(Code::Unknown, "election: not leader")
}

pub(super) fn election_no_leader() -> Status {
    Status::new(Code::Unknown, "election: no leader")
}

/// What is served nowhere; `instead` says what to use.
pub(super) fn unimplemented(instead: &'static str) -> Status {
    Status::new(Code::Unimplemented, instead)
}

/// What applying a command refused.
pub(super) fn refused(refusal: &Refusal) -> Status {
    match refusal.reason {
        Reason::LeaseMissing => lease_not_found(),
        Reason::LeaseExists => lease_exists(),
        Reason::KeyMissing => key_not_found(),
        Reason::DuplicateKey => duplicate_key(),
        Reason::Compacted => compacted(),
        Reason::FutureRevision => future_revision(),
        Reason::StateFull => no_space(),
        Reason::TooLarge => too_large(),
        Reason::IsSecret => permission_denied(),
        Reason::TooMany | Reason::TooManySessions => too_many_requests(),
        _ => Status::new(Code::InvalidArgument, &*refusal.message),
    }
}

/// A proposal has no answer.
pub(super) fn not_proposed(error: &ProposeError) -> Status {
    match error {
        ProposeError::NoLeader { .. } => no_leader(),
        ProposeError::Unknown { .. } => timed_out(),
        ProposeError::Refused { .. } => no_space(),
        _ => stopped(),
    }
}

/// A linearizable read cannot be served.
pub(super) fn not_confirmed(error: &BarrierError) -> Status {
    match error {
        BarrierError::NoQuorum { .. } => no_leader(),
        _ => stopped(),
    }
}

/// A read at a revision that is not kept.
pub(super) fn not_readable(error: &ReadError) -> Status {
    match error {
        ReadError::Compacted { .. } => compacted(),
        ReadError::Future { .. } => future_revision(),
    }
}

/// What the services that both fronts share answered.
pub(super) fn of_ours(status: &Status) -> Status {
    match status.code() {
        Code::Unavailable => no_leader(),
        Code::Aborted => timed_out(),
        code => Status::new(code, status.message()),
    }
}

/// Why a watch that starts too early is canceled.
pub(super) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
/// Why a watch of what may not be read is canceled.
pub(super) const PERMISSION_DENIED: &str = "etcdserver: permission denied";
/// Why a watch of no key is canceled.
pub(super) const EMPTY_WATCH: &str = "mvcc: watcher range is empty";
/// Why a second watch under one id is canceled.
pub(super) const DUPLICATE_WATCH: &str = "mvcc: duplicate watch ID provided on the WatchStream";
