//! Load: clients that read, write and watch, and record what they were told.
//!
//! Each write carries its operation's number in its note, and a value that nobody else writes, so
//! that the checker recognises it in the store's account.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use holdfast_client::{Client, ClientOptions, Context, Value};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    checker::{self, watches::RANGE},
    etcd::Endpoints,
    history::{Answer, Call, Event, History, Recorder, note},
};

pub mod account;
mod etcd;
pub mod locks;
mod sdk;
pub mod watchers;

/// How much of what.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Clients that read and write.
    pub clients: u64,
    /// Keys that they share.
    pub keys: u64,
    /// Clients that watch.
    pub watchers: u64,
    /// Clients that contend for one lock.
    pub lockers: u64,
    /// The longest pause of a client between two calls.
    pub pause: Duration,
    /// How long a call may take.
    pub request_timeout: Duration,
    /// For all choices.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            clients: 8,
            keys: 5,
            watchers: 2,
            lockers: 2,
            pause: Duration::from_millis(10),
            request_timeout: Duration::from_secs(10),
            seed: 0,
        }
    }
}

/// Load that is under way.
pub struct Load {
    context: Context,
    etcd: Option<Endpoints>,
    options: LoadOptions,
    recorder: Recorder,
    stop: watch::Sender<Stage>,
    clients: Vec<JoinHandle<anyhow::Result<()>>>,
    watchers: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Everybody works.
    Running,
    /// Clients end; watchers go on until they have seen this revision.
    Until(u64),
}

impl Load {
    /// Sets them to work. Lines go to `recorder`. With endpoints of `etcd`, those that read, write
    /// and watch are clients of etcd.
    pub fn start(
        context: &Context,
        etcd: Option<Endpoints>,
        recorder: Recorder,
        options: LoadOptions,
    ) -> Self {
        let stop = watch::Sender::new(Stage::Running);
        let mut load = Self {
            context: context.clone(),
            etcd,
            options: options.clone(),
            recorder,
            stop,
            clients: Vec::new(),
            watchers: Vec::new(),
        };
        for process in 0..options.clients {
            let worker = load.worker(process);
            load.clients.push(tokio::spawn(worker.run()));
        }
        for process in 0..options.lockers {
            let task = locks::contend(load.worker(LOCKERS + process));
            load.clients.push(tokio::spawn(task));
        }
        for process in 0..options.watchers {
            let worker = load.worker(WATCHERS + process);
            load.watchers.push(match load.etcd.clone() {
                Some(endpoints) => tokio::spawn(etcd::watch(worker, endpoints)),
                None => tokio::spawn(watchers::watch(worker)),
            });
        }
        load
    }

    /// Notes in the history that something was done to the cluster.
    pub fn fault(&self, what: impl Into<String>) {
        self.recorder
            .record(FAULTS, Event::Fault { what: what.into() });
    }

    /// Waits until `count` more writes have been acknowledged: the cluster works.
    pub async fn progress(&self, count: usize) -> anyhow::Result<()> {
        let acknowledged = || self.recorder.acknowledged();
        let target = acknowledged() + count as u64;
        crate::harness::wait::until_true(
            format!("{count} more acknowledged writes"),
            Duration::from_secs(60),
            || acknowledged() >= target,
        )
        .await
    }

    /// Ends it, and gathers the history with the store's own account.
    pub async fn finish(mut self) -> anyhow::Result<History> {
        self.stop.send_replace(Stage::Until(u64::MAX));
        for client in self.clients.drain(..) {
            client.await?.context("a client")?;
        }
        let client = Client::connect(&self.context).await?;
        let changes = account::read(&client)
            .await
            .context("reading the store's account")?;
        let newest = changes.last().map_or(0, |change| change.revision);
        self.stop.send_replace(Stage::Until(newest));
        for watcher in self.watchers.drain(..) {
            watcher.await?.context("a watcher")?;
        }
        account::compare(&client, &changes).await?;
        let mut history = History {
            lines: self.recorder.lines(),
            changes,
        };
        if self.etcd.is_some() {
            account::name_deletions(&mut history);
        }
        Ok(history)
    }

    /// Ends it and checks everything; a broken promise is an error that names seed and history.
    pub async fn finish_and_check(self) -> anyhow::Result<History> {
        let (path, seed) = (self.recorder.path().to_path_buf(), self.options.seed);
        let evidence = || format!("seed {seed}, history {}", path.display());
        let history = self.finish().await.with_context(evidence)?;
        let violations = checker::check(&history);
        if !violations.is_empty() {
            let shown: Vec<String> = violations
                .iter()
                .take(10)
                .map(|violation| format!("  {violation}"))
                .collect();
            anyhow::bail!(
                "{} promises broken ({}):\n{}",
                violations.len(),
                evidence(),
                shown.join("\n")
            );
        }
        Ok(history)
    }

    fn worker(&self, process: u64) -> Worker {
        Worker {
            process,
            context: self.context.clone(),
            etcd: self.etcd.clone(),
            options: self.options.clone(),
            recorder: self.recorder.clone(),
            stop: self.stop.subscribe(),
            random: StdRng::seed_from_u64(self.options.seed.wrapping_add(process)),
        }
    }
}

/// One client at work.
struct Worker {
    process: u64,
    context: Context,
    etcd: Option<Endpoints>,
    options: LoadOptions,
    recorder: Recorder,
    stop: watch::Receiver<Stage>,
    random: StdRng,
}

/// What a client last saw of a key: value and revision; none: not there.
type Seen = Option<(String, u64)>;

