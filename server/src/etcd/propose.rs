//! Writes of clients that have no request ids: the node gives them its own.
//!
//! A proposal whose outcome was lost is repeated under the same id until the deadline, and applied
//! once. Each id belongs to a *lane*, a session of the node that carries one request at a time: so
//! a stuck request holds up no other, and the store keeps one answer a lane.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_core::{Reply, State};
use holdfast_proto::{
    RequestId, SessionId, limits,
    log::v1::{Command, command::Body},
};
use parking_lot::Mutex;
use prost::Message as _;
use tonic::Status;

use super::{Front, error};

/// The sessions that are free. The one that was used last is used next, so there are as many as
/// there ever were requests at one time.
#[derive(Default)]
pub(super) struct Lanes(Mutex<Vec<Lane>>);

struct Lane {
    session: SessionId,
    sequence: u64,
}

/// A lane under way; goes back when dropped. What it carried then counts as answered: a copy that
/// is still on its way is refused.
struct Taken<'a> {
    lanes: &'a Lanes,
    lane: Lane,
}

impl Lanes {
    fn take(&self) -> Taken<'_> {
        let mut lane = self.0.lock().pop().unwrap_or_else(|| Lane {
            session: SessionId::from_bytes(rand::random()),
            sequence: 0,
        });
        lane.sequence += 1;
        Taken { lanes: self, lane }
    }
}

impl Taken<'_> {
    fn request(&self) -> RequestId {
        RequestId {
            session: self.lane.session,
            sequence: self.lane.sequence,
            first_incomplete: self.lane.sequence,
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Lane { session, sequence } = self.lane;
        self.lanes.0.lock().push(Lane { session, sequence });
    }
}

impl Front {
    /// Has a write applied, and returns what it answered. Its parts were checked.
    pub(super) async fn propose(
        &self,
        author: &str,
        body: Body,
        deadline: Instant,
    ) -> Result<Reply, Status> {
        let lane = self.lanes.take();
        let command = Command {
            request: Some(lane.request().into()),
            author: author.to_owned(),
            note: String::new(),
            body: Some(body),
        };
        let bytes = Bytes::from(command.encode_to_vec());
        if bytes.len() > limits::REQUEST_BYTES {
            return Err(error::too_large());
        }
        self.host.founded().map_err(|_| error::no_leader())?;
        let applied = self
            .host
            .replica
            .propose(bytes, deadline.into())
            .await
            .map_err(|error| error::not_proposed(&error))?;
        match applied.reply.refusal() {
            Some(refusal) => Err(error::refused(refusal)),
            None => {
                self.answered
                    .fetch_max(applied.reply.revision, Ordering::Relaxed);
                Ok(applied.reply)
            }
        }
    }

    /// Returns once this node has what it answered for: a follower may have told of a write that
    /// the leader applied and it did not yet. An etcd member never does, and its clients' reads of
    /// what a member has rely on it.
    pub(super) async fn own_writes(&self, deadline: Instant) {
        let answered = self.answered.load(Ordering::Relaxed);
        if self.host.read(State::revision) >= answered {
            return;
        }
        let deadline = deadline.min(Instant::now() + CATCH_UP);
        let caught_up = |state: &State| (state.revision() >= answered).then_some(());
        // If it is cut off just now, what it has is what was asked for.
        drop(self.host.wait_for(Some(deadline), caught_up).await);
    }

    /// Returns once the local state is no older than anything acknowledged before the call.
    pub(super) async fn barrier(&self, deadline: Instant) -> Result<(), Status> {
        self.host
            .replica
            .barrier(deadline.into())
            .await
            .map_err(|error| error::not_confirmed(&error))?;
        self.host.founded().map_err(|_| error::no_leader())
    }
}

const CATCH_UP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_carries_one_request_at_a_time_and_is_used_again() {
        let lanes = Lanes::default();
        let first = lanes.take();
        let second = lanes.take();
        assert_ne!(first.request().session, second.request().session);
        let session = first.request().session;
        drop(first);
        let third = lanes.take();
        let request = third.request();
        assert_eq!(request.session, session);
        assert_eq!((request.sequence, request.first_incomplete), (2, 2));
    }
}
