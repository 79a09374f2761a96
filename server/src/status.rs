//! Errors as callers see them, in one place: a code, one sentence, and a reason to match on.
//!
//! Invariant: [`Reason::UnknownOutcome`] alone means that a write may have happened; every other
//! refusal of a write means that nothing was changed. No message carries a value or a path.

use holdfast_core::{ReadError, Refusal};
use holdfast_disk::PastError;
use holdfast_proto::log::v1::refusal;
use holdfast_raft::{BarrierError, ChangeError, ProposeError};
use tonic::{
    Code, Status,
    metadata::{Ascii, MetadataValue},
};

/// Metadata that carries the [`Reason`].
pub const REASON: &str = "holdfast-reason";
/// Metadata that carries the revision that was found.
pub const FOUND: &str = "holdfast-found";
/// Metadata that carries the revision that was expected.
pub const EXPECTED: &str = "holdfast-expected";

/// Why a request was refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the names say it; the code of each says the rest"
)]
pub enum Reason {
    Conflict,
    TooLarge,
    StateFull,
    LeaseMissing,
    LeaseExists,
    Compacted,
    FutureRevision,
    DuplicateKey,
    KeyMissing,
    TokenInvalid,
    NameTaken,
    MemberMissing,
    RequestForgotten,
    TooManySessions,
    StaleTerm,
    Invalid,
    TooMany,
    ClockOff,
    WrongCluster,
    Unauthenticated,
    NotAllowed,
    Removed,
    NotLeader,
    NotPossible,
    UnknownOutcome,
    NoQuorum,
    ShuttingDown,
    Stopped,
    Fenced,
    PastRebuilding,
    PastDamaged,
    Deadline,
    NoAuthority,
    Witness,
    Reseal,
    IsSecret,
    NoKeyring,
    KeyringClosed,
    Destroyed,
    SecretDamaged,
    NotRecorded,
    ReasonRequired,
    LastAdmin,
    Internal,
}

impl Reason {
    /// As it stands in the metadata.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The gRPC code it comes with.
    pub fn code(self) -> Code {
        self.row().1
    }

    fn row(self) -> (&'static str, Code) {
        match self {
            Self::Conflict => ("conflict", Code::FailedPrecondition),
            Self::TooLarge => ("too_large", Code::InvalidArgument),
            Self::StateFull => ("state_full", Code::ResourceExhausted),
            Self::LeaseMissing => ("lease_missing", Code::NotFound),
            Self::LeaseExists => ("lease_exists", Code::AlreadyExists),
            Self::Compacted => ("compacted", Code::OutOfRange),
            Self::FutureRevision => ("future", Code::OutOfRange),
            Self::DuplicateKey => ("duplicate_key", Code::InvalidArgument),
            Self::KeyMissing => ("key_missing", Code::FailedPrecondition),
            Self::TokenInvalid => ("token_invalid", Code::PermissionDenied),
            Self::NameTaken => ("name_taken", Code::AlreadyExists),
            Self::MemberMissing => ("member_missing", Code::NotFound),
            Self::RequestForgotten => ("request_forgotten", Code::FailedPrecondition),
            Self::TooManySessions => ("too_many_sessions", Code::ResourceExhausted),
            Self::StaleTerm => ("stale_term", Code::FailedPrecondition),
            Self::Invalid => ("invalid", Code::InvalidArgument),
            Self::TooMany => ("too_many", Code::ResourceExhausted),
            Self::ClockOff => ("clock_off", Code::FailedPrecondition),
            Self::WrongCluster => ("wrong_cluster", Code::FailedPrecondition),
            Self::Unauthenticated => ("unauthenticated", Code::Unauthenticated),
            Self::NotAllowed => ("not_allowed", Code::PermissionDenied),
            Self::Removed => ("removed", Code::PermissionDenied),
            Self::NotLeader => ("not_leader", Code::Unavailable),
            Self::NotPossible => ("not_possible", Code::FailedPrecondition),
            Self::UnknownOutcome => ("unknown_outcome", Code::Aborted),
            Self::NoQuorum => ("no_quorum", Code::Unavailable),
            Self::ShuttingDown => ("shutting_down", Code::Unavailable),
            Self::Stopped => ("stopped", Code::Unavailable),
            Self::Fenced => ("fenced", Code::Unavailable),
            Self::PastRebuilding => ("past_rebuilding", Code::Unavailable),
            Self::PastDamaged => ("past_damaged", Code::DataLoss),
            Self::Deadline => ("deadline", Code::DeadlineExceeded),
            Self::NoAuthority => ("no_authority", Code::Unavailable),
            Self::Witness => ("witness", Code::Unavailable),
            Self::Reseal => ("reseal", Code::Aborted),
            Self::IsSecret => ("is_secret", Code::FailedPrecondition),
            Self::NoKeyring => ("no_keyring", Code::FailedPrecondition),
            Self::KeyringClosed => ("keyring_closed", Code::Unavailable),
            Self::Destroyed => ("destroyed", Code::FailedPrecondition),
            Self::SecretDamaged => ("secret_damaged", Code::DataLoss),
            Self::NotRecorded => ("not_recorded", Code::ResourceExhausted),
            Self::ReasonRequired => ("reason_required", Code::FailedPrecondition),
            Self::LastAdmin => ("last_admin", Code::FailedPrecondition),
            Self::Internal => ("internal", Code::Internal),
        }
    }

