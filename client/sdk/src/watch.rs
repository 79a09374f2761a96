//! Watches: every change of a range, in order, once, whatever happens to the servers.
//!
//! A watch is a cursor: the revision up to which everything was delivered. When the connection
//! goes, the next one begins behind it, at any node. Where that place was compacted meanwhile, the
//! server sends the range as it is, and the watch hands it on as a [`WatchItem::Reset`].

mod connection;

use std::{sync::Arc, time::Instant};

use futures::StreamExt as _;
use holdfast_proto::{KeyRange, Revision, v1};
use tonic::Status;

use self::connection::Connection;
use crate::{
    Client, Entry, WatchError, WatchOptions,
    circuit::jittered,
    entry::{Origin, Told, Unreadable, entries},
    error::Failure,
    node::{Needs, Node, Route},
    reason::{self, Verdict, describe},
};

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WatchItem {
    /// Changes: whole revisions only, in order.
    Events {
        /// Everything up to and with this revision was delivered.
        revision: u64,
        /// One for each changed key and revision.
        events: Vec<WatchEvent>,
    },
    /// Nothing is missing up to and with this revision.
    Progress {
        /// That revision.
        revision: u64,
    },
    /// Forget what you knew of the range: this is how it is now. First of all if a snapshot was
    /// asked for, and after a compaction took what was next.
    Reset {
        /// As of this revision.
        revision: u64,
        /// By key.
        entries: Vec<Entry>,
    },
}

/// One changed key.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventKind,
    /// The new version; of a deletion: its key, revision, author, time and note.
    pub entry: Entry,
    /// What was there before, if asked for and kept.
    pub previous: Option<Entry>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It has a new version.
    Put,
    /// It is gone.
    Delete,
}

/// A watch. Dropping it ends it.
pub struct Watch {
    client: Client,
    range: KeyRange,
    options: WatchOptions,
    cursor: Cursor,
    connection: Option<Connection>,
    /// Parts of a snapshot that came so far.
    partial: Vec<Entry>,
    /// Events of a revision that has not come whole yet.
    half: Vec<WatchEvent>,
    failing_since: Option<Instant>,
    failures: u32,
    /// The node that was given up last: another is tried first.
    avoid: Option<Arc<Node>>,
    /// When the newest connection was asked for.
    asked_at: Instant,
    /// What the newest answer says of itself, if no server made it.
    told: Option<Told>,
}

/// Where the next connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    Snapshot,
    Now,
    From(u64),
}

impl Client {
    /// Watches a range. Connects when it is first asked for an item.
    pub fn watch(&self, range: KeyRange, options: WatchOptions) -> Watch {
        Watch {
            cursor: match (options.snapshot, options.from) {
                (true, _) => Cursor::Snapshot,
                (false, Some(from)) => Cursor::From(from.get()),
                (false, None) => Cursor::Now,
            },
            client: self.clone(),
            range,
            options,
            connection: None,
            partial: Vec::new(),
            half: Vec::new(),
            failing_since: None,
            failures: 0,
            avoid: None,
            asked_at: Instant::now(),
            told: None,
        }
    }
}

impl Watch {
    /// The next item; waits for it, over any number of lost connections. Cancel safe: an item is
    /// delivered by one call or by the next, never lost between them.
    pub async fn next(&mut self) -> Result<WatchItem, WatchError> {
        loop {
            let response = match self.receive().await {
                Ok(response) => response,
                Err(status) => {
                    self.recover(status).await?;
                    continue;
                }
            };
            if let Some(item) = self.take_in(response).map_err(invalid)? {
                return Ok(item);
            }
        }
    }

    /// Waits until the server has accepted the watch; returns the first revision that it will
    /// deliver. From then on nothing is missed. With a snapshot, which comes first, that is `None`
    /// until the snapshot was taken with [`Watch::next`].
    pub async fn established(&mut self) -> Result<Option<Revision>, WatchError> {
        while !self.connection.as_ref().is_some_and(|c| c.created) {
            let received = match self.connect().await {
                Ok(connection) => match connection.responses.message().await {
                    Ok(Some(response)) => Ok(response),
                    Ok(None) => Err(Status::unavailable("the server ended the watch")),
                    Err(status) => Err(status),
                },
                Err(status) => Err(status),
            };
            match received {
                // The first answer is always `created`, and makes no item.
                Ok(response) => drop(self.take_in(response).map_err(invalid)?),
                Err(status) => self.recover(status).await?,
            }
        }
        Ok(match self.cursor {
            Cursor::From(from) => Revision::new(from),
            Cursor::Snapshot | Cursor::Now => None,
        })
    }

