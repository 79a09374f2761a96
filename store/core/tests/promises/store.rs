//! A state with a clock and a log index of its own, to write tests with.

use holdfast_core::{
    Body, Command, Context, Delete, DeleteOperation, Expected, LeaseChoice, Limits, Outcome, Put,
    PutOperation, Reason, Refusal, State, apply,
};
use holdfast_proto::{Key, KeyRange, LeaseId, RequestId, SessionId, Timestamp, Value};

pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

pub(crate) struct Store {
    pub(crate) state: State,
    pub(crate) now: u64,
    pub(crate) term: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self {
            state: State::with_limits(limits),
            now: 1_000_000,
            term: 1,
        }
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        let at = Timestamp::from_millis(self.now);
        apply(
            &mut self.state,
            Context {
                index: 1,
                term: self.term,
                at,
            },
            command,
        )
    }

    pub(crate) fn run(&mut self, body: Body) -> Outcome {
        self.apply(Command::internal("node/n1", body))
    }

    /// Must be refused, with nothing changed.
    pub(crate) fn refused(&mut self, body: Body) -> Refusal {
        let rows: Vec<_> = self.state.rows().skip(1).collect();
        let outcome = self.run(body);
        let refusal = outcome.reply.refusal().expect("it was done").clone();
        assert!(
            self.state.rows().skip(1).eq(rows),
            "a refused command changed something"
        );
        assert!(outcome.change.is_none());
        refusal
    }

    pub(crate) fn done(&mut self, body: Body) -> Outcome {
        let outcome = self.run(body);
        assert_eq!(outcome.reply.refusal(), None);
        outcome
    }

    pub(crate) fn put(&mut self, name: &str, value: &str) -> Outcome {
        self.done(put(name, value))
    }

    pub(crate) fn delete(&mut self, name: &str) -> Outcome {
        self.done(delete(KeyRange::single(&key(name))))
    }

    pub(crate) fn revisions(&self, name: &str) -> Vec<u64> {
        self.state
            .history(name.as_bytes())
            .iter()
            .map(|meta| meta.revision.get())
            .collect()
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::try_from(name).unwrap()
}

pub(crate) fn lease(number: u64) -> LeaseId {
    LeaseId::new(number).unwrap()
}

pub(crate) fn put_operation(name: &str, value: &str) -> PutOperation {
    PutOperation::new(key(name), Value::from(value))
}

pub(crate) fn put(name: &str, value: &str) -> Body {
    Body::Put(Put {
        put: put_operation(name, value),
        expected: None,
    })
}

pub(crate) fn put_expecting(name: &str, expected: u64) -> Body {
    let expected = Some(Expected::from_number(expected));
    Body::Put(Put {
        put: put_operation(name, "x"),
        expected,
    })
}

pub(crate) fn put_under(name: &str, id: u64) -> Body {
    let put = PutOperation {
        lease: LeaseChoice::Bound(lease(id)),
        ..put_operation(name, "x")
    };
    Body::Put(Put {
        put,
        expected: None,
    })
}

pub(crate) fn delete(range: KeyRange) -> Body {
    Body::Delete(Delete {
        delete: DeleteOperation::new(range),
        expected: None,
    })
}

pub(crate) fn grant(id: u64) -> Body {
    Body::LeaseGrant {
        lease: lease(id),
        ttl_ms: 5_000,
    }
}

pub(crate) fn request(session: u8, sequence: u64, first_incomplete: u64) -> RequestId {
    RequestId {
        session: SessionId::from_bytes([session; 16]),
        sequence,
        first_incomplete,
    }
}

pub(crate) fn asked(request: RequestId, body: Body) -> Command {
    Command {
        request: Some(request),
        ..Command::internal("client/shop", body)
    }
}

#[track_caller]
pub(crate) fn assert_reason(refusal: &Refusal, reason: Reason, words: &str) {
    assert_eq!(refusal.reason, reason, "{}", refusal.message);
    assert!(refusal.message.contains(words), "{}", refusal.message);
}
