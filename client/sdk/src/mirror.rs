//! Mirrors: a prefix in the memory of this process, always at exactly one revision.
//!
//! Reading one takes no lock, waits for nobody and needs no server. It follows the cluster over a
//! [`crate::Watch`]; when every server is gone it keeps what it has, and catches up afterwards.
//!
//! Its age is honest: it is counted from before a linearizable read was sent whose revision the
//! mirror has reached since. A node that is cut off from the others cannot make it look young; and
//! where the mirror does not reach what the cluster says it should, it changes the node it follows.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use holdfast_proto::{Key, KeyRange};
use imbl::OrdMap;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::MissedTickBehavior,
};

use crate::{
    Client, Entry, EventKind, MirrorOptions, Origin, RangeOptions, ReadError, Watch, WatchError,
    WatchItem, WatchOptions,
};

/// A prefix held in memory. Clones share it; when the last is dropped, it stops following.
#[derive(Clone)]
pub struct Mirror {
    shared: Arc<Shared>,
    _following: Arc<Following>,
}

/// The mirrored keys at one revision.
#[derive(Clone, Debug, Default)]
pub struct MirrorView {
    entries: OrdMap<Key, Arc<Entry>>,
    revision: u64,
}

/// A view that is being read. Keep it short; for longer take [`Mirror::view`].
pub struct MirrorRead(Guard<Arc<MirrorView>>);

/// What a mirror has under a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirrored {
    /// The key's version.
    pub entry: Arc<Entry>,
    /// The mirror's revision.
    pub revision: u64,
    /// Always [`Origin::Cache`].
    pub origin: Origin,
    /// How long ago the mirror was known to be current, at most; `Duration::MAX`: never yet.
    pub age: Duration,
}

/// Tells when a mirror changes. From [`Mirror::changes`].
#[derive(Debug)]
pub struct MirrorChanges(watch::Receiver<u64>);

struct Shared {
    view: ArcSwap<MirrorView>,
    /// Microseconds on the clock of `start`, plus one; 0: never known to be current.
    current_at_us: AtomicU64,
    start: Instant,
    /// The revision of the last change.
    changed: watch::Sender<u64>,
    /// The revision that was reached.
    reached: watch::Sender<u64>,
    /// Somebody waits for a revision.
    hurry: Notify,
    /// What keeps it from following, if anything.
    problem: watch::Sender<Option<String>>,
}

struct Following(AbortHandle);

impl Client {
    /// Mirrors every key that begins with `prefix`. Returns once the mirror has all that was
    /// acknowledged before the call; without a majority, once it has what some node has, after this
    /// client's timeout.
    pub async fn mirror(&self, prefix: impl Into<Bytes>) -> Result<Mirror, ReadError> {
        self.mirror_with(prefix, MirrorOptions::default()).await
    }

    /// As [`Client::mirror`], with options.
    pub async fn mirror_with(
        &self,
        prefix: impl Into<Bytes>,
        options: MirrorOptions,
    ) -> Result<Mirror, ReadError> {
        let started = Instant::now();
        let shared = Arc::new(Shared::new());
        let follower = Follower {
            watch: self.watch(
                KeyRange::prefix(prefix),
                WatchOptions {
                    snapshot: true,
                    progress: options.check,
                    ..WatchOptions::default()
                },
            ),
            client: self.with_timeout(self.timeout().min(options.check * 2)),
            shared: Arc::clone(&shared),
            pending: None,
        };
        let mut problem = shared.problem.subscribe();
        let following = tokio::spawn(follower.run(options.check.max(SHORTEST_CHECK)));
        let mirror = Mirror {
            _following: Arc::new(Following(following.abort_handle())),
            shared,
        };
        let mut reached = mirror.shared.reached.subscribe();
        let current = async {
            while mirror.age() == Duration::MAX {
                tokio::select! {
                    _ = reached.changed() => {}
                    _ = problem.changed() => {
                        let problem = problem.borrow_and_update().clone();
                        if let (Some(message), 0) = (problem, mirror.revision()) {
                            return Err(ReadError::Unauthorized { message });
                        }
                    }
                }
            }
            Ok(())
        };
        match tokio::time::timeout(self.timeout(), current).await {
            Ok(Ok(())) => Ok(mirror),
            Ok(Err(error)) => Err(error),
            Err(_) if mirror.revision() > 0 => Ok(mirror),
            Err(_) => Err(ReadError::Unreachable {
                waited: started.elapsed(),
                last: "the mirror did not get its first snapshot".to_owned(),
            }),
        }
    }
}