    /// Everything up to and with this revision was delivered; `None`: nothing is known yet.
    pub fn delivered(&self) -> Option<u64> {
        match self.cursor {
            Cursor::From(from) => Some(from.saturating_sub(1)),
            Cursor::Snapshot | Cursor::Now => None,
        }
    }

    /// Asks the server for a progress mark; it comes as an item. Does nothing while disconnected.
    pub fn request_progress(&self) {
        if let Some(connection) = &self.connection {
            connection.request_progress();
        }
    }

    /// Leaves the node that this watch hangs on; the next item comes from another one. For callers
    /// who found out that it is cut off from the others.
    pub fn change_node(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.avoid = Some(connection.node);
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether the newest item is the agent's own word: no server was there for it to ask.
    pub fn is_offline(&self) -> bool {
        self.told.is_some()
    }

    /// What an agent said of the newest item's origin and age, where no server was there to ask.
    pub(crate) fn told(&self) -> Option<Told> {
        self.told
    }

    /// As a stream of items, ending with the first error.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<WatchItem, WatchError>> + Send {
        futures::stream::unfold(Some(self), |watch| async {
            let mut watch = watch?;
            let item = watch.next().await;
            let rest = item.is_ok().then_some(watch);
            Some((item, rest))
        })
        .boxed()
    }

