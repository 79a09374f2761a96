//! Sessions: how this client names its writes, so that a repeat is known for a repeat.
//!
//! Invariants: (1) a sequence is used for one write only. (2) `first_incomplete` never passes a
//! write that still waits for its answer. (3) A session is left for a fresh one before the store
//! may forget it, or before it has more open writes than the store remembers.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_proto::{RequestId, SessionId, limits};
use parking_lot::Mutex;

/// Gives out request ids.
pub(crate) struct Sessions {
    current: Mutex<Current>,
}

struct Current {
    session: Arc<Session>,
    last_used: Instant,
}

struct Session {
    id: SessionId,
    window: Mutex<Window>,
}

/// The sequences from `first` on: whether each has its answer.
struct Window {
    first: u64,
    answered: VecDeque<bool>,
}

/// A write that waits for its answer. Dropping it says that nobody waits any more.
pub(crate) struct InFlight {
    session: Arc<Session>,
    id: RequestId,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            current: Mutex::new(Current {
                session: Session::fresh(),
                last_used: Instant::now(),
            }),
        }
    }

    /// Opens a write.
    pub(crate) fn begin(&self) -> InFlight {
        let now = Instant::now();
        let session = {
            let mut current = self.current.lock();
            if now.duration_since(current.last_used) > IDLE || current.session.is_full() {
                current.session = Session::fresh();
            }
            current.last_used = now;
            Arc::clone(&current.session)
        };
        let id = session.begin();
        InFlight { session, id }
    }
}

impl Session {
    fn fresh() -> Arc<Self> {
        Arc::new(Self {
            id: SessionId::from_bytes(rand::random()),
            window: Mutex::new(Window {
                first: 1,
                answered: VecDeque::new(),
            }),
        })
    }

    fn is_full(&self) -> bool {
        self.window.lock().answered.len() >= WINDOW
    }

    fn begin(&self) -> RequestId {
        let mut window = self.window.lock();
        let sequence = window.first + window.answered.len() as u64;
        window.answered.push_back(false);
        RequestId {
            session: self.id,
            sequence,
            first_incomplete: window.first,
        }
    }

    fn end(&self, sequence: u64) {
        let mut window = self.window.lock();
        let place = sequence.saturating_sub(window.first) as usize;
        if let Some(answered) = window.answered.get_mut(place) {
            *answered = true;
        }
        while window.answered.front() == Some(&true) {
            window.answered.pop_front();
            window.first += 1;
        }
    }
}

impl InFlight {
    /// The id to send, the same on every repeat.
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.session.end(self.id.sequence);
    }
}

/// Well before the store may forget an idle session.
const IDLE: Duration = Duration::from_millis(limits::SESSION_IDLE_MS / 3);

/// Well before the store's window of one session is full. Answered writes behind an open one
/// count, since the store keeps their answers too.
const WINDOW: usize = limits::SESSION_WINDOW / 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_incomplete_waits_for_the_slowest_write() {
        let sessions = Sessions::new();
        let slow = sessions.begin();
        let quick = sessions.begin();
        assert_eq!((slow.id().sequence, quick.id().sequence), (1, 2));
        drop(quick);
        assert_eq!(sessions.begin().id().first_incomplete, 1);
        drop(slow);
        let next = sessions.begin();
        assert_eq!((next.id().sequence, next.id().first_incomplete), (4, 4));
    }

    #[test]
    fn a_session_with_too_much_behind_one_open_write_is_left_for_a_fresh_one() {
        let sessions = Sessions::new();
        let open = sessions.begin();
        for _ in 1..WINDOW {
            drop(sessions.begin());
        }
        let fresh = sessions.begin();
        assert_ne!(open.id().session, fresh.id().session);
        assert_eq!(fresh.id().sequence, 1);
    }
}
