//! The client for programs without an async runtime: the same calls, waiting for their answers.
//!
//! It runs its own runtime on one thread. Must not be used inside another runtime: it would block
//! it (and tokio panics to say so).

use std::{fmt, future::Future, sync::Arc, time::Duration};

use holdfast_proto::{Key, KeyRange, LeaseId, Revision, Value};
use tokio::runtime::{Builder, Runtime};

use crate::{
    ClientOptions, ConnectError, Context, DeleteOptions, Deleted, DestroyOptions, Diff, Found,
    History, HistoryOptions, LockError, LockOptions, Mirror, Page, PutOptions, RangeOptions,
    ReadError, ReadOptions, RevealOptions, Revealed, RolledBack, Secret, SecretPutOptions,
    SecretWritten, Transacted, Transaction, WatchError, WatchItem, WatchOptions, WriteError,
    Written,
};

/// A client of one cluster that waits. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

/// A watch as an iterator; it ends after its first error.
#[derive(Debug)]
pub struct Watch {
    watch: crate::Watch,
    runtime: Arc<Runtime>,
    over: bool,
}

/// A lease that keeps itself alive while this exists.
#[derive(Debug)]
pub struct Lease {
    lease: crate::Lease,
    runtime: Arc<Runtime>,
}

/// A lock that is held. Dropping it releases the lock in the background, while the client lives;
/// with the last of the client gone, the lock's lease runs out instead.
#[derive(Debug)]
pub struct LockGuard {
    guard: crate::LockGuard,
    runtime: Arc<Runtime>,
}

impl Client {
    /// Connects with default options; fails unless a server answers within the request timeout.
    pub fn connect(context: &Context) -> Result<Self, ConnectError> {
        Self::with_options(context, ClientOptions::default())
    }

