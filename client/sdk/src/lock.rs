//! Locks: one holder at a time, and a number that tells a late one from the present one.
//!
//! No lock over a network is enough by itself: a process may be paused while it believes that it
//! holds one. So a lock gives out a *fencing token*, strictly rising from holder to holder: pass it
//! on to whatever the lock protects, and let that refuse a lower one.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use holdfast_proto::{Key, Revision, v1};
use tonic::{Response, Status};

use crate::{
    Client, Lease, LockError, LockOptions, WriteError, call::Call, entry::Unreadable,
    error::Failure, node::Route, reason::Reason,
};

/// A lock that is held. Dropping it releases the lock in the background.
#[derive(Debug)]
pub struct LockGuard {
    hold: Hold,
}

/// Something held under a lease of its own: a lock or an office.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) lease: Lease,
    pub(crate) token: Revision,
    pub(crate) key: Key,
    /// Whether dropping it still has to give it up.
    pub(crate) open: bool,
}

impl Client {
    /// Takes a lock, waiting as long as `options.wait` allows. Those who wait come in turn.
    pub async fn lock(
        &self,
        name: impl Into<String>,
        options: LockOptions,
    ) -> Result<LockGuard, LockError> {
        let name = name.into();
        let lease = self.grant_lease(options.ttl).await?;
        let contention = Contention::new(lease, &name, options.wait);
        let wait = options.wait != Some(Duration::ZERO);
        loop {
            let write = self.begin_write();
            let request = v1::LockAcquireRequest {
                request: Some(write.id().into()),
                name: name.clone(),
                lease: contention.lease.id().get(),
                wait,
            };
            let asked = self.call(contention.call(self), |attempt| {
                let request = attempt.request(request.clone());
                async move { or_not_yet(attempt.lock().acquire(request).await) }
            });
            let answer = tokio::select! {
                answer = asked => answer,
                () = contention.lease.lost() => return Err(LockError::Lost { name }),
            };
            if let Some(answer) = contention.take_in(answer)?
                && answer.held
            {
                let hold = contention.won(self, name, answer.token, answer.key)?;
                return Ok(LockGuard { hold });
            }
            contention.check(wait)?;
        }
    }
}

impl LockGuard {
    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.hold.name
    }

    /// The fencing token: strictly rising from holder to holder.
    pub fn token(&self) -> Revision {
        self.hold.token
    }

    /// The key that stands for this hold. A transaction that compares its `created` with the token
    /// goes through only while the lock is held.
    pub fn key(&self) -> &Key {
        &self.hold.key
    }

    /// The lease behind it.
    pub fn lease(&self) -> &Lease {
        &self.hold.lease
    }

    /// Whether the lock is surely held now.
    pub fn is_held(&self) -> bool {
        self.hold.lease.is_alive()
    }

    /// Returns when the lock is lost: its lease was not renewed in time, or is gone.
    pub async fn lost(&self) {
        self.hold.lease.lost().await;
    }

    /// Releases the lock and waits until that is done. [`LockError::Lost`]: it was lost before.
    pub async fn release(mut self) -> Result<(), LockError> {
        let write = self.hold.client.begin_write();
        let request = self.hold.release_request(write.id().into());
        let answer = self
            .hold
            .client
            .call(self.hold.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.lock().release(request).await }
            })
            .await
            .map_err(WriteError::from)?;
        self.hold.let_go(answer.message.released)
    }
}

impl Hold {
    pub(crate) fn release_request(&self, request: v1::RequestId) -> v1::LockReleaseRequest {
        v1::LockReleaseRequest {
            request: Some(request),
            name: self.name.clone(),
            lease: self.lease.id().get(),
            token: self.token.get(),
        }
    }

