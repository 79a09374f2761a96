//! What is to be recorded, before it has its place in the chain.

use bytes::Bytes;
use holdfast_proto::v1::{self, AuditDecision, AuditRecord};
use http::Extensions;

use crate::caller::Caller;

/// One act, by somebody, and whether it is let happen. Holds no value, token or key of anybody.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    record: AuditRecord,
}

impl Entry {
    /// `act` (a method's full name, such as `holdfast.v1.Secrets/Reveal`) by the caller of a request.
    pub(crate) fn by_caller(extensions: &Extensions, act: &str) -> Self {
        let who = Caller::among(extensions).who();
        Self::by(who.identity, act).from(who.address)
    }

    /// `act` by `identity`: `client/NAME` or `node/NAME`.
    pub(crate) fn by(identity: impl Into<String>, act: &str) -> Self {
        let mut entry = Self::default();
        entry.record.identity = short(identity.into());
        entry.record.act = act.to_owned();
        entry.record.decision = AuditDecision::Allowed.into();
        entry
    }

    /// Where the caller connected from.
    pub(crate) fn from(mut self, address: impl Into<String>) -> Self {
        self.record.address = short(address.into());
        self
    }

    /// What it is done to: a key, or in words.
    pub(crate) fn target(mut self, target: impl Into<Bytes>) -> Self {
        let target: Bytes = target.into();
        // Copied, so as not to hold on to a request.
        self.record.target = Bytes::copy_from_slice(&target[..target.len().min(TEXT_BYTES)]);
        self
    }

    /// The version that is concerned.
    pub(crate) fn revision(mut self, revision: u64) -> Self {
        self.record.revision = revision;
        self
    }

    /// The rule by which it is let happen.
    pub(crate) fn allowed(mut self, rule: impl Into<String>) -> Self {
        self.record.decision = AuditDecision::Allowed.into();
        self.record.rule = short(rule.into());
        self
    }

    /// The rule by which it is not.
    pub(crate) fn denied(mut self, rule: impl Into<String>) -> Self {
        self.record.decision = AuditDecision::Denied.into();
        self.record.rule = short(rule.into());
        self
    }

    /// Why, in the caller's words.
    pub(crate) fn reason(mut self, reason: impl Into<String>) -> Self {
        self.record.reason = short(reason.into());
        self
    }

    /// Under which request id.
    pub(crate) fn request(mut self, request: Option<&v1::RequestId>) -> Self {
        self.record.request = request.map_or_else(String::new, |request| {
            let session = &request.session[..request.session.len().min(16)];
            format!("{}:{}", hex::encode(session), request.sequence)
        });
        self
    }

    /// So many denied attempts before this one were not recorded.
    pub(super) fn unrecorded(mut self, attempts: u64) -> Self {
        self.record.unrecorded = attempts;
        self
    }

    /// What the log says about itself.
    pub(super) fn of_the_log(act: &str, what: impl Into<String>) -> Self {
        let mut entry = Self::by(String::new(), act).reason(what);
        entry.record.decision = AuditDecision::Unspecified.into();
        entry
    }

    pub(super) fn is_act(&self, act: &str) -> bool {
        self.record.act == act
    }

    /// As it goes into the chain.
    pub(super) fn into_record(self, sequence: u64, at_ms: u64) -> AuditRecord {
        AuditRecord {
            sequence,
            at_ms,
            ..self.record
        }
    }
}

/// Cut at a whole character: a record has a bounded size, whatever the caller says.
fn short(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_BYTES - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// The longest that any one field is.
const TEXT_BYTES: usize = 1024;