impl Mirror {
    /// The mirrored keys, to read now. Wait-free, a few nanoseconds.
    pub fn read(&self) -> MirrorRead {
        MirrorRead(self.shared.view.load())
    }

    /// The mirrored keys at this moment, to keep.
    pub fn view(&self) -> Arc<MirrorView> {
        self.shared.view.load_full()
    }

    /// What is under a key (the whole key, with the prefix), with revision and age.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Mirrored> {
        let view = self.shared.view.load();
        let entry = Arc::clone(view.entries.get(key.as_ref())?);
        Some(Mirrored {
            entry,
            revision: view.revision,
            origin: Origin::Cache,
            age: self.age(),
        })
    }

    /// The revision the mirror is at.
    pub fn revision(&self) -> u64 {
        self.shared.view.load().revision
    }

    /// How long ago the mirror was known to be current, at most; `Duration::MAX`: never yet.
    pub fn age(&self) -> Duration {
        match self.shared.current_at_us.load(Ordering::Acquire) {
            0 => Duration::MAX,
            at => {
                let at = self.shared.start + Duration::from_micros(at - 1);
                Instant::now().saturating_duration_since(at)
            }
        }
    }

    /// Where its answers come from: memory.
    pub fn origin(&self) -> Origin {
        Origin::Cache
    }

    /// What keeps it from following the cluster, if the cluster said so; `None`: nothing, or only
    /// that no server answers (then its age grows).
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.borrow().clone()
    }

    /// Tells when a mirrored key changes.
    pub fn changes(&self) -> MirrorChanges {
        MirrorChanges(self.shared.changed.subscribe())
    }

    /// Waits until the mirror has reached a revision, such as that of a write of one's own. `false`:
    /// it has not within `timeout`.
    pub async fn wait_for(&self, revision: u64, timeout: Duration) -> bool {
        let mut reached = self.shared.reached.subscribe();
        if *reached.borrow_and_update() >= revision {
            return true;
        }
        let waiting = async {
            loop {
                self.shared.hurry.notify_one();
                let change = reached.wait_for(|reached| *reached >= revision);
                match tokio::time::timeout(HURRY_AGAIN, change).await {
                    Ok(Ok(_)) => return true,
                    Ok(Err(_)) => return false,
                    Err(_) => {}
                }
            }
        };
        tokio::time::timeout(timeout, waiting)
            .await
            .unwrap_or(false)
    }
}

impl MirrorView {
    /// What is under a key (the whole key, with the prefix).
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Arc<Entry>> {
        self.entries.get(key.as_ref())
    }

    /// Everything in a range, by key.
    pub fn range<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Arc<Entry>> {
        let bounds = range.bounds();
        bounds
            .into_iter()
            .flat_map(|bounds| self.entries.range::<_, [u8]>(bounds))
            .map(|(_, entry)| entry)
    }

    /// Everything, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The revision all of it is at.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

impl Deref for MirrorRead {
    type Target = MirrorView;

    fn deref(&self) -> &MirrorView {
        &self.0
    }
}

impl MirrorChanges {
    /// Waits for the next change; returns its revision. `None`: the mirror is gone. Changes that
    /// come while nobody waits are told once, together.
    pub async fn changed(&mut self) -> Option<u64> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror")
            .field("keys", &self.read().len())
            .field("revision", &self.revision())
            .field("age", &self.age())
            .finish_non_exhaustive()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            view: ArcSwap::from_pointee(MirrorView::default()),
            current_at_us: AtomicU64::new(0),
            start: Instant::now(),
            changed: watch::Sender::new(0),
            reached: watch::Sender::new(0),
            hurry: Notify::new(),
            problem: watch::Sender::new(None),
        }
    }
}

/// The task that keeps a mirror up to date.
struct Follower {
    client: Client,
    watch: Watch,
    shared: Arc<Shared>,
    /// The cluster had this revision after that moment: once it is reached, the mirror was current
    /// then.
    pending: Option<(u64, Instant)>,
}