    /// The store has taken it back.
    pub(crate) fn let_go(&mut self, released: bool) -> Result<(), LockError> {
        self.open = false;
        self.lease.revoke_in_background();
        if released {
            Ok(())
        } else {
            Err(LockError::Lost {
                name: std::mem::take(&mut self.name),
            })
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.open {
            // Its lease is its own: with it goes the hold.
            self.lease.revoke_in_background();
        }
    }
}

/// Waiting for a lock or an office. Dropped before it is won, it leaves the queue.
pub(crate) struct Contention {
    pub(crate) lease: Lease,
    name: String,
    wait: Option<Duration>,
    started: Instant,
    open: AtomicBool,
}

impl Contention {
    pub(crate) fn new(lease: Lease, name: &str, wait: Option<Duration>) -> Self {
        Self {
            lease,
            name: name.to_owned(),
            wait,
            started: Instant::now(),
            open: AtomicBool::new(true),
        }
    }

    /// One round of waiting at a server.
    pub(crate) fn call(&self, client: &Client) -> Call {
        let left = match self.wait {
            Some(wait) if !wait.is_zero() => wait.saturating_sub(self.started.elapsed()),
            Some(_) => client.timeout(),
            None => ROUND,
        };
        let round = left.clamp(SHORTEST_ROUND, ROUND);
        Call {
            route: Route::Leader,
            attempt_timeout: round,
            timeout: round + client.options().connect_timeout,
            hedge: false,
        }
    }

    /// What one round brought; `None`: nothing, go on waiting.
    pub(crate) fn take_in<T>(
        &self,
        answer: Result<crate::call::Answer<T>, Failure>,
    ) -> Result<Option<T>, LockError> {
        match answer {
            Ok(answer) => Ok(Some(answer.message)),
            Err(Failure::Refused(status)) if Reason::of(&status) == Reason::LeaseMissing => {
                Err(LockError::Lost {
                    name: self.name.clone(),
                })
            }
            Err(failure @ (Failure::Unknown { .. } | Failure::Unreachable { .. })) => {
                // Without a limit the lease decides when it is over.
                if self.wait.is_some_and(|wait| self.started.elapsed() >= wait) {
                    return Err(WriteError::from(failure).into());
                }
                Ok(None)
            }
            Err(failure) => Err(WriteError::from(failure).into()),
        }
    }

    /// Whether to wait on.
    pub(crate) fn check(&self, wait: bool) -> Result<(), LockError> {
        let waited = self.started.elapsed();
        if wait && self.wait.is_none_or(|limit| waited < limit) {
            return Ok(());
        }
        Err(LockError::Held {
            name: self.name.clone(),
            waited,
        })
    }

    pub(crate) fn won(
        &self,
        client: &Client,
        name: String,
        token: u64,
        key: bytes::Bytes,
    ) -> Result<Hold, LockError> {
        let token = Revision::new(token).ok_or(Unreadable("token"));
        let key = Key::new(key).map_err(|_| Unreadable("key"));
        let hold = Hold {
            client: client.clone(),
            name,
            lease: self.lease.clone(),
            token: token.map_err(WriteError::from)?,
            key: key.map_err(WriteError::from)?,
            open: true,
        };
        self.open.store(false, Ordering::Relaxed);
        Ok(hold)
    }
}

impl Drop for Contention {
    fn drop(&mut self) {
        if self.open.load(Ordering::Relaxed) {
            self.lease.revoke_in_background();
        }
    }
}

/// A server whose patience ended says so; that is an answer: not yet.
pub(crate) fn or_not_yet<T: Default>(
    answer: Result<Response<T>, Status>,
) -> Result<Response<T>, Status> {
    match answer {
        Err(status) if Reason::of(&status) == Reason::Deadline => Ok(Response::new(T::default())),
        answer => answer,
    }
}

/// How long one server is asked to wait before it is asked anew, which costs the place in line. A
/// frozen server is found out by HTTP/2's pings long before.
const ROUND: Duration = Duration::from_secs(600);
const SHORTEST_ROUND: Duration = Duration::from_millis(50);
