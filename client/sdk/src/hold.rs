//! Holding: what one client at a time has, under a lease of its own, with a fencing token.
//!
//! A lock and an office are both this. They differ in what is asked of a server and in what others
//! see; waiting in line, knowing when it is lost and giving it back are here.
//!
//! Invariants: (1) the lease behind a hold is its own: whoever stops waiting or lets a hold go
//! revokes it, and the place in line goes with it. (2) A hold is lost when its lease is, which is
//! before the store gives it to somebody else: see [`crate::Lease`].

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_proto::{Key, Revision, v1};
use tonic::{Request, Response, Status};

use crate::{
    Client, Lease, LockError, LockOptions, WriteError,
    attempt::Attempt,
    call::{Answer, Answered, Call},
    entry::Unreadable,
    error::Failure,
    node::{Needs, Route},
    reason::Reason,
};

/// Something that is held: what a [`crate::LockGuard`] and a [`crate::Leadership`] have in common.
#[derive(Debug)]
pub struct Hold {
    client: Client,
    name: String,
    lease: Lease,
    token: Revision,
    key: Key,
    /// Whether dropping it still has to give it up.
    open: bool,
}

/// Who asks for a hold: one round of waiting has one claim, however often it is sent.
pub(crate) struct Claim {
    pub(crate) request: v1::RequestId,
    pub(crate) name: String,
    pub(crate) lease: u64,
    /// Whether the server shall let the claim wait in line.
    pub(crate) wait: bool,
}

/// A server's answer to a claim.
pub(crate) trait Granting: Answered + Default {
    /// The token and the key, if it is won.
    fn won(self) -> Option<(u64, Bytes)>;
}

impl Hold {
    /// The name of the lock or the election.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token: strictly rising from holder to holder.
    pub fn token(&self) -> Revision {
        self.token
    }

    /// The key that stands for this hold. A transaction that compares its `created` with the token
    /// goes through only while this is held.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The lease behind it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether it is surely held now.
    pub fn is_held(&self) -> bool {
        self.lease.is_alive()
    }

    /// Returns when it is lost: its lease was not renewed in time, or is gone.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Gives it back and waits until that is done. [`LockError::Lost`]: it was lost before.
    pub(crate) async fn give_back<A, F>(mut self, ask: A) -> Result<(), LockError>
    where
        A: Fn(Attempt, Request<v1::LockReleaseRequest>) -> F,
        F: Future<Output = Result<Response<v1::LockReleaseResponse>, Status>>,
    {
        let write = self.client.begin_write();
        let request = v1::LockReleaseRequest {
            request: Some(write.id().into()),
            name: self.name.clone(),
            lease: self.lease.id().get(),
            token: self.token.get(),
        };
        let answer = self
            .client
            .call(self.client.writing(), |attempt| {
                let request = attempt.request(request.clone());
                ask(attempt, request)
            })
            .await
            .map_err(WriteError::from)?;
        self.open = false;
        self.lease.revoke_in_background();
        if answer.message.released {
            Ok(())
        } else {
            Err(LockError::Lost { name: request.name })
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.open {
            self.lease.revoke_in_background();
        }
    }
}

impl Client {
    /// Contends for a hold, as long as `options.wait` allows; `ask` sends a claim.
    pub(crate) async fn hold<T, M, A, F>(
        &self,
        name: &str,
        options: LockOptions,
        message: impl Fn(Claim) -> M,
        ask: A,
    ) -> Result<Hold, LockError>
    where
        T: Granting,
        M: Clone,
        A: Fn(Attempt, Request<M>) -> F,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let lease = self.grant_lease(options.ttl).await?;
        let contention = Contention::new(lease, name, options.wait);
        loop {
            let write = self.begin_write();
            let message = message(contention.claim(write.id().into()));
            let asked = self.call(contention.round(self), |attempt| {
                let request = attempt.request(message.clone());
                let asked = ask(attempt, request);
                async move { or_not_yet(asked.await) }
            });
            let answer = tokio::select! {
                answer = asked => answer,
                () = contention.lease.lost() => return Err(contention.lost()),
            };
            if let Some((token, key)) = contention.take_in(answer)?.and_then(T::won) {
                return contention.end(self, token, key);
            }
            contention.may_wait_on()?;
        }
    }
}

/// Waiting for a hold. Dropped before it is won, it leaves the line.
struct Contention {
    lease: Lease,
    name: String,
    wait: Option<Duration>,
    started: Instant,
    open: AtomicBool,
}

impl Contention {
    fn new(lease: Lease, name: &str, wait: Option<Duration>) -> Self {
        Self {
            lease,
            name: name.to_owned(),
            wait,
            started: Instant::now(),
            open: AtomicBool::new(true),
        }
    }

    fn claim(&self, request: v1::RequestId) -> Claim {
        Claim {
            request,
            name: self.name.clone(),
            lease: self.lease.id().get(),
            wait: self.wait != Some(Duration::ZERO),
        }
    }

    /// One round of waiting at a server.
    fn round(&self, client: &Client) -> Call {
        let left = match self.wait {
            Some(wait) if !wait.is_zero() => wait.saturating_sub(self.started.elapsed()),
            Some(_) => client.timeout(),
            None => ROUND,
        };
        let round = left.clamp(SHORTEST_ROUND, ROUND);
        Call {
            route: Route::Leader,
            needs: Needs::Majority,
            attempt_timeout: round,
            timeout: round + client.options().connect_timeout,
            hedge: false,
        }
    }

    /// What one round brought; `None`: nothing, go on waiting.
    fn take_in<T>(&self, answer: Result<Answer<T>, Failure>) -> Result<Option<T>, LockError> {
        match answer {
            Ok(answer) => Ok(Some(answer.message)),
            Err(Failure::Refused(status)) if Reason::of(&status) == Reason::LeaseMissing => {
                Err(self.lost())
            }
            // Without a limit the lease decides when it is over.
            Err(Failure::Unknown { .. } | Failure::Unreachable { .. }) if !self.is_over() => {
                Ok(None)
            }
            Err(failure) => Err(WriteError::from(failure).into()),
        }
    }

    fn is_over(&self) -> bool {
        self.wait.is_some_and(|wait| self.started.elapsed() >= wait)
    }

    fn may_wait_on(&self) -> Result<(), LockError> {
        if !self.is_over() {
            return Ok(());
        }
        Err(LockError::Held {
            name: self.name.clone(),
            waited: self.started.elapsed(),
        })
    }

    fn lost(&self) -> LockError {
        LockError::Lost {
            name: self.name.clone(),
        }
    }

    fn end(self, client: &Client, token: u64, key: Bytes) -> Result<Hold, LockError> {
        let token = Revision::new(token).ok_or(Unreadable("token"));
        let key = Key::new(key).map_err(|_| Unreadable("key"));
        let hold = Hold {
            client: client.clone(),
            name: self.name.clone(),
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
fn or_not_yet<T: Default>(answer: Result<Response<T>, Status>) -> Result<Response<T>, Status> {
    match answer {
        Err(status) if Reason::of(&status) == Reason::Deadline => Ok(Response::new(T::default())),
        answer => answer,
    }
}

/// How long one server is asked to wait before it is asked anew, which costs the place in line. A
/// frozen server is found out by HTTP/2's pings long before.
const ROUND: Duration = Duration::from_secs(600);
const SHORTEST_ROUND: Duration = Duration::from_millis(50);
