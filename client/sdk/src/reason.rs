//! What a server says when it refuses: a word for programs beside the sentence for people.

use std::{error::Error as _, fmt};

use holdfast_proto::Revision;
use tonic::{Code, Status};

/// The metadata key under which a server names its reason.
pub(crate) const REASON: &str = "holdfast-reason";
const FOUND: &str = "holdfast-found";
const EXPECTED: &str = "holdfast-expected";
const LEADER: &str = "holdfast-leader";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a server refused, as one word (`holdfast-reason` in the trailers).
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
            /// A word that this version does not know, or none (then it is the gRPC code's name).
            Other(String),
        }

        impl Reason {
            /// The word itself.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for Reason {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$name,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

reasons! {
    /// A key was not at the expected revision.
    Conflict = "conflict",
    /// Past a limit: key, value, note, operations or request.
    TooLarge = "too_large",
    /// The state, or the disk under it, is full. Deletes still work.
    StateFull = "state_full",
    /// The request makes no sense.
    Invalid = "invalid",
    /// One transaction writes a key twice.
    DuplicateKey = "duplicate_key",
    /// The key must exist for this, and does not.
    KeyMissing = "key_missing",
    /// The revision asked for is no longer kept.
    Compacted = "compacted",
    /// The revision asked for does not exist yet.
    Future = "future",
    /// The lease is not there: it ran out, or was revoked.
    LeaseMissing = "lease_missing",
    /// A lease of that number exists already.
    LeaseExists = "lease_exists",
    /// The join token is unknown, used, expired or for somebody else.
    TokenInvalid = "token_invalid",
    /// A member of that name exists already.
    NameTaken = "name_taken",
    /// There is no such member.
    MemberMissing = "member_missing",
    /// The store no longer knows the session of a repeated request.
    RequestForgotten = "request_forgotten",
    /// There are as many of something as are allowed.
    TooMany = "too_many",
    /// The server belongs to another cluster.
    WrongCluster = "wrong_cluster",
    /// The key is a secret, and the value is a plain one; see [`crate::PutOptions::replace_secret`].
    IsSecret = "is_secret",
    /// There is no keyring yet, or its recovery shares were not shown to work: no secret is taken.
    NoKeyring = "no_keyring",
    /// The server does not open the keyring, or not yet. Another one may.
    KeyringClosed = "keyring_closed",
    /// The version of the secret was destroyed; nothing opens it.
    Destroyed = "destroyed",
    /// What is stored of the secret does not open.
    SecretDamaged = "secret_damaged",
    /// The policy wants to know why before it opens this secret.
    ReasonRequired = "reason_required",
    /// This certificate may not do that.
    NotAllowed = "not_allowed",
    /// After this nobody could change the policy any more. Nothing was changed.
    LastAdmin = "last_admin",
    /// The node could not record the act in its audit log, so nothing was done.
    NotRecorded = "not_recorded",
    /// The server is a witness: it votes and takes no clients. Nothing was changed.
    Witness = "witness",
    /// Only the leader can do this, and the server is not it. Nothing was changed.
    NotLeader = "not_leader",
    /// The cluster cannot do this as it is now.
    NotPossible = "not_possible",
    /// The change may or may not happen; repeating the same request id resolves it.
    UnknownOutcome = "unknown_outcome",
    /// No majority of the members answers. Nothing was changed.
    NoQuorum = "no_quorum",
    /// The deadline passed while the server waited on purpose.
    Deadline = "deadline",
    /// Older values are being rebuilt on that node.
    PastRebuilding = "past_rebuilding",
    /// An older value is damaged on that node.
    PastDamaged = "past_damaged",
}

impl Reason {
    /// The reason a status carries.
    pub(crate) fn of(status: &Status) -> Self {
        match text(status, REASON) {
            Some(word) => Self::from(word),
            None => Self::Other(format!("{:?}", status.code()).to_lowercase()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one failed attempt means for the call it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// An answer: repeating it elsewhere gives the same.
    Final,
    /// Nothing was changed; another attempt may succeed.
    RetryUntouched,
    /// The attempt may have been applied; repeat it under the same request id.
    RetryUnknown,
    /// No trust between the two sides of this connection. Nothing was changed.
    Untrusted,
}

/// Judges one failed attempt.
pub(crate) fn judge(status: &Status) -> Verdict {
    match text(status, REASON) {
        Some("unknown_outcome") => return Verdict::RetryUnknown,
        Some("no_quorum" | "not_leader" | "deadline") => return Verdict::RetryUntouched,
        Some(_) if status.code() == Code::Unavailable => return Verdict::RetryUntouched,
        Some(_) => return Verdict::Final,
        None => {}
    }
    if let Some(failed) = connection_failure(status) {
        return failed;
    }
    match status.code() {
        // Without a reason these come from the transport or from a server that went away.
        Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Unknown
        | Code::Internal
        | Code::Aborted => Verdict::RetryUnknown,
        Code::Unauthenticated => Verdict::Untrusted,
        _ => Verdict::Final,
    }
}

/// Whether the connection was never made, and if so, for want of trust.
fn connection_failure(status: &Status) -> Option<Verdict> {
    let mut never_connected = false;
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            never_connected = true;
        }
        if tls_failure(error) {
            return Some(Verdict::Untrusted);
        }
        source = error.source();
    }
    never_connected.then_some(Verdict::RetryUntouched)
}

/// What TLS says, if it is TLS that speaks.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    error
        .downcast_ref::<std::io::Error>()
        .and_then(|error| error.get_ref())
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .or_else(|| error.downcast_ref::<rustls::Error>())
}

/// Whether the server has a certificate, and one that another authority than the context's gave out.
fn of_another_authority(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::{CertificateError, Error};
    matches!(
        tls_error(error),
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature
        ))
    )
}

