//! What somebody may not do, in words.

use std::fmt;

use holdfast_core::access::{Capability, Decision, Target};
use holdfast_proto::{Key, KeyRange};
use tonic::Status;

use crate::status::Reason;

/// A request that no rule allows, or that one denies. Nothing was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denied(String);

impl Denied {
    /// By a decision.
    pub(super) fn by(
        author: &str,
        capability: Capability,
        target: Target<'_>,
        decision: &Decision<'_>,
    ) -> Self {
        let what = What(capability, target);
        Self(match decision.by {
            // What one rule denies, no other allows.
            Some(rule) => format!(
                "{author} may not {what}: {rule} denies it; nothing was done, and no other role helps"
            ),
            None => format!(
                "{author} may not {what}: no rule allows it; nothing was done, ask an administrator \
                 for a role that allows it"
            ),
        })
    }

    /// At the door: there is nothing that the method could be used on.
    pub(super) fn anywhere(author: &str, what: impl fmt::Display) -> Self {
        Self(format!(
            "{author} may not {what} anything: no rule allows it; nothing was done, ask an \
             administrator for a role that does"
        ))
    }

    /// An identity that was revoked.
    pub(super) fn revoked(author: &str) -> Self {
        Self(format!(
            "{author} was revoked and is let in no more; ask an administrator for a certificate of \
             another name"
        ))
    }

    /// What happened and what to do.
    pub(crate) fn message(&self) -> &str {
        &self.0
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        Reason::NotAllowed.status(denied.0)
    }
}

/// `read app/db`
struct What<'a>(Capability, Target<'a>);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(capability, target) = self;
        match target {
            Target::Cluster => match capability.is_admin() {
                true => write!(f, "act as {capability}"),
                false => write!(f, "{capability} every key"),
            },
            Target::Key(key) => write!(f, "{capability} {}", Shown(key)),
            Target::Range(range) => write!(f, "{capability} {}", shown(range)),
        }
    }
}

/// A range as people say it.
pub(super) fn shown(range: &KeyRange) -> String {
    if let Some(key) = range.as_single() {
        return Shown(key).to_string();
    }
    if *range == KeyRange::all() {
        return "every key".to_owned();
    }
    let start = range.start();
    match *range == KeyRange::prefix(start.clone()) {
        true => format!("the keys under {}", Shown(start)),
        false => format!("the range from {}", Shown(start)),
    }
}

/// Bytes that may be no key.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Key::new(bytes::Bytes::copy_from_slice(self.0)) {
            Ok(key) => write!(f, "{key}"),
            Err(_) => f.write_str("a key that cannot be"),
        }
    }
}
