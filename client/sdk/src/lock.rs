//! Locks: one holder at a time, and a number that tells a late one from the present one.
//!
//! No lock over a network is enough by itself: a process may be paused while it believes that it
//! holds one. So a lock gives out a *fencing token*, strictly rising from holder to holder: pass it
//! on to whatever the lock protects, and let that refuse a lower one.

use std::ops::Deref;

use bytes::Bytes;
use holdfast_proto::v1;

use crate::{
    Client, Hold, LockError, LockOptions,
    hold::{Claim, Granting},
};

/// A lock that is held; see [`Hold`]. Dropping it releases the lock in the background.
#[derive(Debug)]
pub struct LockGuard {
    hold: Hold,
}

impl Client {
    /// Takes a lock, waiting as long as `options.wait` allows. Those who wait come in turn.
    pub async fn lock(
        &self,
        name: impl Into<String>,
        options: LockOptions,
    ) -> Result<LockGuard, LockError> {
        let acquire = |claim: Claim| v1::LockAcquireRequest {
            request: Some(claim.request),
            name: claim.name,
            lease: claim.lease,
            wait: claim.wait,
        };
        let hold = self
            .hold(
                &name.into(),
                options,
                acquire,
                |attempt, request| async move { attempt.lock().acquire(request).await },
            )
            .await?;
        Ok(LockGuard { hold })
    }
}

impl LockGuard {
    /// Releases the lock and waits until that is done. [`LockError::Lost`]: it was lost before.
    pub async fn release(self) -> Result<(), LockError> {
        self.hold
            .give_back(|attempt, request| async move { attempt.lock().release(request).await })
            .await
    }
}

impl Deref for LockGuard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.hold
    }
}

impl Granting for v1::LockAcquireResponse {
    fn won(self) -> Option<(u64, Bytes)> {
        self.held.then_some((self.token, self.key))
    }
}
