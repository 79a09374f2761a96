//! Every refusal, by its reason; a refused command changes nothing.

use holdfast_core::{
    Body, Delete, DeleteOperation, Expected, Expiry, LeaseChoice, Put, PutOperation, Reason,
};
use holdfast_proto::{Key, KeyRange};

use crate::store::{
    Store, assert_reason, delete, grant, key, lease, put, put_expecting, put_operation, put_under,
};

#[test]
fn a_put_that_expects_another_revision_conflicts_and_says_which_it_found() {
    let mut store = Store::new();
    store.put("a", "1");
    store.put("a", "2");
    let refusal = store.refused(put_expecting("a", 1));
    assert_reason(&refusal, Reason::Conflict, "a is at revision 2, not 1");
    assert_eq!((refusal.found, refusal.expected), (2, 1));
    assert_eq!(refusal.key.as_ref().and_then(Key::as_str), Some("a"));
}

#[test]
fn a_put_that_expects_no_key_conflicts_with_one_that_is_there() {
    let mut store = Store::new();
    store.put("a", "1");
    let refusal = store.refused(put_expecting("a", 0));
    assert_reason(
        &refusal,
        Reason::Conflict,
        "a exists already, at revision 1",
    );
}

#[test]
fn a_put_that_expects_a_revision_conflicts_where_no_key_is() {
    let refusal = Store::new().refused(put_expecting("a", 7));
    assert_reason(&refusal, Reason::Conflict, "a does not exist");
    assert_eq!((refusal.found, refusal.expected), (0, 7));
}

#[test]
fn a_deletion_conflicts_like_a_put() {
    let mut store = Store::new();
    store.put("a", "1");
    let expecting = |revision| {
        Body::Delete(Delete {
            delete: DeleteOperation::new(KeyRange::single(&key("a"))),
            expected: Some(Expected::from_number(revision)),
        })
    };
    assert_reason(&store.refused(expecting(9)), Reason::Conflict, "not 9");
    store.done(expecting(1));
    store.done(expecting(0));
    assert_eq!(store.state.revision(), 2);
}

#[test]
fn an_expected_revision_of_a_whole_range_is_refused() {
    let body = Body::Delete(Delete {
        delete: DeleteOperation::new(KeyRange::all()),
        expected: Some(Expected::Absent),
    });
    assert_reason(&Store::new().refused(body), Reason::Invalid, "one key");
}

#[test]
fn a_put_under_a_lease_that_is_gone_is_refused() {
    let refusal = Store::new().refused(put_under("a", 7));
    assert_reason(&refusal, Reason::LeaseMissing, "no lease 0000000000000007");
}

#[test]
fn keeping_value_or_lease_of_a_missing_key_is_refused() {
    let mut store = Store::new();
    let keep_value = PutOperation {
        value: None,
        ..put_operation("a", "")
    };
    let keep_lease = PutOperation {
        lease: LeaseChoice::Keep,
        ..put_operation("a", "1")
    };
    for put in [keep_value, keep_lease] {
        let refusal = store.refused(Body::Put(Put {
            put,
            expected: None,
        }));
        assert_reason(&refusal, Reason::KeyMissing, "a does not exist");
    }
}

#[test]
fn a_lease_id_is_granted_once_at_a_time() {
    let mut store = Store::new();
    store.done(grant(1));
    assert_reason(
        &store.refused(grant(1)),
        Reason::LeaseExists,
        "exists already",
    );
    store.done(Body::LeaseRevoke(lease(1)));
    store.done(grant(1));
}

#[test]
fn a_lease_that_lives_too_short_or_too_long_is_refused() {
    for ttl_ms in [999, 30 * 24 * 60 * 60 * 1_000 + 1] {
        let refusal = Store::new().refused(Body::LeaseGrant {
            lease: lease(1),
            ttl_ms,
        });
        assert_reason(&refusal, Reason::Invalid, "ms");
        assert_eq!(refusal.found, ttl_ms);
    }
}

#[test]
fn a_lease_that_is_not_there_cannot_be_revoked() {
    let refusal = Store::new().refused(Body::LeaseRevoke(lease(1)));
    assert_reason(&refusal, Reason::LeaseMissing, "grant a new one");
}

#[test]
fn a_deposed_leader_expires_nothing() {
    let mut store = Store::new();
    store.done(grant(1));
    store.done(put_under("a", 1));
    store.term = 5;
    let refusal = store.refused(Body::LeaseExpire {
        term: 4,
        leases: vec![Expiry {
            lease: lease(1),
            granted_at: None,
        }],
    });
    assert_reason(&refusal, Reason::StaleTerm, "term 4");
    assert!(store.state.get(b"a").is_some());
}

#[test]
fn compaction_goes_forward_and_not_past_the_newest_revision() {
    let mut store = Store::new();
    for value in ["1", "2", "3"] {
        store.put("a", value);
    }
    let refusal = store.refused(Body::Compact(4));
    assert_reason(&refusal, Reason::FutureRevision, "newest revision is 3");
    store.done(Body::Compact(2));
    for revision in [0, 1, 2] {
        let refusal = store.refused(Body::Compact(revision));
        assert_reason(
            &refusal,
            Reason::Compacted,
            "revision 2 is compacted already",
        );
    }
}

#[test]
fn a_full_store_refuses_puts_but_takes_deletions_and_smaller_values() {
    let mut store = Store::with_limits(holdfast_core::Limits {
        state_bytes: 10_000,
        history_bytes: 2_000,
        ..holdfast_core::Limits::default()
    });
    let big = "x".repeat(1_000);
    let mut count = 0;
    let refusal = loop {
        let body = put(&format!("k{count}"), &big);
        if store.run(body.clone()).reply.refusal().is_some() {
            break store.refused(body);
        }
        count += 1;
    };
    assert_reason(&refusal, Reason::StateFull, "delete keys");
    assert_eq!(&*refusal.limit, "state bytes");
    assert!(count >= 6, "{count}");
    store.put("k0", "small");
    for index in 0..count {
        store.done(delete(KeyRange::single(&key(&format!("k{index}")))));
    }
    assert_eq!(store.state.usage().keys, 0);
    store.put("k0", &big);
}
