//! Why an operation failed: one enum each, and each variant says what state things are in.

use std::{path::PathBuf, time::Duration};

use holdfast_proto::{Key, Revision};
use tonic::Status;

use crate::{
    reason::{self, Reason},
    write::Expected,
};

/// Why a read failed. A read changes nothing, so repeating it is always safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The revision asked for is no longer kept.
    #[error("{message}; ask for a newer revision")]
    Compacted {
        /// The oldest revision that is still there, if the server told.
        oldest: Option<Revision>,
        /// The server's words.
        message: String,
    },
    /// The revision asked for does not exist yet.
    #[error("{message}; ask for a revision that was already written")]
    Future {
        /// The newest revision, if the server told.
        newest: Option<Revision>,
        /// The server's words.
        message: String,
    },
    /// No server answered before the deadline.
    #[error(
        "no server gave an answer within {waited:?} (last: {last}); check that a majority of the nodes runs and that the context's endpoints are right"
    )]
    Unreachable {
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// The two sides do not trust each other: wrong or stale certificates, or the wrong cluster.
    #[error(
        "the server and this client do not trust each other: {message}; use a context that the cluster wrote for this client"
    )]
    Unauthorized {
        /// What was wrong.
        message: String,
    },
    /// Refused: the policy does not let this client do that. The same to every node, so it is not
    /// tried again.
    #[error("{message}")]
    Denied {
        /// Who may not do what, and which rule says so.
        message: String,
    },
    /// What was asked for makes no sense.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it.
        message: String,
    },
    /// The server refused for another reason.
    #[error("{message} ({reason})")]
    Refused {
        /// The reason as a word.
        reason: Reason,
        /// The server's words.
        message: String,
    },
}

/// Why a write failed. Each variant says whether it may have happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Not written: the key has moved on. Read it again, then decide.
    #[error(
        "{key} is {}, not {expected}; nothing was written, read it again and decide",
        at(found)
    )]
    Conflict {
        /// The key.
        key: Key,
        /// What the caller expected.
        expected: Expected,
        /// The key's revision now; `None`: it does not exist.
        found: Option<Revision>,
    },
    /// Not written: the server refused.
    #[error("{message}; nothing was written ({reason})")]
    Refused {
        /// The reason as a word.
        reason: Reason,
        /// The server's words.
        message: String,
    },
    /// May have been written, or may yet be: the deadline passed while the same request was
    /// repeated without an answer. Read the key to see.
    #[error(
        "no answer within {waited:?} (last: {last}); the write may or may not have happened, read the key to see"
    )]
    Unknown {
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// Not written: no server took the request before the deadline.
    #[error(
        "no server took the write within {waited:?} (last: {last}); nothing was written; check that a majority of the nodes runs and that the context's endpoints are right"
    )]
    Unreachable {
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// Not written: the two sides do not trust each other.
    #[error(
        "the server and this client do not trust each other: {message}; nothing was written; use a context that the cluster wrote for this client"
    )]
    Unauthorized {
        /// What was wrong.
        message: String,
    },
    /// Not written: the policy does not let this client do that. The same to every node, so it is not
    /// tried again.
    #[error("{message}")]
    Denied {
        /// Who may not do what, and which rule says so.
        message: String,
    },
    /// Not written: what was asked for makes no sense.
    #[error("{message}; nothing was written")]
    Invalid {
        /// What is wrong with it.
        message: String,
    },
}

