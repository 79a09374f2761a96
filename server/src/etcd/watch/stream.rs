//! All watches of one stream, and where they are in the history.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_core::{Changes, State};
use holdfast_proto::etcd::etcdserverpb::{WatchRequest, WatchResponse};
use holdfast_raft::Leadership;
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior},
};
use tonic::{Status, Streaming};

use super::{
    older::{self, Older, Wanted},
    requests::NO_WATCH,
    watcher::Watcher,
};
use crate::{
    access::Denied,
    caller::Caller,
    deadline,
    etcd::{Front, error},
    kv::on_blocking_thread,
};

/// The watches of one stream. A watch whose `next` is the stream's is in step; one below it is
/// behind; one above it waits for a revision that is still to come.
pub(super) struct Watches {
    pub(super) front: Arc<Front>,
    pub(super) caller: Caller,
    /// `None`: the client sends no more.
    pub(super) inbound: Option<Streaming<WatchRequest>>,
    /// Requests that arrived and are not carried out.
    pub(super) asked: VecDeque<WatchRequest>,
    pub(super) all: BTreeMap<i64, Watcher>,
    /// The next id to try for a watch that brings none.
    pub(super) next_id: i64,
    pub(super) outbox: VecDeque<WatchResponse>,
    /// A mark for all watches is due once they are in step.
    pub(super) progress_asked: bool,
    /// First revision that no watch in step has seen.
    next: u64,
    revisions: watch::Receiver<u64>,
    timer: Interval,
    /// Ends the stream when no leader is known for a while; `None`: the client did not ask for that.
    leader: Option<LeaderWatch>,
}

/// Who leads, and since when it is nobody.
struct LeaderWatch {
    leadership: watch::Receiver<Leadership>,
    none_since: Option<Instant>,
}

impl Watches {
    pub(super) fn new(
        front: Arc<Front>,
        caller: Caller,
        inbound: Streaming<WatchRequest>,
        needs_leader: bool,
    ) -> Self {
        let revisions = front.host.replica.store().revisions();
        let mut timer = tokio::time::interval_at((Instant::now() + PROGRESS).into(), PROGRESS);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let leader = needs_leader.then(|| LeaderWatch {
            leadership: front.leadership.clone(),
            none_since: None,
        });
        Self {
            next: front.host.read(State::revision) + 1,
            front,
            caller,
            inbound: Some(inbound),
            asked: VecDeque::new(),
            all: BTreeMap::new(),
            next_id: 0,
            outbox: VecDeque::new(),
            progress_asked: false,
            revisions,
            timer,
            leader,
        }
    }