    /// Connects; fails unless a server answers within `options.request_timeout`.
    pub fn with_options(context: &Context, options: ClientOptions) -> Result<Self, ConnectError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("holdfast-client")
            .enable_all()
            .build()
            .map_err(|error| ConnectError::Runtime(error.to_string()))?;
        let client = runtime.block_on(crate::Client::with_options(context, options))?;
        Ok(Self {
            client,
            runtime: Arc::new(runtime),
        })
    }

    /// The client underneath, for what is not wrapped here; run it with [`Client::wait`].
    pub fn inner(&self) -> &crate::Client {
        &self.client
    }

    /// Waits for any future, on this client's runtime.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// As [`crate::Client::get`].
    pub fn get<K>(&self, key: K) -> Result<Option<Found>, ReadError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.get(key))
    }

    /// As [`crate::Client::get_with`].
    pub fn get_with<K>(&self, key: K, options: ReadOptions) -> Result<Option<Found>, ReadError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.get_with(key, options))
    }

    /// As [`crate::Client::range`].
    pub fn range(&self, range: KeyRange, options: RangeOptions) -> Result<Page, ReadError> {
        self.wait(self.client.range(range, options))
    }

    /// As [`crate::Client::range_all`].
    pub fn range_all(&self, range: KeyRange, options: RangeOptions) -> Result<Page, ReadError> {
        self.wait(self.client.range_all(range, options))
    }

    /// As [`crate::Client::put`].
    pub fn put<K>(&self, key: K, value: impl Into<Value>) -> Result<Written, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.put(key, value))
    }

    /// As [`crate::Client::put_with`].
    pub fn put_with<K>(
        &self,
        key: K,
        value: impl Into<Value>,
        options: PutOptions,
    ) -> Result<Written, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.put_with(key, value, options))
    }

    /// As [`crate::Client::delete`].
    pub fn delete<K>(&self, key: K) -> Result<Deleted, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.delete(key))
    }

    /// As [`crate::Client::delete_range`].
    pub fn delete_range(
        &self,
        range: KeyRange,
        options: DeleteOptions,
    ) -> Result<Deleted, WriteError> {
        self.wait(self.client.delete_range(range, options))
    }

    /// As [`crate::Client::transact`].
    pub fn transact(
        &self,
        transaction: Transaction,
        note: impl Into<String>,
    ) -> Result<Transacted, WriteError> {
        self.wait(self.client.transact(transaction, note))
    }

    /// As [`crate::Client::history`].
    pub fn history<K>(&self, key: K, options: HistoryOptions) -> Result<History, ReadError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.history(key, options))
    }

    /// As [`crate::Client::diff`].
    pub fn diff(
        &self,
        range: KeyRange,
        from: Revision,
        to: Option<Revision>,
    ) -> Result<Diff, ReadError> {
        self.wait(self.client.diff(range, from, to))
    }

    /// As [`crate::Client::rollback`].
    pub fn rollback(
        &self,
        range: KeyRange,
        to: Revision,
        note: impl Into<String>,
    ) -> Result<RolledBack, WriteError> {
        self.wait(self.client.rollback(range, to, note))
    }

    /// As [`crate::SecretsClient::put_with`].
    pub fn put_secret<K>(
        &self,
        key: K,
        secret: impl Into<Secret>,
        options: SecretPutOptions,
    ) -> Result<SecretWritten, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.secrets().put_with(key, secret, options))
    }

    /// As [`crate::SecretsClient::reveal_with`].
    pub fn reveal<K>(&self, key: K, options: RevealOptions) -> Result<Revealed, ReadError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.secrets().reveal_with(key, options))
    }

    /// As [`crate::SecretsClient::destroy`].
    pub fn destroy_secret<K>(&self, key: K, options: DestroyOptions) -> Result<u64, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.wait(self.client.secrets().destroy(key, options))
    }

    /// As [`crate::Client::watch`].
    pub fn watch(&self, range: KeyRange, options: WatchOptions) -> Watch {
        let _inside = self.runtime.enter();
        Watch {
            watch: self.client.watch(range, options),
            runtime: Arc::clone(&self.runtime),
            over: false,
        }
    }

    /// As [`crate::Client::mirror`]. Reading it never waits, here as there.
    pub fn mirror(&self, prefix: &str) -> Result<Mirror, ReadError> {
        self.wait(self.client.mirror(prefix.to_owned()))
    }

    /// As [`crate::Client::grant_lease`].
    pub fn grant_lease(&self, ttl: Duration) -> Result<Lease, WriteError> {
        Ok(Lease {
            lease: self.wait(self.client.grant_lease(ttl))?,
            runtime: Arc::clone(&self.runtime),
        })
    }

    /// As [`crate::Client::lock`].
    pub fn lock(&self, name: &str, options: LockOptions) -> Result<LockGuard, LockError> {
        Ok(LockGuard {
            guard: self.wait(self.client.lock(name, options))?,
            runtime: Arc::clone(&self.runtime),
        })
    }
}

impl Iterator for Watch {
    type Item = Result<WatchItem, WatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item = self.runtime.block_on(self.watch.next());
        self.over = item.is_err();
        Some(item)
    }
}

impl Lease {
    /// As [`crate::Lease::id`].
    pub fn id(&self) -> LeaseId {
        self.lease.id()
    }

    /// As [`crate::Lease::is_alive`].
    pub fn is_alive(&self) -> bool {
        self.lease.is_alive()
    }

    /// As [`crate::Lease::revoke`].
    pub fn revoke(&self) -> Result<u64, WriteError> {
        self.runtime.block_on(self.lease.revoke())
    }
}

impl LockGuard {
    /// As [`crate::Hold::token`].
    pub fn token(&self) -> Revision {
        self.guard.token()
    }

    /// As [`crate::Hold::is_held`].
    pub fn is_held(&self) -> bool {
        self.guard.is_held()
    }

    /// As [`crate::LockGuard::release`].
    pub fn release(self) -> Result<(), LockError> {
        let Self { guard, runtime } = self;
        runtime.block_on(guard.release())
    }
}
