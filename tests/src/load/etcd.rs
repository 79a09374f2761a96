//! The store through the client that etcd's users have, on our etcd front.
//!
//! It repeats nothing and follows no leader: a call that was not answered is unknown, and the next
//! one goes to the next node.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use etcd_client::{
    Client, Compare, CompareOp, Error, EventType, ResponseHeader, Txn, TxnOp, TxnOpResponse,
    WatchOptions, WatchResponse, WatchStream,
};
use tonic::Code;

use super::{Failure, RANGE, Stage, Store, Worker, account};
use crate::{
    etcd::Endpoints,
    history::{Answer, Change, Event},
};

/// One client, of one node at a time.
pub(super) struct EtcdStore {
    endpoints: Endpoints,
    node: usize,
    timeout: Duration,
    client: Option<Client>,
}

impl EtcdStore {
    /// Begins at the node of this number; they go round.
    pub(super) fn new(endpoints: Endpoints, node: usize, timeout: Duration) -> Self {
        Self {
            endpoints,
            node,
            timeout,
            client: None,
        }
    }

    async fn client(&mut self) -> Result<Client, Error> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let options = self.endpoints.options().with_timeout(self.timeout);
        let url = &self.endpoints.urls[self.node % self.endpoints.urls.len()];
        let client = Client::connect([url], Some(options)).await?;
        Ok(self.client.insert(client).clone())
    }

    async fn ask<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let answer = match self.client().await {
            Ok(mut client) => call(&mut client).await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| {
            self.client = None;
            self.node += 1;
            Failure {
                may_have_happened: may_have_happened(&error),
                why: error.to_string(),
            }
        })
    }
}

impl Store for EtcdStore {
    async fn get(&mut self, key: &str) -> Result<Answer, Failure> {
        let got = self.ask(async |client| client.get(key, None).await).await?;
        let found = got.kvs().first();
        Ok(Answer::Read {
            value: found.map(|kv| String::from_utf8_lossy(kv.value()).into_owned()),
            modified: found.map_or(0, |kv| kv.mod_revision().cast_unsigned()),
            revision: revision(got.header()),
        })
    }

    async fn put(&mut self, key: &str, value: &str, _: &str) -> Result<Answer, Failure> {
        let put = self.ask(async |client| client.put(key, value, None).await);
        Ok(Answer::Written {
            revision: revision(put.await?.header()),
        })
    }

    async fn compare_and_set(
        &mut self,
        key: &str,
        expected: Option<u64>,
        value: &str,
        _: &str,
    ) -> Result<Answer, Failure> {
        let expected = expected.unwrap_or(0).cast_signed();
        let txn = Txn::new()
            .when([Compare::mod_revision(key, CompareOp::Equal, expected)])
            .and_then([TxnOp::put(key, value, None)])
            .or_else([TxnOp::get(key, None)]);
        let done = self.ask(async |client| client.txn(txn).await).await?;
        if done.succeeded() {
            return Ok(Answer::Written {
                revision: revision(done.header()),
            });
        }
        let found = done.op_responses().into_iter().next();
        let found = match &found {
            Some(TxnOpResponse::Get(got)) => got.kvs().first().map(|kv| kv.mod_revision()),
            _ => None,
        };
        Ok(Answer::Conflict {
            found: found.unwrap_or(0).cast_unsigned(),
        })
    }

    async fn delete(&mut self, key: &str, _: &str) -> Result<Answer, Failure> {
        let deleted = self
            .ask(async |client| client.delete(key, None).await)
            .await?;
        let existed = deleted.deleted() > 0;
        Ok(Answer::Deleted {
            existed,
            revision: if existed {
                revision(deleted.header())
            } else {
                0
            },
        })
    }

    async fn put_many(&mut self, keys: &[String], value: &str, _: &str) -> Result<Answer, Failure> {
        let puts: Vec<TxnOp> = keys
            .iter()
            .map(|key| TxnOp::put(key.as_str(), value, None))
            .collect();
        let txn = Txn::new().and_then(puts);
        let done = self.ask(async |client| client.txn(txn).await).await?;
        Ok(Answer::Written {
            revision: revision(done.header()),
        })
    }
}

/// Watches until everything was delivered that the store committed: one watch for the whole load,
/// over whichever node answers.
pub(super) async fn watch(worker: Worker, endpoints: Endpoints) -> anyhow::Result<()> {
    let begin = Event::Watching { from: 1 };
    worker.recorder.record(worker.process, begin);
    let mut next = 1;
    let mut node = usize::try_from(worker.process)?;
    while next <= wanted(&worker) {
        node += 1;
        let place = node % endpoints.urls.len();
        let Ok(mut client) = endpoints.client_of(place).await else {
            continue;
        };
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(i64::try_from(next)?);
        let opened = tokio::time::timeout(SILENCE, client.watch(RANGE, Some(options)));
        let Ok(Ok(mut stream)) = opened.await else {
            continue;
        };
        // A node that is cut off or stands still says nothing: then another one is asked.
        while next <= wanted(&worker)
            && let Some(response) = heard(&mut stream).await
        {
            next = deliver(&worker, &response, next)?;
        }
    }
    Ok(())
}

/// The next response; asks for one if there is nothing to tell, and then waits no longer.
async fn heard(stream: &mut WatchStream) -> Option<WatchResponse> {
    if let Ok(response) = tokio::time::timeout(QUIET, stream.message()).await {
        return response.ok().flatten();
    }
    stream.request_progress().await.ok()?;
    let response = tokio::time::timeout(SILENCE, stream.message()).await;
    response.ok()?.ok()?
}

/// Records what was told; returns the first revision that was not.
fn deliver(worker: &Worker, response: &WatchResponse, next: u64) -> anyhow::Result<u64> {
    ensure!(
        !response.canceled(),
        "a watch from {next} was ended: {response:?}"
    );
    if response.created() {
        return Ok(next);
    }
    let changes: Vec<Change> = response
        .events()
        .iter()
        .map(|event| {
            let kv = event.kv().context("an event has a key")?;
            let value = String::from_utf8_lossy(kv.value()).into_owned();
            let value = (event.event_type() == EventType::Put).then_some(value);
            Ok(Change {
                revision: kv.mod_revision().cast_unsigned(),
                key: String::from_utf8_lossy(kv.key()).into_owned(),
                note: account::note_or("", value.as_deref()),
                value,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let told = match changes.last() {
        Some(last) => last.revision,
        None => revision(response.header()),
    };
    let delivered = Event::Delivered {
        revision: told,
        changes,
    };
    worker.recorder.record(worker.process, delivered);
    Ok(next.max(told + 1))
}

/// The revision to reach; nothing is enough while the clients still write.
fn wanted(worker: &Worker) -> u64 {
    match *worker.stop.borrow() {
        Stage::Running => u64::MAX,
        Stage::Until(revision) => revision,
    }
}

/// Whether a write that failed so may have its effect all the same. What the store refuses has
/// none; what did not come back may.
fn may_have_happened(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => !matches!(
            status.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
        ),
        _ => true,
    }
}

fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| header.revision().cast_unsigned())
}

const QUIET: Duration = Duration::from_millis(300);
const SILENCE: Duration = Duration::from_secs(2);
