//! Load: clients that read, write and watch, and record what they were told.
//!
//! Each write carries its operation's number in its note, and a value that nobody else writes, so
//! that the checker recognises it in the store's account.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use holdfast_client::{
    Client, ClientOptions, Context, DeleteOptions, Expected, Key, KeyRange, Operation, PutOptions,
    RangeOptions, ReadError, Revision, Transaction, Value, WriteError,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    checker::{self, watches::RANGE},
    history::{Answer, Call, Event, History, Recorder, note},
};

pub mod account;
pub mod locks;
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
    /// Sets them to work. Lines go to `recorder`.
    pub fn start(context: &Context, recorder: Recorder, options: LoadOptions) -> Self {
        let stop = watch::Sender::new(Stage::Running);
        let mut load = Self {
            context: context.clone(),
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
            let task = watchers::watch(load.worker(WATCHERS + process));
            load.watchers.push(tokio::spawn(task));
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
        Ok(History {
            lines: self.recorder.lines(),
            changes,
        })
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
    options: LoadOptions,
    recorder: Recorder,
    stop: watch::Receiver<Stage>,
    random: StdRng,
}

/// What a client last saw of a key: value and revision; none: not there.
type Seen = Option<(String, Revision)>;

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

    async fn run(mut self) -> anyhow::Result<()> {
        let client = self.connect()?;
        let mut seen: HashMap<String, Seen> = HashMap::new();
        while !self.is_over() {
            let key = self.key();
            match self.random.random_range(0..100) {
                0..40 => self.get(&client, key, &mut seen).await?,
                40..70 => self.put(&client, key).await?,
                70..85 => self.compare_and_set(&client, key, &mut seen).await?,
                85..92 => self.delete(&client, key).await?,
                _ => self.put_many(&client, key).await?,
            }
            self.pause().await;
        }
        Ok(())
    }

    fn key(&mut self) -> String {
        format!("{RANGE}{}", self.random.random_range(0..self.options.keys))
    }

    async fn get(
        &self,
        client: &Client,
        key: String,
        seen: &mut HashMap<String, Seen>,
    ) -> anyhow::Result<()> {
        let range = KeyRange::single(&Key::try_from(key.as_str())?);
        let operation = self.recorder.next_operation();
        self.invoke(operation, Call::Get { key: key.clone() });
        let page = client.range(range, RangeOptions::default()).await;
        let answer = page.map(|page| {
            let found = page.entries.first();
            let found = found.map(|entry| (text(entry.value.as_ref()), entry.modified));
            seen.insert(key, found.clone());
            let modified = found.as_ref().map_or(0, |(_, modified)| modified.get());
            let value = found.map(|(value, _)| value);
            Answer::Read {
                value,
                modified,
                revision: page.revision,
            }
        });
        self.returned_read(operation, answer);
        Ok(())
    }

    async fn put(&self, client: &Client, key: String) -> anyhow::Result<()> {
        let operation = self.recorder.next_operation();
        let value = value_of(operation);
        self.invoke(
            operation,
            Call::Put {
                key: key.clone(),
                value: value.clone(),
            },
        );
        let options = PutOptions {
            note: note(operation),
            ..PutOptions::default()
        };
        let answer = client.put_with(key.as_str(), value, options).await;
        let answer = answer.map(|done| Answer::Written {
            revision: done.revision.get(),
        });
        self.returned_write(operation, answer);
        Ok(())
    }

    async fn compare_and_set(
        &self,
        client: &Client,
        key: String,
        seen: &mut HashMap<String, Seen>,
    ) -> anyhow::Result<()> {
        let Some(known) = seen.remove(&key) else {
            return self.get(client, key, seen).await;
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
        let expected = known.map_or(Expected::Absent, |(_, revision)| Expected::At(revision));
        let options = PutOptions {
            expected: Some(expected),
            note: note(operation),
            ..PutOptions::default()
        };
        let answer = match client.put_with(key.as_str(), value, options).await {
            Err(WriteError::Conflict { found, .. }) => Ok(Answer::Conflict {
                found: found.map_or(0, Revision::get),
            }),
            other => other.map(|done| Answer::Written {
                revision: done.revision.get(),
            }),
        };
        self.returned_write(operation, answer);
        Ok(())
    }

    async fn delete(&self, client: &Client, key: String) -> anyhow::Result<()> {
        let range = KeyRange::single(&Key::try_from(key.as_str())?);
        let operation = self.recorder.next_operation();
        self.invoke(operation, Call::Delete { key });
        let options = DeleteOptions {
            note: note(operation),
            ..DeleteOptions::default()
        };
        let answer = client
            .delete_range(range, options)
            .await
            .map(|done| Answer::Deleted {
                existed: done.deleted > 0,
                revision: done.revision.map_or(0, Revision::get),
            });
        self.returned_write(operation, answer);
        Ok(())
    }

    async fn put_many(&mut self, client: &Client, key: String) -> anyhow::Result<()> {
        let mut keys = vec![key, self.key()];
        keys.sort();
        keys.dedup();
        let operation = self.recorder.next_operation();
        let value = value_of(operation);
        let mut transaction = Transaction::new();
        for key in &keys {
            let key = Key::try_from(key.as_str())?;
            transaction = transaction.then(Operation::put(&key, value.clone()));
        }
        self.invoke(operation, Call::PutMany { keys, value });
        let answer = client.transact(transaction, &note(operation)).await;
        let answer = answer.map(|done| Answer::Written {
            revision: done.revision,
        });
        self.returned_write(operation, answer);
        Ok(())
    }

    fn invoke(&self, operation: u64, call: Call) {
        self.recorder
            .record(self.process, Event::Invoke { operation, call });
    }

    fn returned_read(&self, operation: u64, answer: Result<Answer, ReadError>) {
        let event = match answer {
            Ok(answer) => Event::Ok { operation, answer },
            // A read has no effect, whatever became of it.
            Err(error) => Event::Fail {
                operation,
                why: error.to_string(),
            },
        };
        self.recorder.record(self.process, event);
    }

    fn returned_write(&self, operation: u64, answer: Result<Answer, WriteError>) {
        let event = match answer {
            Ok(answer) => Event::Ok { operation, answer },
            Err(error) if error.may_have_happened() => Event::Unknown {
                operation,
                why: error.to_string(),
            },
            Err(error) => Event::Fail {
                operation,
                why: error.to_string(),
            },
        };
        self.recorder.record(self.process, event);
    }
}

/// The value that operation `number` writes.
fn value_of(number: u64) -> String {
    format!("value {number}")
}

/// The text of a value that a worker wrote.
fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => text.to_string(),
        other => format!("not a text: {other:?}"),
    }
}

const LOCKERS: u64 = 1_000;
const WATCHERS: u64 = 2_000;
const FAULTS: u64 = 3_000;
