//! Leases: keys that live only while this process keeps saying so.
//!
//! A [`Lease`] renews itself every third of its time to live. Its own idea of how long it lives is
//! counted from before a renewal was *sent*, so it gives up before the store does, never after.
//! The clock is the machine's monotonic one: where a machine may be suspended, check a fencing
//! token where it matters (see [`crate::Hold::token`]).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_proto::{Key, LeaseId, v1};
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};
use tonic::{Response, Status};

use crate::{Client, ReadError, WriteError, entry::Unreadable, error::Failure};

/// A lease that keeps itself alive while a clone of it exists. When the last one is dropped,
/// renewals stop and the store takes the lease and its keys away after [`Lease::ttl`];
/// [`Lease::revoke`] does so at once.
#[derive(Clone)]
pub struct Lease {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    id: LeaseId,
    ttl: Duration,
    life: watch::Receiver<Life>,
    end: watch::Sender<bool>,
    renewing: AbortHandle,
    runtime: Handle,
}

/// Until when the lease surely lives.
#[derive(Clone, Copy, Debug)]
struct Life {
    until: Instant,
    gone: bool,
}

/// What the store knows of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// As granted.
    pub ttl: Duration,
    /// What is left of it.
    pub remaining: Duration,
    /// The keys that live under it.
    pub keys: Vec<Key>,
}

impl Client {
    /// Grants a lease of `ttl` (1 s to 30 days) and keeps it alive.
    pub async fn grant_lease(&self, ttl: Duration) -> Result<Lease, WriteError> {
        let write = self.begin_write();
        let request = v1::LeaseGrantRequest {
            request: Some(write.id().into()),
            lease: 0,
            ttl_ms: ttl.as_millis() as u64,
        };
        let asked = Instant::now();
        let answer = self
            .call(self.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.lease().grant(request).await }
            })
            .await?
            .message;
        let id = LeaseId::new(answer.lease).ok_or(Unreadable("lease"))?;
        Ok(Lease::start(
            self,
            id,
            Duration::from_millis(answer.ttl_ms),
            asked,
        ))
    }

    /// Takes a lease and all its keys away. Returns how many keys went.
    pub async fn revoke_lease(&self, id: LeaseId) -> Result<u64, WriteError> {
        let write = self.begin_write();
        let request = v1::LeaseRevokeRequest {
            request: Some(write.id().into()),
            lease: id.get(),
        };
        let answer = self
            .call(self.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.lease().revoke(request).await }
            })
            .await?;
        Ok(answer.message.deleted)
    }

    /// What the store knows of a lease; `None`: it is gone.
    pub async fn lease_info(&self, id: LeaseId) -> Result<Option<LeaseInfo>, ReadError> {
        let request = v1::LeaseTimeToLiveRequest {
            lease: id.get(),
            keys: true,
        };
        let answer = self
            .call(self.reading(), |attempt| {
                let request = attempt.request(request);
                async move { attempt.lease().time_to_live(request).await }
            })
            .await?
            .message;
        if answer.ttl_ms == 0 {
            return Ok(None);
        }
        let keys: Result<_, _> = answer.keys.into_iter().map(Key::new).collect();
        Ok(Some(LeaseInfo {
            ttl: Duration::from_millis(answer.ttl_ms),
            remaining: Duration::from_millis(answer.remaining_ms),
            keys: keys.map_err(|_| Unreadable("key"))?,
        }))
    }

    /// All leases there are.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, ReadError> {
        let answer = self
            .call(self.reading(), |attempt| {
                let request = attempt.request(v1::LeaseListRequest {});
                async move { attempt.lease().list(request).await }
            })
            .await?;
        Ok(answer
            .message
            .leases
            .into_iter()
            .filter_map(LeaseId::new)
            .collect())
    }

    /// Renews a lease once; the time to live from now, zero if it is gone.
    async fn renew(
        &self,
        id: LeaseId,
        within: Duration,
        ttl: Duration,
    ) -> Result<Duration, Failure> {
        let mut call = self.writing();
        call.timeout = within;
        // Time for three tries before the lease is lost.
        call.attempt_timeout = call.attempt_timeout.min(ttl / 6).max(SHORTEST_ATTEMPT);
        let answer = self
            .call(call, |attempt| {
                let one = v1::LeaseKeepAliveRequest { lease: id.get() };
                let request = attempt.request(futures::stream::iter([one]));
                async move {
                    let answers = attempt.lease().keep_alive(request).await?;
                    let answer = answers.into_inner().message().await?;
                    let ended = || Status::unavailable("the server ended the keep-alive");
                    Ok(Response::new(answer.ok_or_else(ended)?))
                }
            })
            .await?;
        Ok(Duration::from_millis(answer.message.ttl_ms))
    }
}

