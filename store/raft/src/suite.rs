//! The consensus library's own storage suite, over the real log and store; and once more with the
//! log closed and opened again after every single call.

use std::{fmt::Debug, io, ops::RangeBounds, path::PathBuf, sync::Arc};

use holdfast_disk::{Log, LogOptions, Store, StoreOptions};
use openraft::{
    StorageError,
    storage::{RaftLogReader, RaftLogStorage},
    testing::log::{StoreBuilder, Suite},
    type_config::TypeConfigExt as _,
};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::{
    log::LogStore,
    machine::Machine,
    progress::Progress,
    types::{Entry, IoFlushed, LogId, LogState, Types, Vote},
};

fn machine(dir: &TempDir) -> Machine {
    let (store, recovered) = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let progress = Arc::new(Progress::new(u64::MAX, u64::MAX));
    Machine::new(store, progress, recovered.meta).unwrap()
}

fn log(dir: &std::path::Path) -> LogStore {
    LogStore::new(Log::open(dir, LogOptions::default()).unwrap())
}

struct Plain;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Plain {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, machine) = (log(dir.path()), machine(&dir));
        Ok((dir, log, machine))
    }
}

/// A log that is opened anew before each call.
#[derive(Clone)]
struct Reopened {
    dir: PathBuf,
    /// One call at a time: a folder has one log.
    turn: Arc<Mutex<()>>,
}

impl RaftLogReader<Types> for Reopened {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).limited_get_log_entries(start, end).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).read_vote().await
    }
}

impl RaftLogStorage<Types> for Reopened {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState, io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IoFlushed) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let _turn = self.turn.lock().await;
        let (done, flushed) = Types::oneshot();
        log(&self.dir)
            .append(entries, IoFlushed::signal(done))
            .await?;
        callback.io_completed(flushed.await.unwrap());
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let _turn = self.turn.lock().await;
        log(&self.dir).purge(upto).await
    }
}

struct Reopening;

impl StoreBuilder<Types, Reopened, Machine, TempDir> for Reopening {
    async fn build(&self) -> Result<(TempDir, Reopened, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let log = Reopened {
            dir: dir.path().to_owned(),
            turn: Arc::default(),
        };
        let machine = machine(&dir);
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storage_suite_passes() {
    Suite::test_all(Plain).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storage_suite_passes_with_a_reopen_after_every_call() {
    Suite::test_all(Reopening).await.unwrap();
}
