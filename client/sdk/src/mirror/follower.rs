//! The task behind a mirror: follows the watch, and keeps asking whether that is current.
//!
//! Invariant: what is older than what the mirror began with, from a disk, is not shown before a
//! majority says that there is nothing newer. A node that is behind has such a state.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_proto::KeyRange;
use tokio::time::MissedTickBehavior;

use super::{MirrorView, Shared};
use crate::{Client, EventKind, RangeOptions, Watch, WatchError, WatchItem};

/// The task that keeps a mirror up to date.
pub(super) struct Follower {
    client: Client,
    prefix: Bytes,
    watch: Watch,
    shared: Arc<Shared>,
    /// The cluster had this revision after that moment: once it is reached, the mirror was current
    /// then.
    pending: Option<(u64, Instant)>,
    /// What the node has, where that is not to be shown.
    behind: Option<MirrorView>,
}

impl Follower {
    pub(super) fn new(client: Client, prefix: Bytes, watch: Watch, shared: Arc<Shared>) -> Self {
        Self {
            client,
            prefix,
            watch,
            shared,
            pending: None,
            behind: None,
        }
    }

    pub(super) async fn run(mut self, check: Duration) {
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
                    checking = Some(Box::pin(newest_revision(self.client.clone(), self.prefix.clone())));
                }
                confirmed = on_set(&mut checking) => {
                    checking = None;
                    if let Some(confirmed) = confirmed {
                        self.confirm(confirmed);
                    }
                }
                // To be called away from connecting would only make it begin anew.
                () = self.shared.hurry.notified(), if self.watch.is_connected() => {
                    self.watch.request_progress();
                }
            }
        }
    }

    fn take_in(&mut self, item: WatchItem) {
        let confirmed_at = self.shared.confirmed_at();
        match (self.watch.told(), &item) {
            (None, _) => self.shared.note_server(),
            (Some(told), WatchItem::Reset { .. }) => self.shared.note_agent(told),
            // An agent that only says that it is there.
            (Some(_), _) => {}
        }
        let shown = self.shared.view.load_full();
        let was_behind = self.behind.take();
        let (mut next, mut changed) = after(was_behind.as_ref().unwrap_or(&shown), item);
        let revision = next.revision;
        if self.shared.problem.borrow().is_some() {
            self.shared.problem.send_replace(None);
        }
        if revision < shown.revision && !self.is_newest(revision) {
            self.behind = Some(next);
            return;
        }
        if was_behind.is_some() {
            // All of what is shown is replaced.
            next.changed = revision;
            changed = true;
        }
        if changed {
            *self.shared.superseded.lock() = confirmed_at;
        }
        if changed || revision > shown.revision {
            self.shared.view.store(Arc::new(next));
        }
        self.settle_pending(revision);
        if changed {
            self.shared.changed.send_replace(revision);
        }
        self.shared.reached.send_replace(revision);
    }

    /// The cluster had nothing newer than this, at some moment.
    fn is_newest(&self, revision: u64) -> bool {
        self.pending.is_some_and(|(newest, _)| newest <= revision)
    }

    /// The cluster's newest revision was this, at some moment after `asked`.
    fn confirm(&mut self, (newest, asked): (u64, Instant)) {
        self.pending.get_or_insert((newest, asked));
        match self.watch.delivered() {
            Some(delivered) if delivered >= newest => {
                // Also where an older check still waited: this one says more.
                self.pending = Some((newest, asked));
                if let Some(behind) = self.behind.take() {
                    // The cluster itself is older than what was kept: it was made anew.
                    self.shared.view.store(Arc::new(MirrorView {
                        changed: delivered,
                        ..behind
                    }));
                    self.shared.changed.send_replace(delivered);
                }
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
            self.shared.was_current(asked, Duration::ZERO);
            self.shared.is_confirmed.store(true, Ordering::Release);
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
        self.shared.problem.send_replace(Some(Arc::new(error)));
        tokio::time::sleep(REST).await;
    }
}

/// A state after an item, and whether that changed it.
fn after(now: &MirrorView, item: WatchItem) -> (MirrorView, bool) {
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
            (revision.max(now.revision), changed)
        }
        WatchItem::Progress { revision } => (revision.max(now.revision), false),
        WatchItem::Reset {
            revision,
            entries: all,
        } => {
            let all = all.into_iter();
            entries = all
                .map(|entry| (entry.key.clone(), Arc::new(entry)))
                .collect();
            (revision, true)
        }
    };
    let view = MirrorView {
        entries,
        revision,
        changed: if changed { revision } else { now.changed },
    };
    (view, changed)
}

/// The cluster's newest revision, and when it was asked. `None`: no majority answered.
async fn newest_revision(client: Client, prefix: Bytes) -> Option<(u64, Instant)> {
    let asked = Instant::now();
    // The narrowest range under the prefix: whoever may follow it may ask this.
    let first = match prefix.is_empty() {
        true => Bytes::from_static(b"\0"),
        false => prefix,
    };
    let end = [&first[..], b"\0"].concat();
    let probe = KeyRange::between(first, Some(end.into()));
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

const REST: Duration = Duration::from_secs(2);
