//! The fence: a node whose state differs from its peers' refuses everything and says why.

use std::sync::Arc;

use tokio::sync::watch;

/// Shared by everything that must know. Once up, it stays up until the node is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    reason: Arc<watch::Sender<Option<Arc<str>>>>,
}

impl Fence {
    /// A node in order.
    pub(crate) fn down() -> Self {
        Self {
            reason: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Puts the fence up; the first reason stays. `true`: it was down before.
    pub(crate) fn raise(&self, why: &str) -> bool {
        self.reason.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                *reason = Some(why.into());
            }
            first
        })
    }

    /// Why the node is fenced, if it is.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.reason.borrow().clone()
    }

    /// Returns when the fence is up.
    pub(crate) async fn raised(&self) -> Arc<str> {
        let mut reason = self.reason.subscribe();
        loop {
            if let Some(reason) = reason.borrow_and_update().clone() {
                return reason;
            }
            if reason.changed().await.is_err() {
                // Cannot be: the sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays() {
        let fence = Fence::down();
        assert_eq!(fence.reason(), None);
        assert!(fence.raise("first"));
        assert!(!fence.raise("second"));
        assert_eq!(&*fence.raised().await, "first");
    }
}
