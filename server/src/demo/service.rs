//! A service as its author would write it on the SDK: it mirrors its settings, reads one of them
//! linearizably, and writes what it did; all of it all the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_client::{Client, Mirror, ReadError};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running service.
pub(super) struct Service {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// A write that the cluster said it has.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) key: String,
    pub(super) number: i64,
    pub(super) revision: u64,
    pub(super) at: Instant,
}

/// What the service met.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) writes: Vec<Acknowledged>,
    /// Writes that ended in an error, by what it said.
    pub(super) writes_failed: Vec<String>,
    pub(super) reads: usize,
    /// Reads that ended in an error, by what it said.
    pub(super) reads_failed: Vec<String>,
}

#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    acknowledged: AtomicUsize,
    reads: AtomicUsize,
}

impl Service {
    /// Starts to read and write below `prefix`.
    pub(super) async fn start(client: &Client, prefix: &str) -> Result<Self, ReadError> {
        let mirror = client.mirror(format!("{prefix}/")).await?;
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        let tasks = vec![
            tokio::spawn(write(
                client.clone(),
                prefix.to_owned(),
                shared.clone(),
                stop.clone(),
            )),
            tokio::spawn(read(
                client.clone(),
                prefix.to_owned(),
                shared.clone(),
                stop.clone(),
            )),
            tokio::spawn(look(
                mirror,
                prefix.to_owned(),
                shared.clone(),
                stop.clone(),
            )),
        ];
        Ok(Self {
            shared,
            stop,
            tasks,
        })
    }

    /// How many writes were acknowledged so far.
    pub(super) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// What it did so far.
    pub(super) fn in_words(&self) -> String {
        let reads = self.shared.reads.load(Ordering::Relaxed);
        format!("{} writes, {reads} reads", self.acknowledged())
    }

    /// Stops when what was begun is done.
    pub(super) async fn stop(self) -> Record {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                self.shared
                    .record
                    .lock()
                    .reads_failed
                    .push(error.to_string());
            }
        }
        let mut record = std::mem::take(&mut *self.shared.record.lock());
        record.reads = self.shared.reads.load(Ordering::Relaxed);
        record
    }
}

impl Record {
    /// The newest revision that was acknowledged.
    pub(super) fn last_revision(&self) -> u64 {
        self.writes
            .iter()
            .map(|write| write.revision)
            .max()
            .unwrap_or(0)
    }

    /// The longest time from one acknowledged write to the next.
    pub(super) fn longest_gap(&self) -> Duration {
        let gaps = self.writes.windows(2).map(|pair| pair[1].at - pair[0].at);
        gaps.max().unwrap_or_default()
    }
}

async fn write(client: Client, prefix: String, shared: Arc<Shared>, stop: CancellationToken) {
    for number in 1_i64.. {
        if stop.is_cancelled() {
            return;
        }
        let key = format!("{prefix}/Runs/{number:06}");
        match client.put(key.as_str(), number).await {
            Ok(written) => {
                let revision = written.revision.get();
                let at = Instant::now();
                let write = Acknowledged {
                    key,
                    number,
                    revision,
                    at,
                };
                shared.record.lock().writes.push(write);
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => shared.record.lock().writes_failed.push(error.to_string()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Linearizable reads: each asks the cluster.
async fn read(client: Client, prefix: String, shared: Arc<Shared>, stop: CancellationToken) {
    let key = format!("{prefix}/LogRetentionDays");
    while !stop.is_cancelled() {
        let failure = match client.get(key.as_str()).await {
            Ok(Some(_)) => None,
            Ok(None) => Some(format!("{key} is gone")),
            Err(error) => Some(error.to_string()),
        };
        shared.count_read(failure);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads from the mirror: they ask nobody.
async fn look(mirror: Mirror, prefix: String, shared: Arc<Shared>, stop: CancellationToken) {
    let key = format!("{prefix}/ConfigPath");
    while !stop.is_cancelled() {
        let found = mirror.get(&key).is_some();
        shared.count_read((!found).then(|| format!("{key} is not in the mirror")));
        tokio::time::sleep(PAUSE).await;
    }
}

impl Shared {
    fn count_read(&self, failure: Option<String>) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = failure {
            self.record.lock().reads_failed.push(failure);
        }
    }
}

/// Between two requests of one kind: the cluster shares this machine's cores with the service.
const PAUSE: Duration = Duration::from_millis(1);
