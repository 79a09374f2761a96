//! Transactions, as etcd has them.

use holdfast_core::{
    Body, Compare, DeleteOperation, LeaseChoice, Operation, OperationResult, PutOperation,
    RangeOperation, Reason, Relation, ReplyBody, Target, Transaction, TransactionResult,
};
use holdfast_proto::{KeyRange, Value};

use crate::store::{Store, assert_reason, key, lease, put_operation};

fn put(name: &str, value: &str) -> Operation {
    Operation::Put(put_operation(name, value))
}

fn delete(range: KeyRange) -> Operation {
    Operation::Delete(DeleteOperation::new(range))
}

fn nested(then: Vec<Operation>, otherwise: Vec<Operation>) -> Operation {
    Operation::Transaction(Transaction {
        compare: Vec::new(),
        then,
        otherwise,
    })
}

fn always(then: Vec<Operation>) -> Body {
    Body::Transact(Transaction {
        then,
        ..Transaction::default()
    })
}

fn compare(range: KeyRange, relation: Relation, target: Target) -> Compare {
    Compare {
        range,
        relation,
        target,
    }
}

fn result(store: &mut Store, body: Body) -> TransactionResult {
    match store.done(body).reply.body {
        ReplyBody::Transact(result) => result,
        other => panic!("{other:?}"),
    }
}

/// etcd lets a nested transaction delete what an earlier one put, and counts that.
#[test]
fn what_is_put_and_deleted_again_makes_a_revision_in_which_nothing_changed() {
    let mut store = Store::new();
    let there_and_gone = always(vec![
        nested(vec![put("a", "1")], vec![]),
        nested(vec![delete(KeyRange::prefix("a"))], vec![]),
    ]);
    let outcome = store.done(there_and_gone);
    assert!(outcome.change.unwrap().events.is_empty());
    assert_eq!((store.state.revision(), outcome.reply.revision()), (1, 1));
    store.done(always(vec![put("b", "1")]));
    assert_eq!(store.state.revision(), 2);
    assert_eq!(store.state.get(b"b").unwrap().meta.revision.get(), 2);
}

#[test]
fn a_mutating_transaction_makes_one_revision_and_a_reading_one_none() {
    let mut store = Store::new();
    let outcome = store.done(always(vec![put("a", "1"), put("b", "1"), put("c", "1")]));
    assert_eq!(store.state.revision(), 1);
    assert_eq!(outcome.change.unwrap().events.len(), 3);
    let read = Operation::Range(RangeOperation::new(KeyRange::all()));
    let outcome = store.done(always(vec![read, delete(KeyRange::prefix("x"))]));
    assert!(outcome.change.is_none());
    assert_eq!((store.state.revision(), outcome.reply.revision()), (1, 1));
}

#[test]
fn reads_see_what_the_transaction_wrote_before_them() {
    let mut store = Store::new();
    store.put("a/1", "old");
    store.put("a/2", "old");
    let read = || Operation::Range(RangeOperation::new(KeyRange::prefix("a/")));
    let result = result(
        &mut store,
        always(vec![
            read(),
            delete(KeyRange::single(&key("a/1"))),
            put("a/3", "new"),
            read(),
        ]),
    );
    let names = |result: &OperationResult| match result {
        OperationResult::Range(range) => range
            .entries
            .iter()
            .map(|found| found.key.to_string())
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(names(&result.results[0]), ["a/1", "a/2"]);
    assert_eq!(names(&result.results[3]), ["a/2", "a/3"]);
}

#[test]
fn one_bad_step_refuses_the_whole_transaction() {
    let mut store = Store::new();
    let bad = Operation::Put(PutOperation {
        lease: LeaseChoice::Bound(lease(9)),
        ..put_operation("b", "1")
    });
    let refusal = store.refused(always(vec![put("a", "1"), bad]));
    assert_reason(&refusal, Reason::LeaseMissing, "no lease");
    assert_eq!(store.state.revision(), 0);
}

#[test]
fn a_key_is_written_once_by_a_transaction() {
    let mut store = Store::new();
    for steps in [
        vec![put("a", "1"), put("a", "2")],
        vec![put("a", "1"), delete(KeyRange::prefix("a"))],
        vec![delete(KeyRange::prefix("a")), put("a", "1")],
        vec![put("a", "1"), nested(vec![put("a", "2")], vec![])],
        vec![put("a", "1"), nested(vec![], vec![put("a", "2")])],
        vec![
            nested(vec![put("a", "1")], vec![]),
            nested(vec![], vec![put("a", "2")]),
        ],
    ] {
        let refusal = store.refused(always(steps));
        assert_reason(&refusal, Reason::DuplicateKey, "a more than once");
    }
    store.done(always(vec![nested(
        vec![put("a", "1")],
        vec![put("a", "2")],
    )]));
    assert_eq!(store.state.get(b"a").unwrap().value, Value::from("1"));
}

#[test]
fn nested_compares_are_decided_before_anything_is_written() {
    let mut store = Store::new();
    let absent = compare(
        KeyRange::single(&key("a")),
        Relation::Equal,
        Target::Version(0),
    );
    let inner = Transaction {
        compare: vec![absent],
        then: vec![put("b", "decided up front")],
        otherwise: vec![put("b", "decided late")],
    };
    store.done(always(vec![put("a", "1"), Operation::Transaction(inner)]));
    assert_eq!(
        store.state.get(b"b").unwrap().value,
        Value::from("decided up front")
    );
}

#[test]
fn every_key_of_a_range_must_meet_a_compare_and_an_empty_one_counts_as_a_missing_key() {
    let mut store = Store::new();
    store.put("a/1", "x");
    store.put("a/2", "x");
    store.put("a/2", "x");
    let holds = |store: &mut Store, prefix: &'static str, relation, target| {
        let compare = vec![compare(KeyRange::prefix(prefix), relation, target)];
        let transaction = Transaction {
            compare,
            ..Transaction::default()
        };
        result(store, Body::Transact(transaction)).succeeded
    };
    assert!(holds(
        &mut store,
        "a/",
        Relation::Greater,
        Target::Version(0)
    ));
    assert!(!holds(
        &mut store,
        "a/",
        Relation::Equal,
        Target::Version(1)
    ));
    assert!(holds(
        &mut store,
        "a/",
        Relation::Equal,
        Target::Value("x".into())
    ));
    assert!(holds(&mut store, "z/", Relation::Equal, Target::Version(0)));
    assert!(!holds(
        &mut store,
        "z/",
        Relation::Greater,
        Target::Version(0)
    ));
    assert!(!holds(
        &mut store,
        "z/",
        Relation::NotEqual,
        Target::Value("x".into())
    ));
}