    async fn receive(&mut self) -> Result<v1::WatchResponse, Status> {
        let patience = self.options.progress * 3 + self.client.options().hedge_after;
        let connection = self.connect().await?;
        match tokio::time::timeout(patience, connection.responses.message()).await {
            Ok(Ok(Some(response))) => Ok(response),
            Ok(Ok(None)) => Err(Status::unavailable("the server ended the watch")),
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::unavailable(format!("silent for {patience:?}"))),
        }
    }

    /// The connection, made anew if there is none.
    async fn connect(&mut self) -> Result<&mut Connection, Status> {
        if self.connection.is_none() {
            self.partial.clear();
            self.half.clear();
            let nodes = self.client.nodes();
            let node = nodes
                .pick(Route::Spread, Needs::Node, self.avoid.as_ref())
                .or_else(|| nodes.pick(Route::Spread, Needs::Node, None))
                .ok_or_else(|| Status::unavailable("there is no node to ask"))?;
            // Until it has answered, it is the one to avoid next.
            self.avoid = Some(Arc::clone(&node));
            self.asked_at = Instant::now();
            let create = self.create();
            self.connection = Some(Connection::open(&self.client, node, create).await?);
        }
        self.connection
            .as_mut()
            .ok_or_else(|| Status::internal("a connection was just made"))
    }

    /// What the next connection asks for.
    fn create(&self) -> v1::WatchCreate {
        v1::WatchCreate {
            range: Some(self.range.clone().into()),
            from: match self.cursor {
                Cursor::From(from) => from,
                Cursor::Snapshot | Cursor::Now => 0,
            },
            previous: self.options.previous,
            snapshot: self.cursor == Cursor::Snapshot,
            progress_ms: self.options.progress.as_millis() as u64,
        }
    }

    /// Takes in one message; an item if it makes one.
    fn take_in(&mut self, response: v1::WatchResponse) -> Result<Option<WatchItem>, Unreadable> {
        use v1::watch_response::Body;
        self.failing_since = None;
        self.failures = 0;
        self.avoid = None;
        let told = Told::of(response.header.as_ref());
        self.told = (!matches!(told.origin, Origin::Server(_))).then_some(told);
        if let Some(connection) = &self.connection {
            let nodes = self.client.nodes();
            nodes.answered(&connection.node, Needs::Node);
            if let Some(header) = &response.header {
                self.client.note_cluster(header);
                if nodes.learn(&connection.node, header, None) {
                    self.client.look_up_leader(&connection.node);
                }
            }
        }
        match response.body.ok_or(Unreadable("body"))? {
            Body::Created(created) => {
                if let Some(connection) = &mut self.connection {
                    connection.created = true;
                }
                // From now on "now" has a number, so that a lost connection leaves no gap.
                if self.cursor == Cursor::Now && created.from != 0 {
                    self.cursor = Cursor::From(created.from);
                }
                Ok(None)
            }
            Body::Events(batch) => self.take_in_events(batch),
            Body::Progress(progress) => {
                self.advance(progress.revision);
                let revision = progress.revision;
                Ok(Some(WatchItem::Progress { revision }))
            }
            Body::Compacted(_) => {
                self.partial.clear();
                Ok(None)
            }
            Body::Snapshot(part) => {
                self.partial.extend(entries(part.entries)?);
                if !part.last {
                    return Ok(None);
                }
                self.cursor = Cursor::From(part.revision + 1);
                Ok(Some(WatchItem::Reset {
                    revision: part.revision,
                    entries: std::mem::take(&mut self.partial),
                }))
            }
        }
    }

    /// A large revision comes in several messages, and only the last says that it is whole: what
    /// is not whole yet is held back, so that a lost connection leaves no half of it behind.
    fn take_in_events(&mut self, batch: v1::WatchEvents) -> Result<Option<WatchItem>, Unreadable> {
        let from = match self.cursor {
            Cursor::From(from) => from,
            Cursor::Snapshot | Cursor::Now => 0,
        };
        for wire in batch.events {
            let event = WatchEvent::from_wire(wire)?;
            // A server never sends these again; if one does, nobody sees it.
            if event.entry.modified.get() >= from {
                self.half.push(event);
            }
        }
        let whole = self
            .half
            .partition_point(|event| event.entry.modified.get() <= batch.revision);
        let half = self.half.split_off(whole);
        let events = std::mem::replace(&mut self.half, half);
        self.advance(batch.revision);
        let revision = batch.revision;
        Ok(match (events.is_empty(), self.half.is_empty()) {
            (false, _) => Some(WatchItem::Events { revision, events }),
            (true, true) => Some(WatchItem::Progress { revision }),
            (true, false) => None,
        })
    }

    fn advance(&mut self, revision: u64) {
        self.cursor = match self.cursor {
            Cursor::From(from) => Cursor::From(from.max(revision + 1)),
            Cursor::Now => Cursor::From(revision + 1),
            Cursor::Snapshot => Cursor::Snapshot,
        };
    }

    /// The connection failed: waits as long as is fair before the next one. An error: it is over.
    async fn recover(&mut self, status: Status) -> Result<(), WatchError> {
        let node = self.connection.take().map(|connection| connection.node);
        let node = node.or_else(|| self.avoid.take());
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        self.failures += 1;
        let nodes = self.client.nodes();
        let verdict = match &node {
            Some(node) => node.judge(&status),
            None => reason::judge(&status),
        };
        if verdict == Verdict::Final {
            return Err(Failure::Refused(status).into());
        }
        let all = nodes.len() as u32;
        if verdict == Verdict::Untrusted && self.failures >= all {
            let message = describe(&status);
            return Err(WatchError::Unauthorized { message });
        }
        if let Some(node) = &node {
            if !reason::node_is_well(&status) {
                nodes.unreachable(node, self.asked_at);
            }
            tracing::debug!(
                node = node.address(),
                status = describe(&status),
                "watch interrupted"
            );
        }
        self.avoid = node;
        let waited = since.elapsed();
        if self
            .options
            .give_up_after
            .is_some_and(|limit| waited >= limit)
        {
            let last = describe(&status);
            return Err(WatchError::Unreachable { waited, last });
        }
        if self.failures >= all {
            let doublings = (self.failures / all).min(6);
            tokio::time::sleep(jittered(FIRST_PAUSE * 2u32.pow(doublings), LONGEST_PAUSE)).await;
        }
        Ok(())
    }
}

impl WatchEvent {
    fn from_wire(wire: v1::Event) -> Result<Self, Unreadable> {
        Ok(Self {
            kind: match wire.r#type() {
                v1::event::Type::Put => EventKind::Put,
                v1::event::Type::Delete => EventKind::Delete,
            },
            entry: Entry::from_wire(wire.entry.ok_or(Unreadable("entry"))?)?,
            previous: wire.previous.map(Entry::from_wire).transpose()?,
        })
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("range", &self.range)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

fn invalid(error: Unreadable) -> WatchError {
    WatchError::Invalid {
        message: error.to_string(),
    }
}

const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
const LONGEST_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
