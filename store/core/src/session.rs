//! Requests are applied once: what each session was answered is kept until it says it knows.
//!
//! A session's *floor* is the sequence below which answers are not kept: the client has them, or
//! they were pushed out. A repeat below the floor is refused and never applied again. Sessions that
//! are idle are forgotten by steady time, which no clock's jump moves.

use std::{collections::VecDeque, sync::Arc};

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
    pub(crate) all: OrdMap<SessionId, Arc<Session>>,
    idle: OrdSet<(u64, SessionId)>,
    pub(crate) totals: Totals,
}

/// What all sessions come to.
#[derive(Clone, Default)]
pub(crate) struct Totals {
    /// Of all answers.
    pub(crate) bytes: u64,
    pub(crate) hash: RollingHash,
}

#[derive(Clone)]
pub(crate) struct Session {
    /// Answers below it are not kept.
    pub(crate) floor: u64,
    /// Steady time of about its last request.
    pub(crate) seen_ms: u64,
    /// With their sequences, in that order. They mostly come in it, too. Few sessions have more than
    /// one, so that a copy for a state that was cloned costs little.
    answers: VecDeque<(u64, Arc<Answer>)>,
    /// Of its kept answers.
    bytes: u64,
    /// As it is in the sum, without its answers.
    row: RowHash,
}

pub(crate) struct Answer {
    /// `None`: forgotten for want of room.
    pub(crate) reply: Option<Reply>,
    pub(crate) bytes: u64,
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
        let Some(session) = self.all.get(&id.session) else {
            return self.check_room(steady_ms, limits);
        };
        let verdict = session.check(id, limits);
        let seen_ms = session.seen_ms;
        if steady_ms >= seen_ms + SEEN_STEP_MS {
            self.note_seen(id.session, seen_ms, steady_ms);
        }
        verdict
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

    /// Notes that a session was seen, roughly.
    fn note_seen(&mut self, id: SessionId, before: u64, steady_ms: u64) {
        self.idle.remove(&(before, id));
        self.idle.insert((steady_ms, id));
        if let Some(session) = self.all.get_mut(&id) {
            let session = Arc::make_mut(session);
            session.move_to(id, session.floor, steady_ms, &mut self.totals);
        }
    }

    /// Keeps the answer of a request that [`Sessions::check`] found to be fresh at the same time.
    pub(crate) fn record(
        &mut self,
        id: &RequestId,
        reply: &Reply,
        steady_ms: u64,
        limits: &Limits,
    ) {
        let session = match self.all.get_mut(&id.session) {
            Some(session) => session,
            None => {
                self.insert_session(id.session, id.first_incomplete, steady_ms);
                let Some(session) = self.all.get_mut(&id.session) else {
                    return;
                };
                session
            }
        };
        let (session, totals) = (Arc::make_mut(session), &mut self.totals);
        session.raise_floor(id.session, id.first_incomplete, totals);
        session.insert(id.session, id.sequence, Some(reply.clone()), totals);
        // Over a budget, the session that writes pays: its oldest answers go, the new one last.
        while session.bytes > limits.session_answer_bytes || totals.bytes > limits.answer_bytes {
            match session.first_sequence() {
                Some(sequence) if sequence < id.sequence => {
                    session.raise_floor(id.session, sequence + 1, totals);
                }
                // The new one is the oldest: it is known to be applied, but not with which answer.
                _ => {
                    session.remove(id.sequence, totals);
                    session.insert(id.session, id.sequence, None, totals);
                    return;
                }
            }
        }
    }

    pub(crate) fn insert_session(&mut self, id: SessionId, floor: u64, seen_ms: u64) {
        let session = Session {
            floor,
            seen_ms,
            answers: VecDeque::new(),
            bytes: 0,
            row: session_hash(id, floor, seen_ms),
        };
        self.totals.hash.add(session.row);
        self.idle.insert((seen_ms, id));
        self.all.insert(id, Arc::new(session));
    }

    /// Takes an answer from an archive. False: there is no such session, or it has that answer already.
    pub(crate) fn restore_answer(
        &mut self,
        id: SessionId,
        sequence: u64,
        reply: Option<Reply>,
    ) -> bool {
        let session = self.all.get_mut(&id);
        session.is_some_and(|session| {
            Arc::make_mut(session).insert(id, sequence, reply, &mut self.totals)
        })
    }