impl Follower {
    async fn run(mut self, check: Duration) {
        let mut ticks = tokio::time::interval(check);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checking = None;
        loop {
            tokio::select! {
                item = self.watch.next() => match item {
                    Ok(item) => self.take_in(item),
                    Err(error) => self.rest(error).await,
                },
                _ = ticks.tick(), if checking.is_none() => {
                    self.change_node_if_behind(check);
                    checking = Some(Box::pin(newest_revision(self.client.clone())));
                }
                confirmed = on_set(&mut checking) => {
                    checking = None;
                    if let Some(confirmed) = confirmed {
                        self.confirm(confirmed);
                    }
                }
                () = self.shared.hurry.notified() => self.watch.request_progress(),
            }
        }
    }

    fn take_in(&mut self, item: WatchItem) {
        let now = self.shared.view.load();
        let mut entries = now.entries.clone();
        let (revision, changed) = match item {
            WatchItem::Events { revision, events } => {
                let changed = !events.is_empty();
                for event in events {
                    match event.kind {
                        EventKind::Put => {
                            entries.insert(event.entry.key.clone(), Arc::new(event.entry));
                        }
                        EventKind::Delete => {
                            entries.remove(&event.entry.key);
                        }
                    }
                }
                (revision, changed)
            }
            WatchItem::Progress { revision } => (revision, false),
            WatchItem::Reset {
                revision,
                entries: all,
            } => {
                entries = all
                    .into_iter()
                    .map(|entry| (entry.key.clone(), Arc::new(entry)))
                    .collect();
                (revision, true)
            }
        };
        if changed || revision > now.revision {
            let view = MirrorView {
                entries,
                revision: revision.max(now.revision),
            };
            self.shared.view.store(Arc::new(view));
        }
        if self.shared.problem.borrow().is_some() {
            self.shared.problem.send_replace(None);
        }
        self.settle_pending(revision);
        if changed {
            self.shared.changed.send_replace(revision);
        }
        self.shared.reached.send_replace(revision);
    }

    /// The cluster's newest revision was this, at some moment after `asked`.
    fn confirm(&mut self, (newest, asked): (u64, Instant)) {
        self.pending.get_or_insert((newest, asked));
        match self.watch.delivered() {
            Some(delivered) if delivered >= newest => {
                // Also where an older check still waited: this one says more.
                self.pending = Some((newest, asked));
                self.settle_pending(delivered);
                self.shared.reached.send_replace(delivered);
            }
            _ => self.watch.request_progress(),
        }
    }

    fn settle_pending(&mut self, reached: u64) {
        if let Some((newest, asked)) = self.pending
            && reached >= newest
        {
            let at = asked.saturating_duration_since(self.shared.start);
            let at_us = at.as_micros() as u64 + 1;
            self.shared
                .current_at_us
                .fetch_max(at_us, Ordering::Release);
            self.pending = None;
        }
    }

    /// The cluster moved on and the node that is followed did not: it may be cut off.
    fn change_node_if_behind(&mut self, check: Duration) {
        if let Some((_, asked)) = self.pending
            && asked.elapsed() > check * 2
        {
            tracing::warn!("the mirror's node is behind the cluster; following another one");
            self.pending = None;
            self.watch.change_node();
        }
    }

    /// The cluster refuses: says so, and asks again later.
    async fn rest(&mut self, error: WatchError) {
        tracing::warn!(%error, "the mirror cannot follow the cluster");
        self.shared.problem.send_replace(Some(error.to_string()));
        tokio::time::sleep(REST).await;
    }
}

/// The cluster's newest revision, and when it was asked. `None`: no majority answered.
async fn newest_revision(client: Client) -> Option<(u64, Instant)> {
    let asked = Instant::now();
    let probe = KeyRange::between(Bytes::from_static(b"\0"), Some(Bytes::from_static(b"\0\0")));
    let options = RangeOptions {
        count_only: true,
        limit: 1,
        ..RangeOptions::default()
    };
    let page = client.range(probe, options).await.ok()?;
    Some((page.revision, asked))
}

/// Awaits what is there; waits for ever where there is nothing.
async fn on_set<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

const SHORTEST_CHECK: Duration = Duration::from_millis(50);
const HURRY_AGAIN: Duration = Duration::from_millis(50);
const REST: Duration = Duration::from_secs(2);