impl WriteError {
    /// Whether the write may have happened all the same.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// Why a watch ended. A lost connection does not end one: it resumes on its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// No server could be reached for as long as [`crate::WatchOptions::give_up_after`] allows.
    #[error(
        "no server was reachable for {waited:?} (last: {last}); nothing was missed so far, watch again from the last revision seen"
    )]
    Unreachable {
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// The two sides do not trust each other.
    #[error(
        "the server and this client do not trust each other: {message}; use a context that the cluster wrote for this client"
    )]
    Unauthorized {
        /// What was wrong.
        message: String,
    },
    /// It is over: the policy does not let this client do that. The same to every node, so it is not
    /// tried again.
    #[error("{message}")]
    Denied {
        /// Who may not do what, and which rule says so.
        message: String,
    },
    /// The server refused the watch.
    #[error("{message} ({reason})")]
    Refused {
        /// The reason as a word.
        reason: Reason,
        /// The server's words.
        message: String,
    },
    /// A server sent what this version does not understand.
    #[error("{message}; update this program")]
    Invalid {
        /// What it was.
        message: String,
    },
}

/// Why a lock is not held, or an election not won.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds it, and the caller did not want to wait (longer).
    #[error("{name} is held by somebody else (waited {waited:?}); try again later or wait longer")]
    Held {
        /// The lock's name.
        name: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The lease ran out while waiting or holding: whatever was held is not held any more.
    #[error("the lease behind {name} is gone; the lock is not held, take it again")]
    Lost {
        /// The lock's name.
        name: String,
    },
    /// The cluster refused, was out of reach, or left it open.
    #[error("the lock is not held")]
    Write(#[from] WriteError),
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The context's certificate, key or CA cannot be used.
    #[error("the context's {what} cannot be used: {why}; write the context anew")]
    Credentials {
        /// Which of them.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// An endpoint is not `HOST:PORT`.
    #[error("endpoint {endpoint:?} is not HOST:PORT; correct it in the context file")]
    Endpoint {
        /// As written.
        endpoint: String,
    },
    /// There is nothing to connect to.
    #[error("the context names no endpoint; add at least one HOST:PORT to `endpoints`")]
    NoEndpoints,
    /// The agent of this node could not be reached.
    #[error(
        "no agent answered within {waited:?} (last: {last}); check that kvagent runs here and that its \
         settings have this [socket]"
    )]
    NoAgent {
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met, with the socket.
        last: String,
    },
    /// The agent of this node does not serve this user.
    #[error("the agent at {} refuses: {message}", socket.display())]
    AgentRefuses {
        /// Its socket.
        socket: PathBuf,
        /// Its words.
        message: String,
    },
    /// This system has no Unix sockets, so there is no agent on it.
    #[error(
        "{} is a Unix socket, which this system does not have; use a context that names endpoints",
        socket.display()
    )]
    NoSockets {
        /// The socket.
        socket: PathBuf,
    },
    /// The machine gave no thread for the client's own runtime (`blocking` only).
    #[error("no runtime could be started: {0}; check the limits on threads and open files")]
    Runtime(String),
    /// No server answered in time.
    #[error(
        "no server answered within {waited:?} (last: {last}); check that the nodes run and that the context's endpoints are right"
    )]
    Unreachable {
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        last: String,
    },
    /// The servers and this client do not trust each other.
    #[error(
        "the servers and this client do not trust each other: {message}; use a context that the cluster wrote for this client"
    )]
    Unauthorized {
        /// What was wrong.
        message: String,
    },
}

