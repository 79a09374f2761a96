//! What a peer is told that may not do what it asked for.

use holdfast_client::forward::refusal;
use holdfast_proto::{Key, KeyRange};
use tonic::{Code, Status};

use super::grants::Guest;

/// Why a message is not passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No entry allows it.
    Denied { what: What, range: KeyRange },
    /// Only who may make every call may make this one; in words, what it is about.
    Operators(&'static str),
    /// It makes no sense.
    Invalid(&'static str),
    /// It has parts that this agent does not know, so it cannot be checked.
    Unknown,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Read,
    Write,
    Reveal,
}

impl Refused {
    pub(super) fn status(&self, guest: &Guest) -> Status {
        let peer = &guest.peer;
        let denied = |message| refusal(Code::PermissionDenied, "not_allowed", message);
        match self {
            Self::Denied { what, range } => {
                let (verb, advice) = match what {
                    What::Read => ("read", "a prefix that covers it"),
                    What::Write => ("write", "a prefix that covers it and `write = true`"),
                    What::Reveal => ("reveal", "a prefix that covers it and `reveal = true`"),
                };
                denied(format!(
                    "{peer} may not {verb} {} through the agent of this node; nothing was done: its \
                     settings need a [[socket.allow]] for it with {advice}",
                    shown(range)
                ))
            }
            Self::Operators(what) => denied(format!(
                "{peer} may not use {what} through the agent of this node; nothing was done: that takes \
                 a [[socket.allow]] with `all = true` in its settings, or a context that goes to the \
                 servers itself"
            )),
            Self::Invalid(why) => refusal(Code::InvalidArgument, "invalid", *why),
            Self::Unknown => refusal(
                Code::InvalidArgument,
                "invalid",
                "the request has parts that the agent of this node does not know, and so it cannot say \
                 whether they are allowed; update kvagent",
            ),
        }
    }
}

/// The answer to everything that somebody asks whom no entry names.
pub(super) fn nobody(guest: &Guest) -> Status {
    let message = format!(
        "{} is in no [[socket.allow]] of this agent's settings, so it may do nothing through it; add one \
         with {} and its prefixes, and start the agent again",
        guest.peer,
        guest.peer.as_setting()
    );
    refusal(Code::PermissionDenied, "not_allowed", message)
}

/// A range as people say it.
pub(super) fn shown(range: &KeyRange) -> String {
    let start = match Key::new(range.start().clone()) {
        Ok(key) => key.to_string(),
        Err(_) if range.start().is_empty() => String::new(),
        Err(_) => "a key that cannot be".to_owned(),
    };
    if range.as_single().is_some() {
        return start;
    }
    match *range == KeyRange::prefix(range.start().clone()) {
        true if start.is_empty() => "every key".to_owned(),
        true => format!("the keys under {start}"),
        false => format!("the range from {start}"),
    }
}
