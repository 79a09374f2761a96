//! Answers of the agent's own, where no server answers: from its mirrors, with their true age.
//!
//! Invariants: (1) nothing here looks newer than it is: how old a mirror is is asked before what it has.
//! (2) Whether the peer may have it was checked before.

use bytes::Bytes;
use holdfast_client::{
    Entry, Mirror,
    forward::{refusal, to_wire},
};
use holdfast_proto::{KeyRange, v1};
use prost::Message as _;
use tonic::{Code, Status};

use super::{Shared, contact::spoken, denied::shown, warm::Freshness};

/// A range, as the mirrors have it.
pub(super) fn range(
    shared: &Shared,
    request: &v1::RangeRequest,
) -> Result<v1::RangeResponse, Status> {
    let range = KeyRange::from(request.range.clone().unwrap_or_default());
    let Some(mirror) = shared.warm.covering(&range) else {
        return Err(nothing(shared, &shown(&range)));
    };
    let freshness = Freshness::of(&mirror);
    let view = mirror.view();
    let revision = match request.revision {
        0 => view.revision(),
        // It is known to have been the same all that time.
        asked if (view.changed()..=view.revision()).contains(&asked) => asked,
        asked => {
            let what = format!("{} as of revision {asked}", shown(&range));
            return Err(nothing(shared, &what));
        }
    };
    let mut entries = view.range(&range);
    let mut answer = v1::RangeResponse {
        header: Some(freshness.header(shared.client.cluster_name(), view.revision())),
        count: view.range(&range).count() as u64,
        revision,
        ..v1::RangeResponse::default()
    };
    if request.count_only {
        return Ok(answer);
    }
    let limit = match request.limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let mut bytes = 0;
    for entry in entries.by_ref() {
        if answer.entries.len() >= limit || bytes > PAGE_BYTES {
            answer.more = true;
            answer.next_key = entry.key.to_bytes();
            break;
        }
        let mut wire = to_wire(entry);
        if request.keys_only {
            wire.value = None;
        }
        bytes += wire.encoded_len();
        answer.entries.push(wire);
    }
    Ok(answer)
}

/// A secret that a mirror has open: the very version that was asked for.
pub(super) fn reveal(
    shared: &Shared,
    request: &v1::RevealRequest,
) -> Result<v1::RevealResponse, Status> {
    let key = KeyRange::from(v1::KeyRange {
        key: request.key.clone(),
        end: Bytes::new(),
    });
    let none = || nothing(shared, &format!("that version of {}", shown(&key)));
    let mirror = shared.warm.revealing(&key).ok_or_else(none)?;
    let freshness = Freshness::of(&mirror);
    let revision = mirror.revision();
    let kept = mirror.secret(&request.key).ok_or_else(none)?;
    let is_meant = match request.revision {
        0 => kept.is_newest,
        asked => {
            kept.entry().modified.get() == asked
                || kept.is_newest && (kept.entry().modified.get()..=revision).contains(&asked)
        }
    };
    if !is_meant {
        return Err(none());
    }
    tracing::info!(
        key = shown(&key),
        version = kept.entry().version,
        reason = request.reason,
        "a secret was opened while no server answered"
    );
    Ok(v1::RevealResponse {
        header: Some(freshness.header(shared.client.cluster_name(), revision)),
        plaintext: Bytes::copy_from_slice(kept.secret().expose()),
        entry: Some(v1::Entry {
            value: None,
            ..to_wire(kept.entry())
        }),
    })
}

/// What a service that must have the newest is told, beside that there is none: what there is.
pub(super) fn instead(shared: &Shared, range: &KeyRange) -> String {
    let Some(mirror) = shared.warm.covering(range) else {
        return String::new();
    };
    format!(
        "; it has revision {} of {}, which a read with local consistency gets (kvctl: --local)",
        mirror.revision(),
        ago(&mirror)
    )
}

fn ago(mirror: &Mirror) -> String {
    match Freshness::of(mirror).age() {
        std::time::Duration::MAX => "an unknown time ago".to_owned(),
        age => format!("{} ago", spoken(age)),
    }
}

fn nothing(shared: &Shared, what: &str) -> Status {
    let message = format!(
        "the agent of this node does not have {what}, and {}; nothing was done, try again",
        shared.contact.since()
    );
    refusal(Code::Unavailable, "no_quorum", message)
}

/// Entries as they are sent, in parts that fit in a message.
pub(super) fn parts<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Vec<v1::Entry>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for entry in entries {
        let wire = to_wire(entry);
        let more = wire.encoded_len();
        if bytes > 0 && bytes + more > PAGE_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            part.push(wire);
        }
    }
    parts
}

/// Well below what a message may have.
const PAGE_BYTES: usize = 1024 * 1024;
