//! Nothing that is printed shows what users stored.

use holdfast_core::{Body, Compare, Operation, Put, PutOperation, Relation, Target, Transaction};
use holdfast_proto::KeyRange;

use crate::store::{Store, asked, key, put, put_operation, request};

#[test]
fn debug_never_shows_values() {
    let mut store = Store::new();
    let secret = "hunter2";
    store.put("a", secret);
    let transaction = Body::Transact(Transaction {
        compare: vec![Compare {
            range: KeyRange::single(&key("a")),
            relation: Relation::Equal,
            target: Target::Value(secret.into()),
        }],
        then: vec![Operation::Put(PutOperation {
            previous: true,
            ..put_operation("a", secret)
        })],
        otherwise: Vec::new(),
    });
    let command = asked(request(1, 1, 1), transaction);
    let shown = format!("{command:?}");
    let outcome = store.apply(command);
    let previous = PutOperation {
        previous: true,
        ..put_operation("a", secret)
    };
    let body = Body::Put(Put {
        put: previous,
        expected: None,
    });
    let wire = store.run(body).reply.into_wire();
    let at = store
        .state
        .range_at(&KeyRange::all(), holdfast_proto::Revision::new(1).unwrap());
    let shown = format!(
        "{shown} {outcome:?} {wire:?} {at:?} {:?} {:?}",
        store.state,
        put("a", secret)
    );
    assert!(!shown.contains(secret), "{shown}");
}
