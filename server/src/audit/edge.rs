//! Where acts are recorded: at the edge, for every service in one place.

use std::net::SocketAddr;

use bytes::Bytes;
use holdfast_proto::limits;
use http_body_util::{BodyExt as _, Full, Limited};
use tonic::{Code, Status, body::Body};

use super::{
    Audit, Entry,
    acts::{Act, Class},
};
use crate::status::invalid;

/// Who calls, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// `client/NAME`, `node/NAME` or `nobody`.
    pub(crate) identity: String,
    /// Empty: this process.
    pub(crate) address: String,
}

impl Who {
    pub(crate) fn new(identity: String, address: Option<SocketAddr>) -> Self {
        Self {
            identity,
            address: address.map_or_else(String::new, |address| address.to_string()),
        }
    }

    fn entry(&self, act: &str) -> Entry {
        Entry::by(self.identity.clone(), act).from(self.address.clone())
    }
}

impl Audit {
    /// Records what is to be recorded of a request before its service sees it, and by which rule it is
    /// let through; `None`: because of who calls. An error is the
    /// answer: the act was not recorded and must not happen.
    pub(crate) async fn admit(
        &self,
        class: Class,
        who: &Who,
        rule: Option<String>,
        request: http::Request<Body>,
    ) -> Result<http::Request<Body>, Status> {
        let rule = rule.unwrap_or_else(|| CERTIFICATE.to_owned());
        match class {
            Class::Other => Ok(request),
            Class::Noted(act) => {
                self.note(who.entry(act).allowed(rule));
                Ok(request)
            }
            Class::Admin(act) => self.admit_act(act, who, rule, request).await,
        }
    }

    async fn admit_act(
        &self,
        act: Act,
        who: &Who,
        rule: String,
        request: http::Request<Body>,
    ) -> Result<http::Request<Body>, Status> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, limits::MESSAGE_BYTES).collect().await;
        let bytes = body
            .map_err(|error| invalid(format!("the request could not be read: {error}")))?
            .to_bytes();
        let entry = who.entry(act.name).allowed(rule);
        let entry = match message_of(&bytes) {
            Some(message) => act.tell(entry, message),
            None => entry,
        };
        self.record(entry).await?;
        Ok(http::Request::from_parts(
            parts,
            Body::new(Full::new(bytes)),
        ))
    }

    /// Records that a request was refused for want of a right, as well as can be.
    pub(crate) fn note_refusal(&self, who: impl FnOnce() -> Who, path: &str, status: &Status) {
        if matches!(
            status.code(),
            Code::PermissionDenied | Code::Unauthenticated
        ) {
            let entry = who().entry(path.trim_start_matches('/'));
            let why = status.metadata().get(WHY);
            let why = why.and_then(|why| why.to_str().ok());
            self.note_denied(entry.denied(why.unwrap_or(status.message())));
        }
    }
}

/// The one message of a request that is no stream: after a flag and its length.
fn message_of(bytes: &Bytes) -> Option<Bytes> {
    let is_plain = *bytes.first()? == 0;
    (is_plain && bytes.len() >= MESSAGE_AT).then(|| bytes.slice(MESSAGE_AT..))
}

/// Metadata that tells why, where the message has to be somebody else's.
pub(crate) const WHY: &str = "holdfast-why";
const MESSAGE_AT: usize = 5;
/// The rule for what is not the policy's matter.
const CERTIFICATE: &str = "holds a certificate of the cluster";
