//! A peer's watch: one of the agent's own behind each, which goes on over the loss of servers.
//!
//! Where a peer wants the range as it is and no server says it in time, it gets what the agent's mirror
//! has, with its age; what came after that follows from the servers, once they are back.

use std::time::Duration;

use bytes::Bytes;
use holdfast_client::{
    EventKind, Revision, Watch, WatchError, WatchEvent, WatchItem, WatchOptions,
    forward::{refusal, to_wire},
};
use holdfast_proto::{
    KeyRange,
    v1::{self, watch_request::Request as Asked, watch_response::Body},
};
use prost::Message as _;
use std::sync::Arc;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{Shared, forward::PATIENCE, offline, warm::Freshness};

/// What goes to the peer.
pub(super) type Answers = ReceiverStream<Result<Bytes, Status>>;

/// The watch of one peer.
struct Watching {
    shared: Arc<Shared>,
    range: KeyRange,
    watch: Watch,
    options: WatchOptions,
    answers: mpsc::Sender<Result<Bytes, Status>>,
    /// The range as it is was asked for, and has not been sent.
    owes_snapshot: bool,
    /// It goes to nobody any more, or it is over.
    is_over: bool,
    said_at: Instant,
}

/// Begins one; the peer may have what it asks for.
pub(super) fn begin(
    shared: Arc<Shared>,
    create: v1::WatchCreate,
    requests: Streaming<Bytes>,
) -> Answers {
    let (answers, stream) = mpsc::channel(AHEAD);
    let range = KeyRange::from(create.range.unwrap_or_default());
    let every = match create.progress_ms {
        0 => PROGRESS,
        every => Duration::from_millis(every).clamp(SHORTEST_PROGRESS, LONGEST_PROGRESS),
    };
    let options = WatchOptions {
        from: Revision::new(create.from),
        snapshot: create.snapshot,
        previous: create.previous,
        // A server that is silent is given up after three of these.
        progress: every.min(PROGRESS),
        give_up_after: None,
    };
    let watching = Watching {
        watch: shared.client.watch(range.clone(), options.clone()),
        shared,
        range,
        options,
        answers,
        owes_snapshot: create.snapshot,
        is_over: false,
        said_at: Instant::now(),
    };
    tokio::spawn(watching.run(requests, every));
    ReceiverStream::new(stream)
}

