//! Proposals: at the leader, through the leader, and until somebody's deadline.
//!
//! No proposal hangs. One that was certainly not taken is tried again until its deadline, one that
//! may have been is tried again only if its command carries a request id, which makes a repeat
//! harmless; any other answers *unknown*.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use holdfast_core::Reply;
use holdfast_disk::Store;
use holdfast_proto::{NodeId, limits::MESSAGE_BYTES};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};

use crate::{
    clock::Clock,
    errors::ProposeError,
    forward::Forward,
    gather::Gather,
    record::{Record, is_repeatable},
    room::Room,
    status::Leadership,
    types::{ClientWriteError, WriteResult, term_of},
};

/// A command that was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What it answered.
    pub reply: Reply,
    /// Index of its log entry.
    pub index: u64,
    /// Term of its log entry.
    pub term: u64,
}

/// How one attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Applied(Applied),
    /// Certainly not taken; perhaps by this one.
    NotLeader(Option<NodeId>),
    /// Certainly not taken, and trying again does not help.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// First pause between two attempts; doubles up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// Room that a command leaves in a message for what surrounds it, bytes.
const ENVELOPE_BYTES: usize = 64 * 1024;

/// Proposes to this node's own core, with what arrives in the same moment.
#[derive(Clone)]
pub(crate) struct Local {
    gather: Gather,
    room: Room,
    clock: Arc<Clock>,
    store: Store,
}

impl Local {
    pub(crate) fn new(gather: Gather, room: Room, clock: Arc<Clock>, store: Store) -> Self {
        Self {
            gather,
            room,
            clock,
            store,
        }
    }

    /// The time, as far as this node's clock can be believed.
    pub(crate) fn now_ms(&self) -> u64 {
        let known = || self.store.read(|state| state.clock().as_millis());
        self.clock.now_ms(known)
    }

    /// Takes room for entries of a leader; else says why there is none.
    pub(crate) fn take_room(&self, bytes: usize) -> Result<(), String> {
        match self.room.lacking() {
            Some(why) => Err(why),
            None => {
                self.room.spend(bytes);
                Ok(())
            }
        }
    }

    /// Stamps and proposes one command; `answer` is called exactly once.
    pub(crate) fn submit(&self, command: &Bytes, answer: impl FnOnce(Outcome) + Send + 'static) {
        if let Some(why) = self.room.lacking() {
            return answer(Outcome::Refused(why));
        }
        if command.len() > MESSAGE_BYTES - ENVELOPE_BYTES {
            let why = format!(
                "a command of {} bytes does not fit a message",
                command.len()
            );
            return answer(Outcome::Refused(why));
        }
        #[cfg(feature = "faults")]
        let command = &crate::faults::forget_request(command);
        let record = Record::stamp(self.now_ms(), command);
        self.room.spend(record.bytes());
        self.gather
            .add(record, move |result| answer(outcome(result)));
    }
}

fn outcome(result: Option<WriteResult>) -> Outcome {
    match result {
        Some(Ok(done)) => match done.data.0 {
            Some(reply) => Outcome::Applied(Applied {
                reply,
                index: done.log_id.index,
                term: term_of(&done.log_id),
            }),
            None => Outcome::Unknown("the command was applied without a reply".to_owned()),
        },
        Some(Err(ClientWriteError::ForwardToLeader(to))) => {
            Outcome::NotLeader(to.leader_id.map(NodeId))
        }
        Some(Err(ClientWriteError::LogEntryDiscarded(_))) => {
            Outcome::Unknown("the leader changed before the write was confirmed".to_owned())
        }
        Some(Err(error)) => Outcome::Refused(error.to_string()),
        None => Outcome::Unknown("the replica stopped before the write was confirmed".to_owned()),
    }
}

/// Proposes wherever the leader is.
#[derive(Clone)]
pub(crate) struct Proposer {
    pub(crate) id: NodeId,
    pub(crate) local: Local,
    pub(crate) forward: Forward,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) failure: watch::Receiver<Option<String>>,
}

impl Proposer {
    pub(crate) async fn propose(
        &self,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied, ProposeError> {
        let began = Instant::now();
        let mut leadership = self.leadership.clone();
        let mut pause = FIRST_PAUSE;
        let mut unknown: Option<String> = None;
        loop {
            if let Some(why) = self.failure.borrow().clone() {
                return Err(match unknown {
                    Some(why) => ProposeError::Unknown { why },
                    None => ProposeError::Stopped { why },
                });
            }
            let leader = leadership.borrow_and_update().leader;
            let attempt = match leader {
                None => Outcome::NotLeader(None),
                Some(id) if id == self.id => self.here(&command, deadline).await,
                Some(_) => self.forward.propose(command.clone(), deadline).await,
            };
            match attempt {
                Outcome::Applied(applied) => return Ok(applied),
                Outcome::Refused(why) => {
                    return Err(match unknown {
                        Some(why) => ProposeError::Unknown { why },
                        None => ProposeError::Refused { why },
                    });
                }
                Outcome::NotLeader(_) => {}
                Outcome::Unknown(why) => {
                    if !is_repeatable(&command) {
                        return Err(ProposeError::Unknown { why });
                    }
                    unknown = Some(why);
                }
            }
            if Instant::now() >= deadline {
                return Err(match unknown {
                    Some(why) => ProposeError::Unknown { why },
                    None => ProposeError::NoLeader {
                        waited: began.elapsed(),
                    },
                });
            }
            let until = deadline.min(Instant::now() + pause);
            // Whichever comes first; a closed channel means that the replica is stopping.
            let changed = timeout_at(until, leadership.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                tokio::time::sleep_until(until).await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn here(&self, command: &Bytes, deadline: Instant) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        self.local
            .submit(command, |outcome| drop(answer.send(outcome)));
        match timeout_at(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Unknown("the replica stopped".to_owned()),
            Err(_) => Outcome::Unknown("no quorum confirmed the write in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::errors::{ForwardReason, ForwardToLeader};

    use super::*;

    #[test]
    fn what_a_leader_without_a_lease_turned_away_was_certainly_not_taken() {
        for reason in [
            ForwardReason::NotLeader,
            ForwardReason::LeadershipTransfer,
            ForwardReason::LeaseExpired,
        ] {
            let away = ForwardToLeader::empty().with_reason(reason);
            let outcome = outcome(Some(Err(ClientWriteError::ForwardToLeader(away))));
            assert!(matches!(outcome, Outcome::NotLeader(None)), "{outcome:?}");
        }
    }

    #[test]
    fn what_a_core_that_stopped_never_answered_is_unknown() {
        assert!(matches!(outcome(None), Outcome::Unknown(_)));
    }
}