    /// The next answer for the client. An error ends the stream.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, Status> {
        loop {
            self.answer_requests().await?;
            if let Some(response) = self.outbox.pop_front() {
                match self.let_out(response) {
                    Some(response) => return Ok(response),
                    None => continue,
                }
            }
            if self.front.host.closing.is_cancelled() || self.front.host.fence.reason().is_some() {
                return Err(error::stopped());
            }
            self.revisions.mark_unchanged();
            if self.catch_up().await? || self.step_on() || self.report_progress() {
                continue;
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Result<(), Status> {
        let asked = async {
            match &mut self.inbound {
                Some(inbound) => inbound.message().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.revisions.changed() => changed.map_err(|_| error::stopped())?,
            asked = asked => match asked? {
                Some(request) => self.asked.push_back(request),
                None => self.inbound = None,
            },
            _ = self.timer.tick() => self.mark_the_quiet(),
            () = self.front.host.closing.cancelled() => {}
            _ = self.front.host.fence.raised() => {}
            () = lost(&mut self.leader) => return Err(error::no_leader()),
        }
        Ok(())
    }

    /// One step of one watch that is behind. `false`: there is none.
    async fn catch_up(&mut self) -> Result<bool, Status> {
        let behind = self
            .all
            .iter_mut()
            .find(|(_, watcher)| watcher.next < self.next);
        let Some((&id, watcher)) = behind else {
            return Ok(false);
        };
        let (from, settled) = (watcher.next, watcher.settled);
        let store = self.front.host.replica.store();
        let (changes, compacted) = store.read(|state| {
            // A compaction keeps its own revision, and takes nothing from a watch that was there.
            let allowed = settled || from >= state.compacted();
            let recent = allowed
                .then(|| state.recent_changes(from, BATCH_BYTES))
                .flatten();
            let changes =
                recent.map_or_else(|| state.changes_since(from, BATCH_BYTES), Changes::Recent);
            (changes, state.compacted())
        });
        watcher.settled = true;
        match changes {
            Changes::Recent(changes) => {
                let mut events = Vec::new();
                for change in &changes {
                    watcher.see(change, compacted, &mut events);
                }
                let newest = changes
                    .last()
                    .map_or(self.next - 1, |last| last.revision.get());
                watcher.next = newest + 1;
                self.send(id, events, newest);
            }
            Changes::Older { below } => {
                let (state, store, wanted) = (store.view(), store.clone(), Wanted::of(watcher));
                let read = move || older::events(&state, &store, &wanted, from..below);
                match on_blocking_thread(read).await? {
                    Older::Kept(events, next) => {
                        watcher.next = next;
                        self.send(id, events, next - 1);
                    }
                    Older::Gone(oldest) => self.give_up(id, oldest),
                }
            }
            Changes::Compacted { oldest } => {
                let held = store.read(|state| state.recent_changes(compacted, 0).is_some());
                let resume = if held && from < compacted {
                    compacted
                } else {
                    oldest
                };
                self.give_up(id, resume);
            }
        }
        Ok(true)
    }

    /// Takes the watches in step further. `false`: there is nothing newer.
    fn step_on(&mut self) -> bool {
        let next = self.next;
        let store = self.front.host.replica.store();
        let (changes, newest, compacted) = store.read(|state| {
            let newest = state.revision();
            let changes = if newest < next || self.all.is_empty() {
                Some(Vec::new())
            } else {
                state.recent_changes(next, BATCH_BYTES)
            };
            (changes, newest, state.compacted())
        });
        if newest < next {
            return false;
        }
        let Some(changes) = changes else {
            // This stream is slow: from now on each of its watches is behind.
            self.next = newest + 1;
            return true;
        };
        let newest = changes.last().map_or(newest, |last| last.revision.get());
        self.next = newest + 1;
        let mut seen = Vec::new();
        for (&id, watcher) in &mut self.all {
            if watcher.next > newest {
                continue;
            }
            let mut events = Vec::new();
            for change in &changes {
                watcher.see(change, compacted, &mut events);
            }
            watcher.next = newest + 1;
            watcher.settled = true;
            if !events.is_empty() {
                seen.push((id, events));
            }
        }
        for (id, events) in seen {
            self.send(id, events, newest);
        }
        true
    }

    /// Sends events of a watch, if there are any; everything up to `newest` is among them.
    fn send(&mut self, id: i64, events: Vec<holdfast_proto::etcd::mvccpb::Event>, newest: u64) {
        if events.is_empty() {
            return;
        }
        let head = WatchResponse {
            header: self.front.header(newest),
            watch_id: id,
            ..WatchResponse::default()
        };
        if let Some(watcher) = self.all.get_mut(&id) {
            watcher.responses(events, head, &mut self.outbox);
        }
    }

    /// The answer, if the caller may see it by now; else that its watch has ended. Events come out of
    /// a state, and this looks at one that is at least as new.
    fn let_out(&mut self, response: WatchResponse) -> Option<WatchResponse> {
        if response.events.is_empty() {
            return Some(response);
        }
        // Of a watch that has ended meanwhile nobody wants to hear.
        let watcher = self.all.get(&response.watch_id)?;
        let permit = self.caller.permit_now(&self.front.host);
        let Err(denied) = permit.read(&watcher.range) else {
            return Some(response);
        };
        self.note(&denied);
        self.all.remove(&response.watch_id);
        Some(WatchResponse {
            header: response.header,
            watch_id: response.watch_id,
            canceled: true,
            cancel_reason: error::PERMISSION_DENIED.to_owned(),
            ..WatchResponse::default()
        })
    }

    /// Records that a watch was refused.
    pub(super) fn note(&self, denied: &Denied) {
        let audit = &self.front.host.audit;
        audit.note_refusal(|| self.caller.who(), WATCH, &error::denied(denied));
    }

    /// Ends a watch whose revision is gone.
    fn give_up(&mut self, id: i64, resume: u64) {
        self.all.remove(&id);
        self.outbox.push_back(WatchResponse {
            header: self.front.header_now(),
            watch_id: id,
            canceled: true,
            compact_revision: crate::etcd::convert::signed(resume),
            ..WatchResponse::default()
        });
    }

    /// Answers a request for progress once all watches are in step. As with etcd there is no
    /// answer if there are none, or if one waits for a revision still to come.
    fn report_progress(&mut self) -> bool {
        if !std::mem::take(&mut self.progress_asked) {
            return false;
        }
        let in_step = self.all.values().all(|watcher| watcher.next == self.next);
        if in_step && !self.all.is_empty() {
            self.push_mark(NO_WATCH);
        }
        true
    }

    /// Marks for the watches that want them and had nothing else since the last time.
    fn mark_the_quiet(&mut self) {
        let mut due = Vec::new();
        for (&id, watcher) in &mut self.all {
            if watcher.progress && watcher.quiet && watcher.next == self.next {
                due.push(id);
            }
            watcher.quiet = true;
        }
        for id in due {
            self.push_mark(id);
        }
    }

    fn push_mark(&mut self, id: i64) {
        self.outbox.push_back(WatchResponse {
            header: self.front.header(self.next - 1),
            watch_id: id,
            ..WatchResponse::default()
        });
    }
}

/// Returns when there was no leader for too long.
async fn lost(leader: &mut Option<LeaderWatch>) {
    let Some(watch) = leader else {
        return std::future::pending().await;
    };
    loop {
        let leaderless = watch.leadership.borrow_and_update().leader.is_none();
        watch.none_since = match (leaderless, watch.none_since) {
            (true, since) => since.or_else(|| Some(Instant::now())),
            (false, _) => None,
        };
        let too_long = watch.none_since.map(|since| since + LEADERLESS);
        tokio::select! {
            changed = watch.leadership.changed() => if changed.is_err() { return },
            () = deadline::passed(too_long) => return,
        }
    }
}

const WATCH: &str = "etcdserverpb.Watch/Watch";
/// Changes taken at a time, bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// A watch that wants marks gets one after this long without events.
const PROGRESS: Duration = Duration::from_secs(10);
/// An election takes less.
const LEADERLESS: Duration = Duration::from_secs(3);