    /// All kept answers, by session and sequence.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (SessionId, u64, &Answer)> {
        self.all.iter().flat_map(|(id, session)| {
            let answers = session.answers.iter();
            answers.map(|(sequence, answer)| (*id, *sequence, &**answer))
        })
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
            self.idle.remove(&(seen_ms, id));
            if let Some(session) = self.all.remove(&id) {
                self.totals.hash.remove(session.row);
                for (_, answer) in &session.answers {
                    self.totals.remove(answer);
                }
            }
        }
    }
}

impl Session {
    fn check(&self, id: &RequestId, limits: &Limits) -> Verdict {
        if id.sequence < self.floor {
            return Verdict::Refused(forgotten(id.sequence));
        }
        if let Some(answer) = self.answer(id.sequence) {
            return match &answer.reply {
                Some(reply) => Verdict::Repeat(reply.clone()),
                None => Verdict::Refused(forgotten(id.sequence)),
            };
        }
        let known = self.floor.max(id.first_incomplete);
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

    /// The first of its answers, which is the next to be forgotten.
    pub(crate) fn first_answer(&self) -> Option<&Arc<Answer>> {
        self.answers.front().map(|(_, answer)| answer)
    }

    fn find(&self, sequence: u64) -> Result<usize, usize> {
        self.answers.binary_search_by_key(&sequence, |(at, _)| *at)
    }

    fn answer(&self, sequence: u64) -> Option<&Answer> {
        let (_, answer) = self.answers.get(self.find(sequence).ok()?)?;
        Some(answer)
    }

    fn first_sequence(&self) -> Option<u64> {
        self.answers.front().map(|(sequence, _)| *sequence)
    }

    /// False: there is an answer already.
    fn insert(
        &mut self,
        id: SessionId,
        sequence: u64,
        reply: Option<Reply>,
        totals: &mut Totals,
    ) -> bool {
        let Err(place) = self.find(sequence) else {
            return false;
        };
        let answer = Answer {
            bytes: ANSWER_OVERHEAD + reply.as_ref().map_or(0, Reply::bytes),
            row: answer_hash(id, sequence, reply.as_ref()),
            reply,
        };
        totals.add(&answer);
        self.bytes += answer.bytes;
        self.answers.insert(place, (sequence, Arc::new(answer)));
        true
    }

    fn remove(&mut self, sequence: u64, totals: &mut Totals) {
        if let Ok(place) = self.find(sequence) {
            // It is there.
            if let Some((_, answer)) = self.answers.remove(place) {
                totals.remove(&answer);
                self.bytes -= answer.bytes;
            }
        }
    }

    /// Raises the floor, if `floor` is higher, and drops the answers below it.
    fn raise_floor(&mut self, id: SessionId, floor: u64, totals: &mut Totals) {
        let floor = floor.max(self.floor);
        while let Some(sequence) = self.first_sequence().filter(|first| *first < floor) {
            self.remove(sequence, totals);
        }
        if floor > self.floor {
            self.move_to(id, floor, self.seen_ms, totals);
        }
    }

    fn move_to(&mut self, id: SessionId, floor: u64, seen_ms: u64, totals: &mut Totals) {
        totals.hash.remove(self.row);
        self.floor = floor;
        self.seen_ms = seen_ms;
        self.row = session_hash(id, floor, seen_ms);
        totals.hash.add(self.row);
    }
}

impl Totals {
    fn add(&mut self, answer: &Answer) {
        self.bytes += answer.bytes;
        self.hash.add(answer.row);
    }

    fn remove(&mut self, answer: &Answer) {
        self.bytes -= answer.bytes;
        self.hash.remove(answer.row);
    }
}

fn forgotten(sequence: u64) -> Refusal {
    let message = format!(
        "request {sequence} of this session is not applied again, and its answer is no longer \
         kept; read the keys to see what it did"
    );
    Refusal::new(Reason::RequestForgotten, message)
}

fn session_hash(id: SessionId, floor: u64, seen_ms: u64) -> RowHash {
    RowBuffer::new(b's')
        .bytes(id.as_bytes())
        .number(floor)
        .number(seen_ms)
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
