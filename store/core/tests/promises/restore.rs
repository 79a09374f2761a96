//! A restored cluster goes on with the data, and with nothing by which the old one could interfere.

use bytes::Bytes;
use holdfast_core::{
    Body, Changes, Founding, REVISIONS_LEFT_OUT, Restoring, Role, State, TokenDigest,
};
use holdfast_proto::{NodeId, Timestamp};

use crate::store::{Store, asked, grant, put, put_under, request};

fn founded() -> Store {
    let mut store = Store::new();
    store.done(Body::ClusterInit(Box::new(Founding {
        cluster_id: "c-1".into(),
        cluster_name: "shop".into(),
        founder: NodeId(1),
        name: "n1".parse().unwrap(),
        address: "127.0.0.1:7101".into(),
        public_key: Bytes::from_static(b"key"),
    })));
    store.done(grant(1));
    store.done(put_under("a", 1));
    store.apply(asked(request(1, 1, 1), put("b", "1")));
    store.put("b", "2");
    let expires = Timestamp::from_millis(store.now + 60_000);
    store.done(Body::TokenCreate {
        digest: TokenDigest::of(b"secret"),
        role: Role::Voter,
        expires,
        name: None,
    });
    store
}

fn restoring(cluster: &str) -> Restoring {
    Restoring {
        cluster_id: cluster.into(),
        name: "n1".parse().unwrap(),
        address: "127.0.0.1:7201".into(),
        public_key: Bytes::from_static(b"new key"),
    }
}

#[test]
fn everything_that_was_put_is_there_with_its_history() {
    let old = founded().state;
    let new = old.clone().restored(restoring("c-2")).unwrap();
    for key in ["a", "b"] {
        assert_eq!(new.get(key.as_bytes()), old.get(key.as_bytes()));
        assert_eq!(new.history(key.as_bytes()), old.history(key.as_bytes()));
    }
    assert_eq!(new.leases().count(), old.leases().count());
}

#[test]
fn no_revision_and_no_member_id_is_given_out_twice() {
    let old = founded().state;
    let new = old.clone().restored(restoring("c-2")).unwrap();
    assert_eq!(new.revision(), old.revision() + REVISIONS_LEFT_OUT);
    let founder = old.restored_founder();
    assert!(old.members().all(|member| member.id < founder));
    let present: Vec<_> = new.members().filter(|member| !member.removed).collect();
    assert_eq!(present.len(), 1);
    assert_eq!((present[0].id, present[0].role), (founder, Role::Voter));
    assert!(new.member(NodeId(1)).unwrap().removed);
    let again = new.restored(restoring("c-3")).unwrap();
    assert!(again.member(founder).unwrap().removed);
    assert!(again.members().last().unwrap().id > founder);
}

#[test]
fn a_watcher_of_the_old_cluster_is_told_that_it_missed_something() {
    let old = founded().state;
    let new = old.clone().restored(restoring("c-2")).unwrap();
    for from in [1, old.revision(), old.revision() + 1, new.revision()] {
        assert!(
            matches!(new.changes_since(from, 1 << 20), Changes::Compacted { .. }),
            "a watch went on at {from}"
        );
    }
    assert!(matches!(
        new.changes_since(new.revision() + 1, 1 << 20),
        Changes::Recent(changes) if changes.is_empty()
    ));
}

#[test]
fn tokens_and_sessions_of_the_old_cluster_are_gone() {
    let new = founded().state.restored(restoring("c-2")).unwrap();
    assert_eq!(new.tokens().count(), 0);
    assert_eq!(new.usage().sessions, 0);
}

#[test]
fn secrets_stay_bound_to_the_first_cluster_of_the_line() {
    let new = founded().state.restored(restoring("c-2")).unwrap();
    let info = new.cluster().unwrap();
    assert_eq!(
        (&*info.id, &*info.lineage, &*info.name),
        ("c-2", "c-1", "shop")
    );
    let again = new.restored(restoring("c-3")).unwrap();
    let info = again.cluster().unwrap();
    assert_eq!((&*info.id, &*info.lineage), ("c-3", "c-1"));
}

#[test]
fn a_restored_state_goes_through_an_archive_like_any_other() {
    let new = founded().state.restored(restoring("c-2")).unwrap();
    let again = State::from_rows(new.rows()).unwrap();
    assert_eq!(again.hash(), new.hash());
}

#[test]
fn what_is_no_cluster_is_not_restored() {
    assert!(State::new().restored(restoring("c-2")).is_none());
}
