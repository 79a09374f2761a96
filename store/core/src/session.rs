//! Requests are applied once: what each session was answered is kept until it says it knows.
//!
//! A session's *floor* is the sequence below which answers are not kept: the client has them, or
//! they were pushed out. A repeat below the floor is refused and never applied again. Sessions that
//! are idle are forgotten by steady time, which no clock's jump moves.

use std::sync::Arc;

use holdfast_proto::{RequestId, SessionId, limits};
use imbl::{OrdMap, OrdSet};

use crate::{
    hash::{RollingHash, RowBuffer, RowHash},
    limits::Limits,
    reply::{Reason, Refusal, Reply},
};

/// What an answer costs beside what it carries, bytes.
const ANSWER_OVERHEAD: u64 = 192;
/// A session's last request is noted to this, milliseconds, so that not every request moves it.
const SEEN_STEP_MS: u64 = 30_000;
/// At most so many idle sessions are forgotten at a time.
const IDLE_BATCH: usize = 1_024;

#[derive(Clone, Default)]
pub(crate) struct Sessions {
    pub(crate) all: OrdMap<SessionId, Session>,
    pub(crate) answers: OrdMap<(SessionId, u64), Arc<Answer>>,
    idle: OrdSet<(u64, SessionId)>,
    /// Of all answers.
    pub(crate) bytes: u64,
    pub(crate) hash: RollingHash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Answers below it are not kept.
    pub(crate) floor: u64,
    /// Steady time of about its last request.
    pub(crate) seen_ms: u64,
    /// Of its kept answers.
    pub(crate) bytes: u64,
}

pub(crate) struct Answer {
    /// `None`: forgotten for want of room.
    pub(crate) reply: Option<Reply>,
    bytes: u64,
    row: RowHash,
}

/// Whether a request is to be applied.
pub(crate) enum Verdict {
    Fresh,
    /// It was applied before, and answered so.
    Repeat(Reply),
    Refused(Refusal),
}

impl Sessions {
    pub(crate) fn check(&mut self, id: &RequestId, steady_ms: u64, limits: &Limits) -> Verdict {
        let Some(session) = self.all.get(&id.session).copied() else {
            return self.check_room(steady_ms, limits);
        };
        self.touch(id.session, session, session.floor, steady_ms);
        if id.sequence < session.floor {
            return Verdict::Refused(forgotten(id.sequence));
        }
        if let Some(answer) = self.answers.get(&(id.session, id.sequence)) {
            return match &answer.reply {
                Some(reply) => Verdict::Repeat(reply.clone()),
                None => Verdict::Refused(forgotten(id.sequence)),
            };
        }
        let known = session.floor.max(id.first_incomplete);
        let open = id.sequence.saturating_sub(known);
        if open >= limits.session_window {
            let message =
                format!("the session has {open} requests without an answer; wait for some of them");
            return Verdict::Refused(
                Refusal::new(Reason::TooMany, message)
                    .numbers(open, limits.session_window)
                    .limit("requests a session"),
            );
        }
        Verdict::Fresh
    }

    fn check_room(&mut self, steady_ms: u64, limits: &Limits) -> Verdict {
        if self.all.len() >= limits.sessions {
            self.forget_idle(steady_ms);
        }
        if self.all.len() < limits.sessions {
            return Verdict::Fresh;
        }
        let message = format!(
            "{} clients are writing, the most there can be; use fewer, or wait until some are idle",
            self.all.len()
        );
        Verdict::Refused(
            Refusal::new(Reason::TooManySessions, message)
                .numbers(self.all.len() as u64, limits.sessions as u64)
                .limit("sessions"),
        )
    }

    /// Keeps the answer of a fresh request.
    pub(crate) fn record(
        &mut self,
        id: &RequestId,
        reply: &Reply,
        steady_ms: u64,
        limits: &Limits,
    ) {
        let known = self.all.get(&id.session).copied();
        let session = known.unwrap_or(Session {
            floor: 0,
            seen_ms: 0,
            bytes: 0,
        });
        let floor = session.floor.max(id.first_incomplete);
        if known.is_none() {
            self.insert_session(
                id.session,
                Session {
                    floor,
                    seen_ms: steady_ms,
                    bytes: 0,
                },
            );
        } else {
            self.touch(id.session, session, floor, steady_ms);
        }
        self.drop_below(id.session, session.floor, floor);
        self.insert_answer(id.session, id.sequence, Some(reply.clone()));
        self.keep_budgets(id, limits);
    }

