//! Passing one call on, and what is said when that does not work.

use std::time::Duration;

use bytes::Bytes;
use holdfast_client::forward::{Forwarding, NotForwarded, refusal};
use holdfast_proto::{KeyRange, v1};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::{
    Code, Response, Status,
    metadata::{KeyAndValueRef, MetadataMap},
};

use super::{Shared, check, grants::Guest, offline, table::Way};

/// Passes a message on; the answer comes as a server gave it.
pub(super) async fn pass(
    shared: &Shared,
    path: &PathAndQuery,
    way: Way,
    message: Bytes,
    timeout: Duration,
) -> Result<Response<Bytes>, Status> {
    let how = Forwarding {
        to_leader: matches!(way, Way::Write | Way::Wait),
        is_local: way == Way::Look,
        waits: way == Way::Wait,
        timeout: match way {
            // It is what a client begins with.
            Way::Look if shared.contact.is_lost() => timeout.min(QUICK),
            _ => timeout,
        },
    };
    sent(shared, path, message, how)
        .await
        .map_err(|error| unanswered(shared, error, how.to_leader, String::new()))
}

/// A range: from a server if one answers; else from here, where the caller does with that.
pub(super) async fn range(
    shared: &Shared,
    path: &PathAndQuery,
    message: Bytes,
    timeout: Duration,
) -> Result<Response<Bytes>, Status> {
    let request = v1::RangeRequest::decode(message.clone()).map_err(|_| {
        refusal(
            Code::InvalidArgument,
            "invalid",
            "the request cannot be read",
        )
    })?;
    let is_local = request.consistency() == v1::Consistency::Local;
    match or_offline(shared, path, message, is_local, timeout).await {
        Ok(answer) => Ok(answer),
        Err(NotForwarded::Refused(status)) => Err(as_it_came(&status)),
        Err(NotForwarded::Unreachable(_) | NotForwarded::Unknown(_)) if is_local => {
            let answer = offline::range(shared, &request)?;
            Ok(Response::new(answer.encode_to_vec().into()))
        }
        Err(error) => {
            let range = KeyRange::from(request.range.unwrap_or_default());
            let instead = offline::instead(shared, &range);
            Err(unanswered(shared, error, false, instead))
        }
    }
}

/// A secret: opened by a server, which records who asked; else from here, if it is here.
pub(super) async fn reveal(
    shared: &Shared,
    path: &PathAndQuery,
    message: Bytes,
    guest: &Guest,
    timeout: Duration,
) -> Result<Response<Bytes>, Status> {
    let mut request: v1::RevealRequest =
        check::read(&message).map_err(|refused| refused.status(guest))?;
    let wanted = match request.reason.trim() {
        "" => wants_no_reason(shared, &request, timeout).await,
        _ => Ok(()),
    };
    let reason = match request.reason.trim() {
        "" => guest.peer.to_string(),
        reason => format!("{}: {reason}", guest.peer),
    };
    // A version that is named is the same wherever it comes from.
    let is_local = request.consistency() == v1::Consistency::Local || request.revision != 0;
    request.reason = reason;
    let message = request.encode_to_vec().into();
    let answer = match wanted {
        Ok(()) => or_offline(shared, path, message, is_local, timeout).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => Ok(answer),
        Err(NotForwarded::Refused(status)) => Err(as_it_came(&status)),
        // What a mirror has was opened with a reason of the agent's own. Nobody records who asks for it
        // here, so a caller that was in a hurry is no reason: it must be known that no server answers.
        Err(NotForwarded::Unreachable(_) | NotForwarded::Unknown(_))
            if is_local && shared.contact.is_lost() =>
        {
            let answer = offline::reveal(shared, &request)?;
            Ok(Response::new(answer.encode_to_vec().into()))
        }
        Err(error) => {
            let instead = match shared.warm.revealing(&KeyRange::prefix(request.key)) {
                Some(_) => "; what it has open is got with local consistency (kvctl: --local)",
                None => "",
            };
            Err(unanswered(shared, error, false, instead.to_owned()))
        }
    }
}