    /// A refusal for this reason. `message` says what happened and what to do.
    pub fn status(self, message: impl Into<String>) -> Status {
        let mut status = Status::new(self.code(), message);
        status
            .metadata_mut()
            .insert(REASON, MetadataValue::from_static(self.as_str()));
        status
    }

    /// Whether another node refused for this reason.
    pub(crate) fn is_of(self, status: &Status) -> bool {
        let reason = status.metadata().get(REASON);
        reason.is_some_and(|reason| reason.as_bytes() == self.as_str().as_bytes())
    }
}

impl From<refusal::Reason> for Reason {
    fn from(reason: refusal::Reason) -> Self {
        use refusal::Reason as Refused;
        match reason {
            Refused::Unspecified => Self::Internal,
            Refused::Conflict => Self::Conflict,
            Refused::TooLarge => Self::TooLarge,
            Refused::StateFull => Self::StateFull,
            Refused::LeaseMissing => Self::LeaseMissing,
            Refused::LeaseExists => Self::LeaseExists,
            Refused::Compacted => Self::Compacted,
            Refused::FutureRevision => Self::FutureRevision,
            Refused::DuplicateKey => Self::DuplicateKey,
            Refused::KeyMissing => Self::KeyMissing,
            Refused::TokenInvalid => Self::TokenInvalid,
            Refused::NameTaken => Self::NameTaken,
            Refused::MemberMissing => Self::MemberMissing,
            Refused::RequestForgotten => Self::RequestForgotten,
            Refused::TooManySessions => Self::TooManySessions,
            Refused::StaleTerm => Self::StaleTerm,
            Refused::Invalid => Self::Invalid,
            Refused::TooMany => Self::TooMany,
            Refused::Reseal => Self::Reseal,
            Refused::NoKeyring => Self::NoKeyring,
            Refused::NotAllowed => Self::NotAllowed,
            Refused::IsSecret => Self::IsSecret,
            Refused::LastAdmin => Self::LastAdmin,
        }
    }
}

/// What the caller sent is not what it may send; `message` says why.
pub fn invalid(message: impl std::fmt::Display) -> Status {
    Reason::Invalid.status(message.to_string())
}

/// What a replicated command answered instead of doing it.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let mut status = Reason::from(refusal.reason).status(&*refusal.message);
    let metadata = status.metadata_mut();
    if refusal.reason == refusal::Reason::Conflict {
        metadata.insert(FOUND, number(refusal.found));
        metadata.insert(EXPECTED, number(refusal.expected));
    } else if refusal.found != 0 {
        metadata.insert(FOUND, number(refusal.found));
    }
    status
}

/// A proposal has no answer.
pub(crate) fn not_proposed(error: &ProposeError) -> Status {
    let reason = match error {
        ProposeError::NoLeader { .. } => Reason::NoQuorum,
        ProposeError::Unknown { .. } => Reason::UnknownOutcome,
        ProposeError::Refused { .. } => Reason::StateFull,
        _ => Reason::Stopped,
    };
    reason.status(error.to_string())
}

/// A linearizable read cannot be served.
pub(crate) fn not_confirmed(error: &BarrierError) -> Status {
    match error {
        BarrierError::NoQuorum { waited } => Reason::NoQuorum.status(format!(
            "no leader with a quorum answered within {waited:?}; try again, or read with local \
             consistency"
        )),
        _ => Reason::Stopped.status(error.to_string()),
    }
}

/// A membership change was not made.
pub(crate) fn not_changed(error: &ChangeError) -> Status {
    let reason = match error {
        ChangeError::NotLeader { .. } => Reason::NotLeader,
        ChangeError::NotMember { .. } => Reason::MemberMissing,
        ChangeError::Unknown { .. } => Reason::UnknownOutcome,
        ChangeError::InProgress => Reason::NoQuorum,
        ChangeError::Stopped { .. } => Reason::Stopped,
        _ => Reason::NotPossible,
    };
    reason.status(error.to_string())
}

/// A value of an older version is not at hand.
pub(crate) fn no_past(error: &PastError) -> Status {
    let reason = match error {
        PastError::Rebuilding { .. } => Reason::PastRebuilding,
        _ => Reason::PastDamaged,
    };
    reason.status(error.to_string())
}

/// A read at a revision that the state does not keep.
pub(crate) fn not_readable(error: &ReadError) -> Status {
    let (reason, found) = match error {
        ReadError::Compacted { oldest } => (Reason::Compacted, *oldest),
        ReadError::Future { newest } => (Reason::FutureRevision, *newest),
    };
    let mut status = reason.status(error.to_string());
    status.metadata_mut().insert(FOUND, number(found));
    status
}

fn number(number: u64) -> MetadataValue<Ascii> {
    MetadataValue::from(number)
}