/// How a call ended without an answer that the caller can use.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A server's final answer.
    Refused(Status),
    /// The deadline passed and an attempt may have been applied.
    Unknown { waited: Duration, last: String },
    /// The deadline passed and no attempt can have been applied.
    Unreachable { waited: Duration, last: String },
    /// No endpoint and this client trust each other.
    Untrusted { message: String },
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown { waited, last } | Failure::Unreachable { waited, last } => {
                Self::Unreachable { waited, last }
            }
            Failure::Untrusted { message } => Self::Unauthorized { message },
            Failure::Refused(status) => {
                let message = sentence(&status);
                match (Reason::of(&status), status.code()) {
                    (Reason::Compacted, _) => Self::Compacted {
                        oldest: reason::expected(&status).or_else(|| reason::found(&status)),
                        message,
                    },
                    (Reason::Future, _) => Self::Future {
                        newest: reason::found(&status),
                        message,
                    },
                    (Reason::NotAllowed, _) => Self::Denied { message },
                    (Reason::WrongCluster, _)
                    | (_, tonic::Code::Unauthenticated | tonic::Code::PermissionDenied) => {
                        Self::Unauthorized { message }
                    }
                    (_, tonic::Code::InvalidArgument) => Self::Invalid { message },
                    (reason, _) => Self::Refused { reason, message },
                }
            }
        }
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown { waited, last } => Self::Unknown { waited, last },
            Failure::Unreachable { waited, last } => Self::Unreachable { waited, last },
            Failure::Untrusted { message } => Self::Unauthorized { message },
            Failure::Refused(status) => {
                let message = sentence(&status);
                match (Reason::of(&status), status.code()) {
                    (Reason::NotAllowed, _) => Self::Denied { message },
                    (Reason::WrongCluster, _)
                    | (_, tonic::Code::Unauthenticated | tonic::Code::PermissionDenied) => {
                        Self::Unauthorized { message }
                    }
                    (reason, _) => Self::Refused { reason, message },
                }
            }
        }
    }
}

impl From<Failure> for WatchError {
    fn from(failure: Failure) -> Self {
        match ReadError::from(failure) {
            ReadError::Unreachable { waited, last } => Self::Unreachable { waited, last },
            ReadError::Unauthorized { message } => Self::Unauthorized { message },
            ReadError::Denied { message } => Self::Denied { message },
            ReadError::Refused { reason, message } => Self::Refused { reason, message },
            ReadError::Compacted { message, .. } => Self::Refused {
                reason: Reason::Compacted,
                message,
            },
            ReadError::Future { message, .. } => Self::Refused {
                reason: Reason::Future,
                message,
            },
            ReadError::Invalid { message } => Self::Refused {
                reason: Reason::Other("invalid".to_owned()),
                message,
            },
        }
    }
}

/// The server's sentence without the full stop, so that it can be gone on with.
fn sentence(status: &Status) -> String {
    let message = status.message().trim_end_matches('.');
    if message.is_empty() {
        format!("the server refused with {:?}", status.code())
    } else {
        message.to_owned()
    }
}

fn at(found: &Option<Revision>) -> String {
    match found {
        Some(revision) => format!("at revision {revision}"),
        None => "absent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_what_was_found_and_that_nothing_was_written() {
        let error = WriteError::Conflict {
            key: Key::try_from("a/b").unwrap(),
            expected: Expected::At(Revision::new(3).unwrap()),
            found: Revision::new(7),
        };
        assert_eq!(
            error.to_string(),
            "a/b is at revision 7, not at revision 3; nothing was written, read it again and decide"
        );
        assert!(!error.may_have_happened());
    }

    #[test]
    fn what_the_policy_denies_is_told_from_a_want_of_trust() {
        let words = "client/bob may not read a: no rule allows it";
        let status = || reason::refusal(tonic::Code::PermissionDenied, "not_allowed", words);
        let read = ReadError::from(Failure::Refused(status()));
        assert!(matches!(&read, ReadError::Denied { message } if message == words));
        let write = WriteError::from(Failure::Refused(status()));
        assert!(matches!(&write, WriteError::Denied { message } if message == words));
        let watch = WatchError::from(Failure::Refused(status()));
        assert_eq!(watch.to_string(), words);
        let removed = reason::refusal(tonic::Code::PermissionDenied, "removed", "removed");
        let read = ReadError::from(Failure::Refused(removed));
        assert!(matches!(read, ReadError::Unauthorized { .. }));
    }

    #[test]
    fn a_refusal_keeps_the_reason_and_the_words() {
        let status = reason::refusal(
            tonic::Code::NotFound,
            "lease_missing",
            "lease 00000000000000ff is gone.",
        );
        let error = WriteError::from(Failure::Refused(status));
        assert_eq!(
            error.to_string(),
            "lease 00000000000000ff is gone; nothing was written (lease_missing)"
        );
    }
}