impl Lease {
    fn start(client: &Client, id: LeaseId, ttl: Duration, asked: Instant) -> Self {
        let (lives, life) = watch::channel(Life {
            until: asked + ttl,
            gone: false,
        });
        let (end, ended) = watch::channel(false);
        let renewing = tokio::spawn(keep_alive(client.clone(), id, ttl, asked, lives, ended));
        Self {
            inner: Arc::new(Inner {
                client: client.clone(),
                id,
                ttl,
                life,
                end,
                renewing: renewing.abort_handle(),
                runtime: Handle::current(),
            }),
        }
    }

    /// Its number: what [`crate::PutOptions::lease`] takes.
    pub fn id(&self) -> LeaseId {
        self.inner.id
    }

    /// How long it lives after its last renewal.
    pub fn ttl(&self) -> Duration {
        self.inner.ttl
    }

    /// Whether it surely lives now.
    pub fn is_alive(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// How long it surely lives from now on; zero: it is lost.
    pub fn remaining(&self) -> Duration {
        let life = *self.inner.life.borrow();
        if life.gone {
            Duration::ZERO
        } else {
            life.until.saturating_duration_since(Instant::now())
        }
    }

    /// Returns when the lease is lost: the store said so, it was revoked here, or its time passed
    /// without a renewal. Once lost, it never comes back.
    pub async fn lost(&self) {
        let mut life = self.inner.life.clone();
        loop {
            let now = *life.borrow_and_update();
            if now.gone || now.until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(now.until.into()) => {}
                changed = life.changed() => if changed.is_err() {
                    // Nobody renews any more; what was granted still runs.
                    tokio::time::sleep_until(now.until.into()).await;
                    return;
                },
            }
        }
    }

    /// Takes the lease and all its keys away, now. Returns how many keys went.
    pub async fn revoke(&self) -> Result<u64, WriteError> {
        let _ = self.inner.end.send(true);
        self.inner.client.revoke_lease(self.inner.id).await
    }

    /// As [`Lease::revoke`], without waiting for it. Where it fails, the lease runs out.
    pub(crate) fn revoke_in_background(&self) {
        let _ = self.inner.end.send(true);
        let (client, id) = (self.inner.client.clone(), self.inner.id);
        self.inner.runtime.spawn(async move {
            if let Err(error) = client.revoke_lease(id).await {
                tracing::debug!(%id, %error, "a lease was not revoked and will run out");
            }
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.inner.id)
            .field("ttl", &self.inner.ttl)
            .field("remaining", &self.remaining())
            .finish()
    }
}

/// Renews until the lease is lost or ended.
async fn keep_alive(
    client: Client,
    id: LeaseId,
    mut ttl: Duration,
    mut asked: Instant,
    lives: watch::Sender<Life>,
    mut ended: watch::Receiver<bool>,
) {
    loop {
        let until = asked + ttl;
        let renew_at = (asked + ttl / 3).max(Instant::now() + SHORTEST_PAUSE);
        let renewal = async {
            tokio::time::sleep_until(renew_at.into()).await;
            let now = Instant::now();
            let left = until.saturating_duration_since(now);
            (now, client.renew(id, left, ttl).await)
        };
        let (sent, renewed) = tokio::select! {
            renewed = renewal => renewed,
            () = is_true(&mut ended) => break,
        };
        match renewed {
            Ok(granted) if !granted.is_zero() => {
                (asked, ttl) = (sent, granted);
                // An answer that came too late does not bring the dead back.
                if until <= Instant::now() {
                    break;
                }
                lives.send_replace(Life {
                    until: asked + ttl,
                    gone: false,
                });
            }
            Ok(_) => break,
            Err(Failure::Refused(status)) => {
                tracing::warn!(%id, status = status.message(), "the lease is gone");
                break;
            }
            Err(_) if until <= Instant::now() => {
                tracing::warn!(%id, "the lease ran out: no server renewed it in time");
                break;
            }
            // Trust may come back, and time is left.
            Err(_) => {}
        }
    }
    lives.send_modify(|life| life.gone = true);
}

async fn is_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        std::future::pending::<()>().await;
    }
}

const SHORTEST_ATTEMPT: Duration = Duration::from_millis(100);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