    /// Sets the floor, and about when the session was seen last.
    fn touch(&mut self, id: SessionId, before: Session, floor: u64, steady_ms: u64) {
        let moved = steady_ms >= before.seen_ms + SEEN_STEP_MS;
        if !moved && floor == before.floor {
            return;
        }
        let seen_ms = if moved { steady_ms } else { before.seen_ms };
        self.hash.remove(session_hash(id, &before));
        let after = Session {
            floor,
            seen_ms,
            ..before
        };
        self.hash.add(session_hash(id, &after));
        if moved {
            self.idle.remove(&(before.seen_ms, id));
            self.idle.insert((seen_ms, id));
        }
        self.all.insert(id, after);
    }

    pub(crate) fn insert_session(&mut self, id: SessionId, session: Session) {
        self.hash.add(session_hash(id, &session));
        self.idle.insert((session.seen_ms, id));
        self.all.insert(id, session);
    }

    pub(crate) fn insert_answer(&mut self, id: SessionId, sequence: u64, reply: Option<Reply>) {
        let bytes = ANSWER_OVERHEAD + reply.as_ref().map_or(0, Reply::bytes);
        let row = answer_hash(id, sequence, reply.as_ref());
        self.hash.add(row);
        self.bytes += bytes;
        if let Some(session) = self.all.get_mut(&id) {
            session.bytes += bytes;
        }
        self.answers
            .insert((id, sequence), Arc::new(Answer { reply, bytes, row }));
    }

    fn remove_answer(&mut self, id: SessionId, sequence: u64) {
        if let Some(answer) = self.answers.remove(&(id, sequence)) {
            self.hash.remove(answer.row);
            self.bytes -= answer.bytes;
            if let Some(session) = self.all.get_mut(&id) {
                session.bytes -= answer.bytes;
            }
        }
    }

    /// Drops the answers from `from` to below `floor`.
    fn drop_below(&mut self, id: SessionId, from: u64, floor: u64) {
        while let Some(sequence) = self.first_answer(id, from).filter(|first| *first < floor) {
            self.remove_answer(id, sequence);
        }
    }

    fn first_answer(&self, id: SessionId, from: u64) -> Option<u64> {
        let ((session, sequence), _) = self.answers.get_next(&(id, from))?;
        (*session == id).then_some(*sequence)
    }

    /// Over a budget, the session that writes pays: its oldest answers go, the new one last.
    fn keep_budgets(&mut self, id: &RequestId, limits: &Limits) {
        while let Some(session) = self.all.get(&id.session).copied() {
            let over =
                session.bytes > limits.session_answer_bytes || self.bytes > limits.answer_bytes;
            if !over {
                return;
            }
            match self.first_answer(id.session, session.floor) {
                Some(sequence) if sequence < id.sequence => {
                    let floor = sequence + 1;
                    self.touch(id.session, session, floor, session.seen_ms);
                    self.remove_answer(id.session, sequence);
                }
                // The new one is the oldest: it is known to be applied, but not with which answer.
                _ => {
                    self.remove_answer(id.session, id.sequence);
                    self.insert_answer(id.session, id.sequence, None);
                    return;
                }
            }
        }
    }

    /// Forgets some of the sessions that were idle for long.
    pub(crate) fn forget_idle(&mut self, steady_ms: u64) {
        for _ in 0..IDLE_BATCH {
            let Some(&(seen_ms, id)) = self.idle.get_min() else {
                return;
            };
            if steady_ms < seen_ms + limits::SESSION_IDLE_MS + SEEN_STEP_MS {
                return;
            }
            self.drop_below(id, 0, u64::MAX);
            self.idle.remove(&(seen_ms, id));
            if let Some(session) = self.all.remove(&id) {
                self.hash.remove(session_hash(id, &session));
            }
        }
    }
}

fn forgotten(sequence: u64) -> Refusal {
    let message = format!(
        "request {sequence} of this session is not applied again, and its answer is no longer \
         kept; read the keys to see what it did"
    );
    Refusal::new(Reason::RequestForgotten, message)
}

/// `bytes` follows from the answers.
fn session_hash(id: SessionId, session: &Session) -> RowHash {
    RowBuffer::new(b's')
        .bytes(id.as_bytes())
        .number(session.floor)
        .number(session.seen_ms)
        .finish()
}

fn answer_hash(id: SessionId, sequence: u64, reply: Option<&Reply>) -> RowHash {
    let row = RowBuffer::new(b'a').bytes(id.as_bytes()).number(sequence);
    match reply {
        None => row.number(0),
        Some(reply) => reply.add_to_row(row.number(1)),
    }
    .finish()
}
