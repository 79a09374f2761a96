//! The node's own session: names what the node proposes for itself, so that a proposal whose
//! outcome was lost is repeated and applied once.

use std::collections::BTreeSet;

use holdfast_proto::{RequestId, SessionId};
use parking_lot::Mutex;

/// Gives out request ids; each is held until its answer is known.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    next: u64,
    waiting: BTreeSet<u64>,
}

/// One request of the node itself. Dropped when its answer came or nobody wants it any more.
#[derive(Debug)]
pub(crate) struct OwnRequest<'a> {
    session: &'a Session,
    id: RequestId,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            id: SessionId::from_bytes(rand::random()),
            open: Mutex::new(Open {
                next: 1,
                waiting: BTreeSet::new(),
            }),
        }
    }

    /// The next request id.
    pub(crate) fn request(&self) -> OwnRequest<'_> {
        let mut open = self.open.lock();
        let sequence = open.next;
        open.next += 1;
        open.waiting.insert(sequence);
        let first_incomplete = open.waiting.first().copied().unwrap_or(sequence);
        OwnRequest {
            session: self,
            id: RequestId {
                session: self.id,
                sequence,
                first_incomplete,
            },
        }
    }
}

impl OwnRequest<'_> {
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }
}

impl Drop for OwnRequest<'_> {
    fn drop(&mut self) {
        self.session.open.lock().waiting.remove(&self.id.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answered_requests_may_be_forgotten() {
        let session = Session::new();
        let first = session.request();
        let second = session.request();
        assert_eq!((first.id().sequence, second.id().sequence), (1, 2));
        assert_eq!(second.id().first_incomplete, 1);
        drop(first);
        assert_eq!(session.request().id().first_incomplete, 2);
    }
}