/// Whether this is TLS saying no: our verifier's answer to them, or their alert to us.
fn tls_failure(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::Error;
    matches!(
        tls_error(error),
        Some(
            Error::InvalidCertificate(_)
                | Error::AlertReceived(_)
                | Error::NoCertificatesPresented
                | Error::PeerIncompatible(_)
        )
    )
}

/// Whether the node is well although it could not help: it speaks for the cluster, not for itself.
pub(crate) fn node_is_well(status: &Status) -> bool {
    matches!(
        text(status, REASON),
        Some("no_quorum" | "not_leader" | "deadline" | "unknown_outcome")
    )
}

/// A status' sentence, with what lies under it where the transport made it.
pub(crate) fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !cause.is_empty() && !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        if of_another_authority(error) && !text.ends_with(ANOTHER_AUTHORITY) {
            text.push_str(ANOTHER_AUTHORITY);
        }
        source = error.source();
    }
    text
}

/// What to do when the server is of another cluster, by its certificate.
const ANOTHER_AUTHORITY: &str = "; the server belongs to another cluster than the context: if the \
     cluster was restored from a backup, use the context that `kvd restore` wrote; if its authority \
     was replaced, ask an operator for a new certificate (`kvctl identity issue`)";

/// The revision that a refusal found, where it names one.
pub(crate) fn found(status: &Status) -> Option<Revision> {
    number(status, FOUND).and_then(Revision::new)
}

/// The revision that a refusal wanted or still has, where it names one.
pub(crate) fn expected(status: &Status) -> Option<Revision> {
    number(status, EXPECTED).and_then(Revision::new)
}

/// The leader's member id, if the answer's metadata names it.
pub(crate) fn leader_hint(metadata: &tonic::metadata::MetadataMap) -> Option<u64> {
    metadata.get(LEADER)?.to_str().ok()?.parse().ok()
}

fn number(status: &Status, key: &str) -> Option<u64> {
    text(status, key)?.parse().ok()
}

fn text<'a>(status: &'a Status, key: &str) -> Option<&'a str> {
    status.metadata().get(key)?.to_str().ok()
}

#[cfg(test)]
pub(crate) fn refusal(code: Code, reason: &'static str, message: &str) -> Status {
    let mut status = Status::new(code, message);
    status
        .metadata_mut()
        .insert(REASON, tonic::metadata::MetadataValue::from_static(reason));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_leaves_a_write_unknown_and_a_missing_quorum_does_not() {
        let broken = Status::unavailable("connection reset");
        assert_eq!(judge(&broken), Verdict::RetryUnknown);
        let no_quorum = refusal(Code::Unavailable, "no_quorum", "no leader");
        assert_eq!(judge(&no_quorum), Verdict::RetryUntouched);
        let unknown = refusal(Code::Aborted, "unknown_outcome", "deposed");
        assert_eq!(judge(&unknown), Verdict::RetryUnknown);
    }

    #[test]
    fn a_refusal_with_a_reason_is_final() {
        for (code, reason) in [
            (Code::FailedPrecondition, "conflict"),
            (Code::InvalidArgument, "too_large"),
            (Code::OutOfRange, "compacted"),
            (Code::PermissionDenied, "not_allowed"),
        ] {
            assert_eq!(judge(&refusal(code, reason, "no")), Verdict::Final);
        }
    }

    #[test]
    fn every_known_reason_comes_back_from_its_word() {
        for word in ["conflict", "lease_missing", "no_quorum", "brand_new"] {
            assert_eq!(Reason::from(word).as_str(), word);
        }
    }
}
