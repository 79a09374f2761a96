//! One watch: what it wants to see, and how far it is.

use holdfast_core::Change;
use holdfast_proto::{
    KeyRange,
    etcd::{
        etcdserverpb::{WatchResponse, watch_create_request::FilterType},
        mvccpb::{Event, event::EventType},
    },
};
use prost::Message as _;

use crate::etcd::{convert, veil};

pub(super) struct Watcher {
    pub(super) range: KeyRange,
    /// First revision that it has not seen.
    pub(super) next: u64,
    /// It was there before the newest compaction, for all this stream knows.
    pub(super) settled: bool,
    /// Events carry what was there before.
    pub(super) previous: bool,
    pub(super) puts: bool,
    pub(super) deletes: bool,
    pub(super) fragment: bool,
    /// Wants a mark when there was nothing else for a while.
    pub(super) progress: bool,
    /// Nothing was sent since the last mark was due.
    pub(super) quiet: bool,
}

impl Watcher {
    /// Takes away what it does not want to see.
    pub(super) fn filter(&mut self, filters: impl Iterator<Item = FilterType>) {
        for filter in filters {
            match filter {
                FilterType::Noput => self.puts = false,
                FilterType::Nodelete => self.deletes = false,
            }
        }
    }

    /// Adds what a change means to it. What was there before a compacted revision is not told.
    pub(super) fn see(&self, change: &Change, compacted: u64, events: &mut Vec<Event>) {
        let revision = change.revision.get();
        if revision < self.next {
            return;
        }
        let previous = self.previous && revision > compacted;
        for event in &change.events {
            let wanted = if event.now.is_some() {
                self.puts
            } else {
                self.deletes
            };
            if !wanted || !self.range.contains(event.key.as_bytes()) {
                continue;
            }
            let before = event.before.as_ref();
            let (kind, pair) = match &event.now {
                Some(entry) if veil::hides(entry) => continue,
                None if before.is_some_and(|before| veil::hides(before)) => continue,
                Some(entry) => (
                    EventType::Put,
                    convert::pair(event.key.to_bytes(), entry, true),
                ),
                None => (
                    EventType::Delete,
                    convert::deleted(event.key.to_bytes(), revision),
                ),
            };
            let before = before.filter(|before| previous && !veil::hides(before));
            events.push(Event {
                r#type: kind.into(),
                kv: Some(pair),
                prev_kv: before.map(|entry| convert::pair(event.key.to_bytes(), entry, true)),
            });
        }
    }

    /// The answers that carry `events`: one, or several if it takes fragments.
    pub(super) fn responses(
        &mut self,
        events: Vec<Event>,
        head: WatchResponse,
        send: &mut impl Extend<WatchResponse>,
    ) {
        self.quiet = false;
        let whole = WatchResponse { events, ..head };
        if !self.fragment || whole.encoded_len() <= FRAGMENT_BYTES {
            send.extend([whole]);
            return;
        }
        let mut parts = Vec::new();
        let mut bytes = 0;
        for event in whole.events {
            let more = event.encoded_len() + EVENT_OVERHEAD;
            if parts.is_empty() || bytes + more > FRAGMENT_BYTES {
                parts.push(Vec::new());
                bytes = 0;
            }
            bytes += more;
            if let Some(part) = parts.last_mut() {
                part.push(event);
            }
        }
        let last = parts.len().saturating_sub(1);
        send.extend(
            parts
                .into_iter()
                .enumerate()
                .map(|(index, events)| WatchResponse {
                    events,
                    fragment: index < last,
                    header: whole.header,
                    watch_id: whole.watch_id,
                    ..WatchResponse::default()
                }),
        );
    }
}

/// Above this a message comes in parts, if the watch takes them: etcd's largest request with what
/// surrounds it.
const FRAGMENT_BYTES: usize = 2 * 1024 * 1024;
/// Tag and length of an event in its message.
const EVENT_OVERHEAD: usize = 8;