/// A store as a worker uses it, through whichever client.
trait Store {
    /// Reads a key, linearizably.
    async fn get(&mut self, key: &str) -> Result<Answer, Failure>;
    /// Writes a key.
    async fn put(&mut self, key: &str, value: &str, note: &str) -> Result<Answer, Failure>;
    /// Writes a key that must be at a revision, or absent.
    async fn compare_and_set(
        &mut self,
        key: &str,
        expected: Option<u64>,
        value: &str,
        note: &str,
    ) -> Result<Answer, Failure>;
    /// Deletes a key.
    async fn delete(&mut self, key: &str, note: &str) -> Result<Answer, Failure>;
    /// Writes several keys in one transaction.
    async fn put_many(
        &mut self,
        keys: &[String],
        value: &str,
        note: &str,
    ) -> Result<Answer, Failure>;
}

/// Why a call was not answered.
struct Failure {
    may_have_happened: bool,
    why: String,
}

impl Worker {
    fn connect(&self) -> anyhow::Result<Client> {
        let request_timeout = self.options.request_timeout;
        let options = ClientOptions {
            request_timeout,
            ..ClientOptions::default()
        };
        Ok(Client::lazy(&self.context, options)?)
    }

    fn is_over(&self) -> bool {
        *self.stop.borrow() != Stage::Running
    }

    async fn pause(&mut self) {
        let most = u64::try_from(self.options.pause.as_micros()).unwrap_or(u64::MAX);
        let micros = self.random.random_range(0..=most);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }

    async fn run(self) -> anyhow::Result<()> {
        match &self.etcd {
            Some(endpoints) => {
                let first = usize::try_from(self.process)?;
                let timeout = self.options.request_timeout;
                let store = etcd::EtcdStore::new(endpoints.clone(), first, timeout);
                self.work(store).await
            }
            None => {
                let store = sdk::SdkStore(self.connect()?);
                self.work(store).await
            }
        }
    }

    async fn work(mut self, mut store: impl Store) -> anyhow::Result<()> {
        let mut seen: HashMap<String, Seen> = HashMap::new();
        while !self.is_over() {
            let key = self.key();
            match self.random.random_range(0..100) {
                0..40 => self.get(&mut store, key, &mut seen).await,
                40..70 => self.put(&mut store, key).await,
                70..85 => self.compare_and_set(&mut store, key, &mut seen).await,
                85..92 => self.delete(&mut store, key).await,
                _ => self.put_many(&mut store, key).await,
            }
            self.pause().await;
        }
        Ok(())
    }

    fn key(&mut self) -> String {
        format!("{RANGE}{}", self.random.random_range(0..self.options.keys))
    }

    async fn get(&self, store: &mut impl Store, key: String, seen: &mut HashMap<String, Seen>) {
        let operation = self.recorder.next_operation();
        self.invoke(operation, Call::Get { key: key.clone() });
        let read = store.get(&key).await;
        if let Ok(Answer::Read {
            value, modified, ..
        }) = &read
        {
            seen.insert(key, value.clone().map(|value| (value, *modified)));
        }
        // A read has no effect, whatever became of it.
        let read = read.map_err(|failure| Failure {
            may_have_happened: false,
            ..failure
        });
        self.returned(operation, read);
    }

    async fn put(&self, store: &mut impl Store, key: String) {
        let operation = self.recorder.next_operation();
        let value = value_of(operation);
        self.invoke(
            operation,
            Call::Put {
                key: key.clone(),
                value: value.clone(),
            },
        );
        let answer = store.put(&key, &value, &note(operation)).await;
        self.returned(operation, answer);
    }

    async fn compare_and_set(
        &self,
        store: &mut impl Store,
        key: String,
        seen: &mut HashMap<String, Seen>,
    ) {
        let Some(known) = seen.remove(&key) else {
            return self.get(store, key, seen).await;
        };
        let operation = self.recorder.next_operation();
        let value = value_of(operation);
        self.invoke(
            operation,
            Call::CompareAndSet {
                key: key.clone(),
                expected: known.as_ref().map(|(value, _)| value.clone()),
                value: value.clone(),
            },
        );
        let expected = known.map(|(_, revision)| revision);
        let note = note(operation);
        let answer = store.compare_and_set(&key, expected, &value, &note).await;
        self.returned(operation, answer);
    }

    async fn delete(&self, store: &mut impl Store, key: String) {
        let operation = self.recorder.next_operation();
        self.invoke(operation, Call::Delete { key: key.clone() });
        let answer = store.delete(&key, &note(operation)).await;
        self.returned(operation, answer);
    }

    async fn put_many(&mut self, store: &mut impl Store, key: String) {
        let mut keys = vec![key, self.key()];
        keys.sort();
        keys.dedup();
        let operation = self.recorder.next_operation();
        let value = value_of(operation);
        self.invoke(
            operation,
            Call::PutMany {
                keys: keys.clone(),
                value: value.clone(),
            },
        );
        let answer = store.put_many(&keys, &value, &note(operation)).await;
        self.returned(operation, answer);
    }

    fn invoke(&self, operation: u64, call: Call) {
        self.recorder
            .record(self.process, Event::Invoke { operation, call });
    }

    fn returned(&self, operation: u64, answer: Result<Answer, Failure>) {
        let event = match answer {
            Ok(answer) => Event::Ok { operation, answer },
            Err(Failure {
                may_have_happened: true,
                why,
            }) => Event::Unknown { operation, why },
            Err(Failure { why, .. }) => Event::Fail { operation, why },
        };
        self.recorder.record(self.process, event);
    }
}

/// The value that operation `number` writes.
fn value_of(number: u64) -> String {
    format!("{VALUE}{number}")
}

/// The text of a value that a worker wrote. What etcd's clients write are bytes.
fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => text.to_string(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("not a text: {other:?}"),
    }
}

const VALUE: &str = "value ";
const LOCKERS: u64 = 1_000;
const WATCHERS: u64 = 2_000;
const FAULTS: u64 = 3_000;
