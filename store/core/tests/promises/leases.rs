//! Leases, locks and elections.

use holdfast_core::{Body, Expiry, Limits, Reason, ReplyBody, State, Transaction, lock};
use holdfast_proto::{KeyRange, Revision, Value};

use crate::store::{Store, assert_reason, grant, key, lease, put, put_under};

#[test]
fn an_ended_lease_takes_its_keys_in_one_revision() {
    let mut store = Store::new();
    store.done(grant(1));
    for name in ["b", "a", "c"] {
        store.done(put_under(name, 1));
    }
    store.put("kept", "1");
    let outcome = store.done(Body::LeaseRevoke(lease(1)));
    let change = outcome.change.unwrap();
    assert_eq!(change.revision.get(), 5);
    let keys: Vec<_> = change
        .events
        .iter()
        .map(|event| event.key.to_string())
        .collect();
    assert_eq!(keys, ["a", "b", "c"]);
    assert_eq!(store.state.count(&KeyRange::all()), 1);
    assert!(store.state.lease(lease(1)).is_none());
}

#[test]
fn several_leases_expire_in_one_revision_and_those_gone_are_passed_over() {
    let mut store = Store::new();
    for id in [1, 2] {
        store.done(grant(id));
        store.done(put_under(&format!("k{id}"), id));
    }
    let leases: Vec<_> = [1, 7, 2].into_iter().map(whichever).collect();
    let outcome = store.done(Body::LeaseExpire {
        term: 1,
        leases: leases.clone(),
    });
    assert!(matches!(outcome.reply.body, ReplyBody::Delete(result) if result.deleted == 2));
    assert_eq!(store.state.revision(), 3);
    assert!(
        store
            .done(Body::LeaseExpire { term: 1, leases })
            .change
            .is_none()
    );
}

/// Found by reading: an expiry that was proposed just before its lease was revoked, and its id
/// granted again, ended the new lease.
#[test]
fn the_end_of_one_grant_does_not_hit_a_later_grant_of_the_same_id() {
    let mut store = Store::new();
    store.done(grant(1));
    let expiry = Expiry {
        lease: lease(1),
        granted_at: store.state.lease(lease(1)).map(|lease| lease.granted_at),
    };
    let expire = || Body::LeaseExpire {
        term: 1,
        leases: vec![expiry],
    };
    store.done(Body::LeaseRevoke(lease(1)));
    store.now += 1;
    store.done(grant(1));
    store.done(put_under("a", 1));
    store.done(expire());
    assert!(store.state.lease(lease(1)).is_some());
    assert!(store.state.get(b"a").is_some());

    let mut same = Store::new();
    same.done(grant(1));
    same.done(expire());
    assert!(same.state.lease(lease(1)).is_none(), "its own grant ends");
}

fn whichever(id: u64) -> Expiry {
    Expiry {
        lease: lease(id),
        granted_at: None,
    }
}

#[test]
fn a_key_put_without_the_lease_leaves_it() {
    let mut store = Store::new();
    store.done(grant(1));
    store.done(put_under("a", 1));
    store.put("a", "mine now");
    store.done(Body::LeaseRevoke(lease(1)));
    assert!(store.state.get(b"a").is_some());
}

#[test]
fn a_jump_of_the_clock_ends_no_lease() {
    let mut store = Store::new();
    store.done(grant(1));
    store.done(put_under("a", 1));
    store.now += 1_000_000_000;
    store.done(Body::Tick);
    assert!(store.state.get(b"a").is_some());
}

#[test]
fn there_can_be_only_so_many_leases() {
    let mut store = Store::with_limits(Limits {
        leases: 1,
        ..Limits::default()
    });
    store.done(grant(1));
    let refusal = store.refused(grant(2));
    assert_reason(&refusal, Reason::TooMany, "revoke some");
    assert_eq!(&*refusal.limit, "leases");
}

fn transact(store: &mut Store, transaction: Transaction) -> bool {
    match store.done(Body::Transact(transaction)).reply.body {
        ReplyBody::Transact(result) => result.succeeded,
        other => panic!("{other:?}"),
    }
}

fn token(state: &State) -> Option<(String, u64)> {
    let (key, entry) = lock::holder(state, &key("jobs"))?;
    Some((key.to_string(), entry.meta.created.get()))
}

#[test]
fn who_came_first_holds_the_lock_and_tokens_rise_from_holder_to_holder() {
    let mut store = Store::new();
    let name = key("jobs");
    for id in [9, 3, 5] {
        store.done(grant(id));
        let contend = lock::contend(&name, lease(id), Value::Boolean(true)).unwrap();
        assert!(transact(&mut store, contend.clone()));
        assert!(
            !transact(&mut store, contend),
            "it stands in the queue already"
        );
    }
    // Below the name, but no contender.
    store.run(put("jobs/other", "x"));
    store.run(put("jobs/0000000000000001", "x"));
    assert_eq!(
        token(&store.state),
        Some(("jobs/0000000000000009".into(), 1))
    );
    store.done(Body::LeaseRevoke(lease(9)));
    assert_eq!(
        token(&store.state),
        Some(("jobs/0000000000000003".into(), 2))
    );
    let stale = lock::release(&name, lease(3), Revision::new(1).unwrap()).unwrap();
    assert!(
        !transact(&mut store, stale),
        "another hold's token releases nothing"
    );
    let release = lock::release(&name, lease(3), Revision::new(2).unwrap()).unwrap();
    assert!(transact(&mut store, release));
    assert_eq!(
        token(&store.state),
        Some(("jobs/0000000000000005".into(), 3))
    );
}

#[test]
fn a_contender_of_etcds_clients_stands_in_the_same_line() {
    let mut store = Store::new();
    for id in [0x1f, 2] {
        store.done(grant(id));
    }
    store.done(put_under("jobs/1f", 0x1f));
    transact(
        &mut store,
        lock::contend(&key("jobs"), lease(2), Value::Boolean(true)).unwrap(),
    );
    assert_eq!(token(&store.state), Some(("jobs/1f".into(), 1)));
    store.done(Body::LeaseRevoke(lease(0x1f)));
    assert_eq!(
        token(&store.state),
        Some(("jobs/0000000000000002".into(), 2))
    );
}

#[test]
fn a_leader_proclaims_under_its_own_token_only_and_keeps_its_place() {
    let mut store = Store::new();
    let name = key("jobs");
    store.done(grant(1));
    transact(
        &mut store,
        lock::contend(&name, lease(1), "one".into()).unwrap(),
    );
    let proclaim = |token| {
        lock::proclaim(&name, lease(1), Revision::new(token).unwrap(), "two".into()).unwrap()
    };
    assert!(!transact(&mut store, proclaim(7)));
    assert!(transact(&mut store, proclaim(1)));
    let (_, entry) = lock::holder(&store.state, &name).unwrap();
    assert_eq!(
        (&entry.value, entry.meta.created.get()),
        (&Value::from("two"), 1)
    );
    assert_eq!(entry.meta.lease, Some(lease(1)));
}