#[test]
fn values_of_two_kinds_differ_but_have_no_order() {
    let mut store = Store::new();
    store.put("a", "1");
    let mut holds = |relation| {
        let range = KeyRange::single(&key("a"));
        let compare = vec![compare(range, relation, Target::Value(Value::Integer(1)))];
        let transaction = Transaction {
            compare,
            ..Transaction::default()
        };
        result(&mut store, Body::Transact(transaction)).succeeded
    };
    assert!(holds(Relation::NotEqual));
    assert!(!holds(Relation::Equal) && !holds(Relation::Greater) && !holds(Relation::Less));
}

#[test]
fn a_compare_by_canonical_bytes_sees_what_foreign_clients_see() {
    let mut store = Store::new();
    let number = PutOperation::new(key("a"), Value::Integer(10));
    store.done(always(vec![Operation::Put(number)]));
    let mut holds = |name: &str, relation, bytes: &'static [u8]| {
        let target = Target::Canonical(Value::Bytes(bytes.into()));
        let compare = vec![compare(KeyRange::single(&key(name)), relation, target)];
        let transaction = Transaction {
            compare,
            ..Transaction::default()
        };
        result(&mut store, Body::Transact(transaction)).succeeded
    };
    assert!(holds("a", Relation::Equal, b"10"));
    assert!(
        holds("a", Relation::Less, b"9"),
        "bytes, not numbers, are compared"
    );
    assert!(!holds("a", Relation::NotEqual, b"10"));
    assert!(
        !holds("z", Relation::NotEqual, b"10"),
        "no value of no key holds"
    );
}

#[test]
fn a_read_at_an_older_revision_stops_the_whole_transaction_unless_it_can_be_made() {
    let mut store = Store::new();
    store.put("a", "1");
    store.put("b", "2");
    store.put("a", "3");
    let reading = |revision| {
        let read = RangeOperation {
            revision,
            ..RangeOperation::new(KeyRange::all())
        };
        let write = Operation::Put(put_operation("c", "4"));
        always(vec![write, Operation::Range(read)])
    };
    store.done(Body::Compact(2));
    assert_reason(&store.refused(reading(1)), Reason::Compacted, "2");
    assert_reason(&store.refused(reading(4)), Reason::FutureRevision, "3");
    let done = result(&mut store, reading(2));
    let OperationResult::Range(read) = &done.results[1] else {
        panic!("{done:?}");
    };
    assert_eq!((read.count, read.entries.len()), (2, 0));
}

#[test]
fn an_answer_that_fits_no_message_is_refused() {
    let mut store = Store::new();
    let big = "x".repeat(1024 * 1024);
    for index in 0..9 {
        store.put(&format!("k{index}"), &big);
    }
    let read = Operation::Range(RangeOperation::new(KeyRange::all()));
    assert_reason(
        &store.refused(always(vec![read])),
        Reason::TooLarge,
        "read less",
    );
    let read = RangeOperation {
        keys_only: true,
        ..RangeOperation::new(KeyRange::all())
    };
    store.done(always(vec![Operation::Range(read)]));
}
