//! Watches: changes of a range of keys, revision by revision.
//!
//! A watcher has no queue. It is a cursor over the changes that the store keeps, woken by the
//! newest revision; HTTP/2's flow control asks it for the next message when there is room for one,
//! so a slow consumer is a cursor that lags. Invariants:
//!
//! 1. Revisions are delivered in order, each whole and once. (One that is larger than a message
//!    comes in parts; only the last part says that the revision was delivered.)
//! 2. If the cursor's revision is no longer kept, the stream says so and goes on from a snapshot of
//!    the range at one revision.
//! 3. Nothing is told to who may not read the whole range by then: the policy is asked with every
//!    message.
//! 4. A progress mark is never ahead of an event, and is only sent after a quorum confirmed that
//!    this node had everything: a node that is cut off lets its watchers grow old.

mod cursor;
mod events;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, future::BoxFuture, stream};
use holdfast_core::State;
use holdfast_proto::{
    KeyRange,
    v1::{self, watch_request::Request as Asked, watch_response::Body, watch_server::Watch},
};
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior},
};
use tonic::{Request, Response, Status, Streaming};

use self::cursor::{Advance, Cursor};
use crate::{
    access::Permit,
    caller::Caller,
    convert,
    host::{self, Host},
    status::{Reason, invalid},
};

/// `holdfast.v1.Watch` of one node.
pub(crate) struct WatchService {
    host: Arc<Host>,
}

