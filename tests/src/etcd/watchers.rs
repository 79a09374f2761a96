//! Watches on one store: what each was told, put together over streams that come and go.
//!
//! What a watcher saw does not depend on how the store cut it into responses. Checked on the way:
//! revisions never go back, and none is told in two parts unless the watch allowed fragments.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use etcd_client::{
    WatchFilterType, WatchOptions, WatchStream,
    proto::{PbEvent, PbWatchResponse},
};

use super::{Endpoints, normal};

/// What is watched. Revisions are relative; 0 is from now on.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The first key.
    pub key: Vec<u8>,
    /// Up to here; empty: only that key.
    pub range_end: Vec<u8>,
    /// The first revision.
    pub start: i64,
    /// What is not wanted.
    pub filters: Vec<WatchFilterType>,
    /// With what was there before.
    pub prev_kv: bool,
    /// A revision may come in parts.
    pub fragment: bool,
    /// The id; 0: as the store likes.
    pub id: i64,
}

/// What a watcher was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// In order of revisions and, within one, of keys.
    pub events: Vec<PbEvent>,
    /// Why it ended, if it did not live.
    pub ended: Option<Ended>,
}

/// How the store ended a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Its words.
    pub reason: String,
    /// Whether it named a revision to begin again from.
    pub compacted: bool,
}

/// The watchers of one store.
pub struct Watchers {
    endpoints: Endpoints,
    base: i64,
    streams: Vec<Open>,
    watchers: BTreeMap<usize, Watcher>,
}

struct Open {
    stream: WatchStream,
    ids: HashMap<i64, usize>,
}

struct Watcher {
    spec: Spec,
    stream: usize,
    id: i64,
    /// The first revision that was not told in whole.
    next: i64,
    seen: Seen,
    released: bool,
}

impl Watchers {
    /// None yet, on `streams` streams that each begin with a watch of `spec`, numbered from 0.
    pub async fn open(
        endpoints: &Endpoints,
        base: i64,
        streams: usize,
        spec: &Spec,
    ) -> anyhow::Result<Self> {
        let mut watchers = Self {
            endpoints: endpoints.clone(),
            base,
            streams: Vec::new(),
            watchers: BTreeMap::new(),
        };
        for stream in 0..streams {
            let opened = watchers.connect(stream, spec).await?;
            watchers.streams.push(opened);
            watchers.created(stream, stream, spec.clone()).await?;
        }
        Ok(watchers)
    }

    /// One more on a stream.
    pub async fn watch(&mut self, number: usize, stream: usize, spec: &Spec) -> anyhow::Result<()> {
        let options = self.options(spec);
        let opened = &mut self.streams[stream].stream;
        opened.watch(spec.key.clone(), Some(options)).await?;
        self.created(number, stream, spec.clone()).await
    }

    /// Ends one.
    pub async fn cancel(&mut self, number: usize) -> anyhow::Result<()> {
        let watcher = &self.watchers[&number];
        let stream = watcher.stream;
        self.streams[stream].stream.cancel(watcher.id).await?;
        while self.watchers[&number].seen.ended.is_none() {
            self.read(stream).await?;
        }
        Ok(())
    }

    /// Breaks a stream off, whatever is under way, and goes on over another connection, each
    /// watcher from where it was. `stream` counts connections, too: they go round the nodes.
    pub async fn reconnect(&mut self, stream: usize, connection: usize) -> anyhow::Result<()> {
        let mut living: Vec<usize> = self.living().into_iter().collect();
        living.retain(|number| self.watchers[number].stream == stream);
        for watcher in self.watchers.values_mut() {
            // Its id may be another's on the new stream.
            watcher.released |= watcher.stream == stream;
        }
        let mut again = |number: usize| {
            let watcher = self.watchers.get_mut(&number).expect("it lives");
            let next = watcher.next;
            let whole = |event: &PbEvent| revision(event) < next;
            watcher.seen.events.retain(whole);
            watcher.spec.start = next;
            watcher.spec.clone()
        };
        let specs: Vec<(usize, Spec)> = living
            .iter()
            .map(|&number| (number, again(number)))
            .collect();
        for (place, (number, spec)) in specs.iter().enumerate() {
            if place == 0 {
                self.streams[stream] = self.connect(connection, spec).await?;
            } else {
                let options = self.options(spec);
                let opened = &mut self.streams[stream].stream;
                opened.watch(spec.key.clone(), Some(options)).await?;
            }
            self.created(*number, stream, spec.clone()).await?;
        }
        Ok(())
    }

    /// Reads until every stream says that all up to `revision` was told.
    pub async fn catch_up(&mut self, revision: i64) -> anyhow::Result<()> {
        for stream in 0..self.streams.len() {
            let told = async {
                loop {
                    self.release(stream).await?;
                    self.streams[stream].stream.request_progress().await?;
                    // etcd does not answer while a watch lags; so it is asked again.
                    let answer = tokio::time::timeout(ASK_AGAIN, self.progress(stream, revision));
                    if let Ok(told) = answer.await {
                        return told;
                    }
                }
            };
            let in_time = tokio::time::timeout(PATIENCE, told).await;
            in_time.with_context(|| format!("stream {stream} never came to {revision}"))??;
        }
        for watcher in self.watchers.values_mut() {
            watcher.next = watcher.next.max(revision + 1);
        }
        Ok(())
    }

