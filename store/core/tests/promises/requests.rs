//! Requests are applied once.

use holdfast_core::{
    Body, Limits, Operation, Put, PutOperation, RangeOperation, Reason, Transaction,
};
use holdfast_proto::{KeyRange, limits};

use crate::store::{Store, asked, assert_reason, put, put_expecting, put_operation, request};

#[test]
fn a_repeated_request_gets_the_first_answer_and_changes_nothing() {
    let mut store = Store::new();
    let first = store.apply(asked(request(1, 1, 1), put("a", "1")));
    store.put("a", "2");
    let hash = store.state.hash();
    let repeat = store.apply(asked(request(1, 1, 1), put("a", "1")));
    assert_eq!(repeat.reply, first.reply);
    assert_eq!((repeat.reply.revision(), store.state.revision()), (1, 2));
    assert_eq!(store.state.hash(), hash);
}

#[test]
fn a_refused_request_stays_refused_when_repeated() {
    let mut store = Store::new();
    store.put("a", "1");
    let first = store.apply(asked(request(1, 1, 1), put_expecting("a", 9)));
    store.done(Body::Tick);
    let repeat = store.apply(asked(request(1, 1, 1), put_expecting("a", 9)));
    assert_eq!(repeat.reply, first.reply);
    assert_eq!(repeat.reply.refusal().unwrap().reason, Reason::Conflict);
}

#[test]
fn an_answer_that_the_client_said_it_has_is_forgotten_and_said_so() {
    let mut store = Store::new();
    store.apply(asked(request(1, 1, 1), put("a", "1")));
    store.apply(asked(request(1, 2, 2), put("b", "1")));
    let repeat = store.apply(asked(request(1, 1, 1), put("a", "1")));
    assert_reason(
        repeat.reply.refusal().unwrap(),
        Reason::RequestForgotten,
        "not applied again",
    );
    assert_eq!(store.state.revision(), 2);
}

#[test]
fn requests_that_overtake_each_other_are_each_applied_once() {
    const REQUESTS: u64 = 300;
    const FLOOR: u64 = 200;
    let mut store = Store::new();
    let ask = |store: &mut Store, sequence: u64, first_incomplete| {
        let id = request(1, sequence, first_incomplete);
        let reply = store
            .apply(asked(id, put(&format!("k{sequence}"), "1")))
            .reply;
        (reply, store.state.usage().answer_bytes)
    };
    // 7 and 300 share no factor: each number comes once.
    let order = || (1..=REQUESTS).map(|number| 1 + number * 7 % REQUESTS);
    let first: Vec<_> = order()
        .map(|sequence| ask(&mut store, sequence, 1))
        .collect();
    for (sequence, (first, _)) in order().zip(&first) {
        assert_eq!(ask(&mut store, sequence, 1).0, *first, "{sequence}");
    }
    // They are all of one size.
    let size = first[0].1;
    assert_eq!(store.state.usage().answer_bytes, REQUESTS * size);
    let (_, kept) = ask(&mut store, REQUESTS + 1, FLOOR);
    assert_eq!(kept, (REQUESTS + 2 - FLOOR) * size);
    for (sequence, (first, _)) in order().zip(&first) {
        let (again, _) = ask(&mut store, sequence, 1);
        let refusal = again.refusal().map(|refusal| refusal.reason);
        match sequence < FLOOR {
            true => assert_eq!(refusal, Some(Reason::RequestForgotten), "{sequence}"),
            false => assert_eq!(again, *first, "{sequence}"),
        }
    }
    assert_eq!(store.state.revision(), REQUESTS + 1);
}

#[test]
fn a_session_cannot_run_ahead_of_its_window() {
    let mut store = Store::with_limits(Limits {
        session_window: 4,
        ..Limits::default()
    });
    store.apply(asked(request(1, 1, 1), put("a", "1")));
    let refused = store.apply(asked(request(1, 5, 1), put("a", "2")));
    assert_reason(
        refused.reply.refusal().unwrap(),
        Reason::TooMany,
        "without an answer",
    );
    let done = store.apply(asked(request(1, 5, 2), put("a", "2")));
    assert_eq!(done.reply.refusal(), None);
}

#[test]
fn answers_past_the_budget_are_forgotten_but_never_applied_again() {
    let mut store = Store::with_limits(Limits {
        session_answer_bytes: 1_500,
        ..Limits::default()
    });
    store.put("big", &"x".repeat(400));
    let read = |store: &mut Store, sequence| {
        let put = PutOperation {
            previous: true,
            ..put_operation("big", &"x".repeat(400))
        };
        store.apply(asked(
            request(1, sequence, 1),
            Body::Put(Put {
                put,
                expected: None,
            }),
        ))
    };
    for sequence in 1..=5 {
        assert_eq!(read(&mut store, sequence).reply.refusal(), None);
    }
    assert!(store.state.usage().answer_bytes <= 1_500);
    let revision = store.state.revision();
    let reply = read(&mut store, 1).reply;
    assert_reason(
        reply.refusal().unwrap(),
        Reason::RequestForgotten,
        "no longer kept",
    );
    assert_eq!(read(&mut store, 5).reply.refusal(), None);
    assert_eq!(store.state.revision(), revision);
}

#[test]
fn an_answer_larger_than_the_whole_budget_is_applied_once_too() {
    let mut store = Store::with_limits(Limits {
        session_answer_bytes: 1_000,
        ..Limits::default()
    });
    store.put("big", &"x".repeat(5_000));
    let all = || {
        Body::Transact(Transaction {
            then: vec![
                Operation::Range(RangeOperation::new(KeyRange::all())),
                Operation::Put(put_operation("a", "1")),
            ],
            ..Transaction::default()
        })
    };
    let first = store.apply(asked(request(1, 1, 1), all()));
    assert_eq!(first.reply.refusal(), None);
    let repeat = store.apply(asked(request(1, 1, 1), all()));
    assert_reason(
        repeat.reply.refusal().unwrap(),
        Reason::RequestForgotten,
        "read the keys",
    );
    assert_eq!(store.state.revision(), 2);
}

#[test]
fn too_many_sessions_are_refused_until_some_are_idle() {
    let mut store = Store::with_limits(Limits {
        sessions: 2,
        ..Limits::default()
    });
    store.apply(asked(request(1, 1, 1), put("a", "1")));
    store.apply(asked(request(2, 1, 1), put("a", "2")));
    let refused = store.apply(asked(request(3, 1, 1), put("a", "3")));
    assert_reason(
        refused.reply.refusal().unwrap(),
        Reason::TooManySessions,
        "clients are writing",
    );
    for _ in 0..=(limits::SESSION_IDLE_MS / 10_000 + 3) {
        store.now += 10_000;
        store.apply(asked(request(2, 1, 1), put("a", "2")));
    }
    let done = store.apply(asked(request(3, 1, 1), put("a", "3")));
    assert_eq!(done.reply.refusal(), None);
    let kept = store.apply(asked(request(2, 1, 1), put("a", "2")));
    assert_eq!(kept.reply.revision(), 2);
}

#[test]
fn a_jump_of_the_clock_forgets_no_session() {
    let mut store = Store::new();
    let first = store.apply(asked(request(1, 1, 1), put("a", "1")));
    store.now += 365 * crate::store::DAY_MS;
    store.done(Body::Tick);
    let repeat = store.apply(asked(request(1, 1, 1), put("a", "1")));
    assert_eq!(repeat.reply, first.reply);
    assert_eq!(store.state.revision(), 1);
}
