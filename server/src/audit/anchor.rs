//! Telling the cluster of the head of this node's log, so that the log cannot be made anew.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_core::Anchor;
use holdfast_proto::log::v1::{self as log, command::Body};

use super::Head;
use crate::host::Host;

/// Anchors until the node stops: every so many records, and else some seconds after the newest.
pub(crate) async fn run(host: Arc<Host>) {
    let mut heads = host.audit.heads();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let at_once = tokio::select! {
            _ = ticks.tick() => true,
            changed = heads.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            () = host.closing.cancelled() => return,
        };
        let head = *heads.borrow_and_update();
        let anchored = host.read(|state| state.anchors(host.id).next_back().copied());
        let known = anchored.map_or(0, |anchor| anchor.sequence);
        match anchored {
            Some(Anchor { sequence, hash, .. }) if sequence > head.sequence => {
                host.audit.go_on_after(sequence, *hash.as_bytes());
            }
            _ if head.sequence >= known + RECORDS || (at_once && head.sequence > known) => {
                propose(&host, head).await;
            }
            _ => {}
        }
    }
}

async fn propose(host: &Host, head: Head) {
    let body = Body::AuditAnchor(log::AuditAnchor {
        member: host.id.0,
        sequence: head.sequence,
        hash: Bytes::copy_from_slice(&head.hash),
    });
    let deadline = Instant::now() + EVERY;
    let proposed = host.propose_own(host.author(), String::new(), body, deadline);
    tokio::select! {
        proposed = proposed => if let Err(status) = proposed {
            tracing::debug!(%status, "the audit log was not anchored yet");
        },
        () = host.closing.cancelled() => {}
    }
}

/// Records that may come before an anchor.
const RECORDS: u64 = 256;
/// How long a record may stand without one.
const EVERY: Duration = Duration::from_secs(3);