    /// etcd tells no progress of a stream on which a compaction ended a watch, until the client
    /// has ended that watch as well.
    async fn release(&mut self, stream: usize) -> anyhow::Result<()> {
        for watcher in self.watchers.values_mut() {
            let compacted = watcher.seen.ended.as_ref().is_some_and(|end| end.compacted);
            if watcher.stream == stream && compacted && !watcher.released {
                self.streams[stream].stream.cancel(watcher.id).await?;
                watcher.released = true;
            }
        }
        Ok(())
    }

    /// What each was told so far.
    pub fn seen(&self) -> BTreeMap<usize, Seen> {
        let mut seen = BTreeMap::new();
        for (number, watcher) in &self.watchers {
            let mut what = watcher.seen.clone();
            let key = |event: &PbEvent| event.kv.as_ref().map(|kv| kv.key.clone());
            what.events
                .sort_by_key(|event| (revision(event), key(event)));
            seen.insert(*number, what);
        }
        seen
    }

    /// The numbers of those that go on.
    pub fn living(&self) -> Vec<usize> {
        let lives =
            |(number, watcher): (&usize, &Watcher)| watcher.seen.ended.is_none().then_some(*number);
        self.watchers.iter().filter_map(lives).collect()
    }

    async fn connect(&self, connection: usize, spec: &Spec) -> anyhow::Result<Open> {
        let node = connection % self.endpoints.urls.len();
        let mut client = self.endpoints.client_of(node).await?;
        let options = self.options(spec);
        Ok(Open {
            stream: client.watch(spec.key.clone(), Some(options)).await?,
            ids: HashMap::new(),
        })
    }

    fn options(&self, spec: &Spec) -> WatchOptions {
        let mut options = WatchOptions::new()
            .with_filters(spec.filters.clone())
            .with_watch_id(spec.id);
        if !spec.range_end.is_empty() {
            options = options.with_range(spec.range_end.clone());
        }
        if spec.start != 0 {
            options = options.with_start_revision(spec.start + self.base);
        }
        if spec.prev_kv {
            options = options.with_prev_key();
        }
        if spec.fragment {
            options = options.with_fragment();
        }
        options
    }

    /// Reads until the watch that was asked for last is there, or was refused.
    async fn created(&mut self, number: usize, stream: usize, spec: Spec) -> anyhow::Result<()> {
        let response = loop {
            let response = self.message(stream).await?;
            if response.created {
                break response;
            }
            self.take(stream, response)?;
        };
        let now = response.header.as_ref().context("a header")?.revision - self.base;
        let old = self.watchers.remove(&number);
        let mut watcher = Watcher {
            next: if spec.start == 0 { now + 1 } else { spec.start },
            stream,
            id: response.watch_id,
            released: false,
            seen: old.map(|old| old.seen).unwrap_or_default(),
            spec,
        };
        if response.canceled {
            watcher.seen.ended = Some(ended(&response));
        } else {
            self.streams[stream].ids.insert(response.watch_id, number);
        }
        self.watchers.insert(number, watcher);
        Ok(())
    }

    async fn progress(&mut self, stream: usize, revision: i64) -> anyhow::Result<()> {
        loop {
            let told = self.read(stream).await?;
            if told.is_some_and(|told| told >= revision) {
                return Ok(());
            }
        }
    }

    async fn read(&mut self, stream: usize) -> anyhow::Result<Option<i64>> {
        let response = self.message(stream).await?;
        self.take(stream, response)
    }

    async fn message(&mut self, stream: usize) -> anyhow::Result<PbWatchResponse> {
        let message = self.streams[stream].stream.message();
        let message = tokio::time::timeout(PATIENCE, message).await;
        let message = message.context("a watch stream is silent")??;
        Ok(message.context("a watch stream ended")?.0)
    }

    /// Notes a response; gives the revision of a mark of progress for the whole stream.
    fn take(&mut self, stream: usize, response: PbWatchResponse) -> anyhow::Result<Option<i64>> {
        if response.watch_id == WHOLE_STREAM {
            ensure!(
                response.events.is_empty(),
                "events for no watch: {response:?}"
            );
            let header = response.header.context("progress without a header")?;
            return Ok(Some(header.revision - self.base));
        }
        let number = self.streams[stream].ids.get(&response.watch_id);
        let number = number.with_context(|| format!("for a watch that is not: {response:?}"))?;
        let watcher = self
            .watchers
            .get_mut(number)
            .context("a watch that is known")?;
        for event in &response.events {
            let event = normal::event(event, self.base);
            let at = revision(&event);
            if at < watcher.next {
                bail!("watch {number} was told of {at} again, or not at once: {event:?}");
            }
            watcher.seen.events.push(event);
        }
        ensure!(
            !response.fragment || watcher.spec.fragment,
            "watch {number} did not ask for fragments"
        );
        if !response.fragment
            && let Some(last) = watcher.seen.events.last()
        {
            watcher.next = watcher.next.max(revision(last) + 1);
        }
        if response.canceled && watcher.seen.ended.is_none() {
            watcher.seen.ended = Some(ended(&response));
        }
        Ok(None)
    }
}

fn ended(response: &PbWatchResponse) -> Ended {
    Ended {
        reason: response.cancel_reason.clone(),
        compacted: response.compact_revision > 0,
    }
}

fn revision(event: &PbEvent) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// The id of what is said of all watches of a stream.
const WHOLE_STREAM: i64 = -1;
const ASK_AGAIN: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);