impl WatchService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request);
        let mut inbound = request.into_inner();
        let Some(v1::WatchRequest {
            request: Some(Asked::Create(create)),
        }) = inbound.message().await?
        else {
            return Err(invalid(
                "a watch begins with what is to be watched: send create first",
            ));
        };
        let watcher = Watcher::begin(self.host.clone(), caller, create, inbound).await?;
        let responses = stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(response) => Some((Ok(response), Some(watcher))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// One watch of one client.
struct Watcher {
    host: Arc<Host>,
    caller: Caller,
    range: KeyRange,
    cursor: Cursor,
    outbox: VecDeque<Body>,
    /// `None`: the client sends no more.
    inbound: Option<Streaming<v1::WatchRequest>>,
    revisions: watch::Receiver<u64>,
    timer: Interval,
    mark: Option<Mark>,
    _counted: Counted,
}

/// A progress mark on its way.
enum Mark {
    /// A quorum is asked whether this node has everything.
    Confirming(BoxFuture<'static, Option<u64>>),
    /// Due once the cursor is past this revision.
    At(u64),
}

/// What woke a watcher.
enum Woken {
    Changed,
    Asked,
    Time,
    Confirmed(Option<u64>),
    HungUp,
}

impl Watcher {
    async fn begin(
        host: Arc<Host>,
        caller: Caller,
        create: v1::WatchCreate,
        inbound: Streaming<v1::WatchRequest>,
    ) -> Result<Self, Status> {
        let range = convert::range(create.range)?;
        if create.snapshot || create.from == 0 {
            // As fresh as can be; without a quorum, what this node has is better than nothing.
            let fresh = host.barrier(Instant::now() + FRESHEN).await;
            if let Err(status) = fresh {
                tracing::debug!(%status, "a watch begins without a quorum");
            }
        }
        let check = |_: &State, permit: &Permit| permit.read(&range);
        host.permit(&caller, Instant::now() + FRESHEN, check)
            .await?;
        let watched = range.clone();
        let store = host.replica.store();
        let revisions = store.revisions();
        let cursor = if create.snapshot {
            Cursor::from_snapshot(range, create.previous, store.view())
        } else {
            let from = match create.from {
                0 => store.read(State::revision) + 1,
                from => from,
            };
            Cursor::from_revision(range, create.previous, from)
        };
        let every = match create.progress_ms {
            0 => PROGRESS,
            every => Duration::from_millis(every).clamp(SHORTEST_PROGRESS, LONGEST_PROGRESS),
        };
        let mut timer = tokio::time::interval_at((Instant::now() + every).into(), every);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let created = Body::Created(v1::WatchCreated {
            from: cursor.from(),
        });
        Ok(Self {
            host,
            caller,
            range: watched,
            cursor,
            outbox: VecDeque::from([created]),
            inbound: Some(inbound),
            revisions,
            timer,
            mark: None,
            _counted: Counted::new(),
        })
    }

    /// The next message for the client.
    async fn next(&mut self) -> Result<v1::WatchResponse, Status> {
        loop {
            if self.host.closing.is_cancelled() {
                return Err(host::closing());
            }
            if let Some(why) = self.host.fence.reason() {
                return Err(Reason::Fenced.status(why.to_string()));
            }
            let newest = *self.revisions.borrow_and_update();
            if let Some(body) = self.outbox.pop_front() {
                self.check()?;
                return Ok(self.respond(body, newest));
            }
            match self.cursor.advance(self.host.replica.store()).await? {
                Advance::Deliver(bodies) => self.outbox.extend(bodies),
                Advance::Passed => tokio::task::yield_now().await,
                Advance::CaughtUp => {
                    if let Some(progress) = self.due_mark() {
                        return Ok(self.respond(progress, newest));
                    }
                    self.wait().await?;
                }
            }
        }
    }

    /// Whether the caller may see what it is about to be told. Events come out of a state, and this
    /// looks at one that is at least as new: no event passes a change of the policy before it.
    fn check(&self) -> Result<(), Status> {
        let permit = self.caller.permit_now(&self.host);
        permit.read(&self.range).map_err(|denied| {
            let status = denied.into();
            let audit = &self.host.audit;
            audit.note_refusal(|| self.caller.who(), WATCH, &status);
            status
        })
    }

    fn respond(&self, body: Body, newest: u64) -> v1::WatchResponse {
        v1::WatchResponse {
            header: self.host.header(newest),
            body: Some(body),
        }
    }

    async fn wait(&mut self) -> Result<(), Status> {
        let woken = tokio::select! {
            changed = self.revisions.changed() => match changed {
                Ok(()) => Woken::Changed,
                Err(_) => return Err(host::closing()),
            },
            asked = next_request(&mut self.inbound) => asked?,
            _ = self.timer.tick() => Woken::Time,
            confirmed = confirmed(&mut self.mark) => Woken::Confirmed(confirmed),
            () = self.host.closing.cancelled() => Woken::Changed,
            _ = self.host.fence.raised() => Woken::Changed,
        };
        match woken {
            Woken::Changed => {}
            Woken::HungUp => self.inbound = None,
            Woken::Asked | Woken::Time => {
                self.mark.get_or_insert_with(|| confirm(self.host.clone()));
            }
            Woken::Confirmed(revision) => self.mark = revision.map(Mark::At),
        }
        Ok(())
    }

    /// The progress mark, if one waits and the cursor is there.
    fn due_mark(&mut self) -> Option<Body> {
        let delivered = self.cursor.delivered();
        match self.mark {
            Some(Mark::At(revision)) if revision <= delivered => {
                self.mark = None;
                Some(Body::Progress(v1::WatchProgress {
                    revision: delivered,
                }))
            }
            _ => None,
        }
    }
}

/// Asks a quorum; then everything acknowledged so far is below the revision that this answers.
fn confirm(host: Arc<Host>) -> Mark {
    Mark::Confirming(Box::pin(async move {
        host.barrier(Instant::now() + FRESHEN).await.ok()?;
        Some(host.read(State::revision))
    }))
}

async fn confirmed(mark: &mut Option<Mark>) -> Option<u64> {
    match mark {
        Some(Mark::Confirming(confirmed)) => confirmed.await,
        _ => std::future::pending().await,
    }
}

async fn next_request(inbound: &mut Option<Streaming<v1::WatchRequest>>) -> Result<Woken, Status> {
    let Some(stream) = inbound else {
        return std::future::pending().await;
    };
    match stream.message().await? {
        None => Ok(Woken::HungUp),
        Some(v1::WatchRequest {
            request: Some(Asked::Progress(_)),
        }) => Ok(Woken::Asked),
        Some(_) => Err(invalid(
            "one stream carries one watch; open another for the next",
        )),
    }
}

/// Counts the watchers of this node.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("holdfast_watchers").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("holdfast_watchers").decrement(1.0);
    }
}

const WATCH: &str = "holdfast.v1.Watch/Watch";
const PROGRESS: Duration = Duration::from_secs(10);
const SHORTEST_PROGRESS: Duration = Duration::from_millis(100);
const LONGEST_PROGRESS: Duration = Duration::from_secs(600);
/// How long a quorum may take to confirm.
const FRESHEN: Duration = Duration::from_secs(2);