impl Watching {
    async fn run(mut self, mut requests: Streaming<Bytes>, every: Duration) {
        if !self.establish().await {
            return;
        }
        let answers = self.answers.clone();
        let mut hears = true;
        let mut beats = tokio::time::interval(every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = match self.shared.contact.is_lost() {
            true => Duration::ZERO,
            false => PATIENCE,
        };
        let mut look = Instant::now() + patience;
        while !self.is_over {
            tokio::select! {
                () = answers.closed() => return,
                item = self.watch.next() => match item {
                    Ok(item) => self.tell(item).await,
                    Err(error) => self.end(error).await,
                },
                asked = requests.message(), if hears => match asked {
                    Ok(Some(message)) => self.answer(&message).await,
                    Ok(None) => hears = false,
                    Err(_) => return,
                },
                () = sleep_until(look), if self.owes_snapshot => {
                    self.tell_what_there_is().await;
                    look = Instant::now() + PATIENCE;
                }
                _ = beats.tick() => self.beat(every).await,
            }
        }
    }

    /// Says where events begin. `false`: nobody wants to know any more.
    async fn establish(&mut self) -> bool {
        let from = match (self.options.snapshot, self.options.from) {
            (true, _) => 0,
            (false, Some(from)) => from.get(),
            (false, None) => {
                let answers = self.answers.clone();
                tokio::select! {
                    () = answers.closed() => return false,
                    established = self.watch.established() => match established {
                        Ok(from) => from.map_or(0, Revision::get),
                        Err(error) => {
                            self.end(error).await;
                            return false;
                        }
                    }
                }
            }
        };
        self.say(self.header(), Body::Created(v1::WatchCreated { from }))
            .await;
        true
    }

    /// An item of a server's.
    async fn tell(&mut self, item: WatchItem) {
        self.shared.contact.answered();
        let header = self.header();
        match item {
            WatchItem::Events { revision, events } => {
                for events in messages(events, revision) {
                    self.say(header.clone(), Body::Events(events)).await;
                }
            }
            WatchItem::Progress { revision } => {
                self.say(header, Body::Progress(v1::WatchProgress { revision }))
                    .await;
            }
            WatchItem::Reset { revision, entries } => {
                if !self.owes_snapshot {
                    let compacted = v1::WatchCompacted {
                        compacted: revision,
                    };
                    self.say(header.clone(), Body::Compacted(compacted)).await;
                }
                self.say_snapshot(header, revision, offline::parts(entries.iter()))
                    .await;
            }
            _ => {}
        }
    }

    /// The servers are silent: what the mirror has will do for now.
    async fn tell_what_there_is(&mut self) {
        let Some(mirror) = self.shared.warm.covering(&self.range) else {
            return;
        };
        let freshness = Freshness::of(&mirror);
        let view = mirror.view();
        let revision = view.revision();
        let header = freshness.header(self.shared.client.cluster_name(), revision);
        let entries = view.range(&self.range).map(|entry| &**entry);
        self.say_snapshot(header, revision, offline::parts(entries))
            .await;
        // What came after it, from whoever answers next.
        self.options.snapshot = false;
        self.options.from = Revision::new(revision + 1);
        let (range, options) = (self.range.clone(), self.options.clone());
        self.watch = self.shared.client.watch(range, options);
    }

    async fn say_snapshot(
        &mut self,
        header: v1::Header,
        revision: u64,
        parts: Vec<Vec<v1::Entry>>,
    ) {
        let last = parts.len() - 1;
        for (place, entries) in parts.into_iter().enumerate() {
            let part = v1::WatchSnapshot {
                revision,
                entries,
                last: place == last,
            };
            self.say(header.clone(), Body::Snapshot(part)).await;
        }
        self.owes_snapshot = false;
    }

    /// A word of the peer's.
    async fn answer(&mut self, message: &Bytes) {
        let asked = v1::WatchRequest::decode(message.clone());
        match asked.map(|message| message.request) {
            Ok(Some(Asked::Progress(_))) => self.watch.request_progress(),
            _ => {
                let words = "one stream carries one watch; open another for the next";
                self.fail(refusal(Code::InvalidArgument, "invalid", words))
                    .await;
            }
        }
    }

    /// So that the peer does not take the agent for dead while it is the servers that are silent. What it
    /// says is true and nothing new, and it says that no server says it.
    async fn beat(&mut self, every: Duration) {
        let Some(revision) = self.watch.delivered() else {
            return;
        };
        if self.owes_snapshot || self.said_at.elapsed() < every {
            return;
        }
        let header = v1::Header {
            origin: v1::Origin::AgentMemory.into(),
            ..self.header()
        };
        self.say(header, Body::Progress(v1::WatchProgress { revision }))
            .await;
    }

    fn header(&self) -> v1::Header {
        v1::Header {
            cluster: self.shared.client.cluster_name().to_owned(),
            revision: self.watch.delivered().unwrap_or(0),
            ..v1::Header::default()
        }
    }

    async fn say(&mut self, header: v1::Header, body: Body) {
        let response = v1::WatchResponse {
            header: Some(header),
            body: Some(body),
        };
        let sent = self.answers.send(Ok(response.encode_to_vec().into())).await;
        self.is_over |= sent.is_err();
        self.said_at = Instant::now();
    }

    async fn end(&mut self, error: WatchError) {
        self.fail(status(error)).await;
    }

    async fn fail(&mut self, status: Status) {
        self.is_over = true;
        // Nobody listens: nobody is to be told.
        let _ = self.answers.send(Err(status)).await;
    }
}

/// Why the watch is over, as a server would have said it.
fn status(error: WatchError) -> Status {
    match error {
        WatchError::Denied { message } => refusal(Code::PermissionDenied, "not_allowed", message),
        WatchError::Unauthorized { message } => Status::unauthenticated(format!(
            "the servers and the agent of this node do not trust each other: {message}"
        )),
        WatchError::Refused { reason, message } => {
            let code = match reason.as_str() {
                "compacted" | "future" => Code::OutOfRange,
                _ => Code::FailedPrecondition,
            };
            let mut status = Status::new(code, message);
            if let Ok(word) = reason.as_str().parse() {
                status.metadata_mut().insert("holdfast-reason", word);
            }
            status
        }
        other => refusal(Code::Internal, "internal", other.to_string()),
    }
}

/// Events of whole revisions, in messages that are not too large. Each says up to where everything was
/// delivered with it.
fn messages(events: Vec<WatchEvent>, revision: u64) -> Vec<v1::WatchEvents> {
    let mut done = Vec::new();
    let (mut open, mut bytes) = (v1::WatchEvents::default(), 0);
    for event in events {
        let at = event.entry.modified.get();
        let event = wire(&event);
        let more = event.encoded_len();
        if bytes > 0 && bytes + more > PART_BYTES {
            // What this one is of is not whole yet.
            open.revision = at - 1;
            done.push(std::mem::take(&mut open));
            bytes = 0;
        }
        bytes += more;
        open.events.push(event);
    }
    open.revision = revision;
    done.push(open);
    done
}

fn wire(event: &WatchEvent) -> v1::Event {
    let kind = match event.kind {
        EventKind::Put => v1::event::Type::Put,
        EventKind::Delete => v1::event::Type::Delete,
    };
    v1::Event {
        r#type: kind.into(),
        entry: Some(to_wire(&event.entry)),
        previous: event.previous.as_ref().map(to_wire),
    }
}

/// Messages that wait for a slow peer.
const AHEAD: usize = 8;
const PART_BYTES: usize = 1024 * 1024;
/// As often as the SDK's own watches.
const PROGRESS: Duration = Duration::from_secs(2);
const SHORTEST_PROGRESS: Duration = Duration::from_millis(100);
const LONGEST_PROGRESS: Duration = Duration::from_secs(600);