/// Whether the policy lets a secret be opened without saying why. Who asks is no reason.
async fn wants_no_reason(
    shared: &Shared,
    request: &v1::RevealRequest,
    timeout: Duration,
) -> Result<(), NotForwarded> {
    if shared.contact.is_lost() {
        return Err(NotForwarded::Unreachable(String::new()));
    }
    let question = v1::CanRequest {
        capability: v1::Capability::Reveal.into(),
        range: Some(v1::KeyRange {
            key: request.key.clone(),
            end: Bytes::new(),
        }),
        ..v1::CanRequest::default()
    };
    let how = Forwarding {
        to_leader: false,
        is_local: false,
        waits: false,
        timeout: timeout.min(PATIENCE),
    };
    let path = PathAndQuery::from_static("/holdfast.v1.Access/Can");
    let answer = sent(shared, &path, question.encode_to_vec().into(), how).await?;
    match v1::CanResponse::decode(answer.into_inner()) {
        Ok(answer) if !answer.reason_required => Ok(()),
        _ => Err(NotForwarded::Refused(refusal(
            Code::FailedPrecondition,
            "reason_required",
            "a reason has to be given before this secret is opened, for the agent of this node may \
             reveal it by a rule that wants one",
        ))),
    }
}

/// As long as it may take; where there is an answer at hand, not as long.
async fn or_offline(
    shared: &Shared,
    path: &PathAndQuery,
    message: Bytes,
    is_local: bool,
    timeout: Duration,
) -> Result<Response<Bytes>, NotForwarded> {
    if is_local && shared.contact.is_lost() {
        return Err(NotForwarded::Unreachable(String::new()));
    }
    let how = Forwarding {
        to_leader: false,
        is_local,
        waits: false,
        timeout: match is_local {
            true => timeout.min(PATIENCE),
            false => timeout,
        },
    };
    sent(shared, path, message, how).await
}

async fn sent(
    shared: &Shared,
    path: &PathAndQuery,
    message: Bytes,
    how: Forwarding,
) -> Result<Response<Bytes>, NotForwarded> {
    let answer = shared.client.forward(path, message, how).await;
    match answer {
        Ok(answer) => {
            shared.contact.answered();
            let metadata = own(answer.metadata());
            let mut passed = Response::new(answer.into_inner());
            *passed.metadata_mut() = metadata;
            Ok(passed)
        }
        Err(NotForwarded::Refused(status)) => {
            shared.contact.answered();
            Err(NotForwarded::Refused(status))
        }
        Err(error) => {
            // A caller that has less time than servers may take says nothing of them.
            if how.is_local && how.timeout >= PATIENCE {
                shared.contact.lost();
            }
            Err(error)
        }
    }
}

/// What is said for an answer that did not come. `changes`: the call may have changed something.
pub(super) fn unanswered(
    shared: &Shared,
    error: NotForwarded,
    changes: bool,
    instead: String,
) -> Status {
    match error {
        NotForwarded::Refused(status) => as_it_came(&status),
        NotForwarded::Unknown(last) if changes => refusal(
            Code::Aborted,
            "unknown_outcome",
            format!(
                "the agent of this node got no answer (last: {last}); it may or may not have happened, \
                 and repeating the same request tells"
            ),
        ),
        NotForwarded::Unreachable(last) | NotForwarded::Unknown(last) => {
            let last = match last.as_str() {
                "" => String::new(),
                last => format!(" (last: {last})"),
            };
            let message = format!(
                "the agent of this node got no answer{last}, and {}; nothing was changed{instead}",
                shared.contact.since()
            );
            refusal(Code::Unavailable, "no_quorum", message)
        }
        NotForwarded::Untrusted(message) => Status::unauthenticated(format!(
            "the servers and the agent of this node do not trust each other: {message}"
        )),
    }
}

/// A server's refusal, with what programs read of it.
fn as_it_came(status: &Status) -> Status {
    let details = Bytes::copy_from_slice(status.details());
    let metadata = own(status.metadata());
    Status::with_details_and_metadata(status.code(), status.message(), details, metadata)
}

/// One message of a stream.
pub(super) fn item(message: Result<Bytes, Status>) -> Result<Bytes, Status> {
    message.map_err(|status| as_it_came(&status))
}

/// What servers of this kind say beside the answer; the rest is the connection's own matter.
pub(super) fn own(metadata: &MetadataMap) -> MetadataMap {
    let mut kept = MetadataMap::new();
    for entry in metadata.iter() {
        if let KeyAndValueRef::Ascii(key, value) = entry
            && key.as_str().starts_with("holdfast-")
        {
            kept.insert(key.clone(), value.clone());
        }
    }
    kept
}

/// Where there is an answer at hand, servers have so long to give theirs.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
const QUICK: Duration = Duration::from_millis(300);
