//! One authority follows another, step by step, whoever leads.

use bytes::Bytes;
use holdfast_core::{
    AuthorityBegin, AuthorityTaken, AuthorityWanted, Body, Reason, ReplyBody, Role, State,
    TokenDigest,
};
use holdfast_proto::{NodeId, Timestamp};

use crate::{
    members::founding,
    store::{Store, assert_reason},
};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn token(store: &Store, word: u8) -> Body {
    Body::TokenCreate {
        digest: TokenDigest::from_bytes([word; 32]),
        role: Role::Voter,
        expires: Timestamp::from_millis(store.now + 60_000),
        name: None,
    }
}

/// Members 1 to 3 are there, 4 was removed.
fn one_is_removed() -> Store {
    let mut store = Store::new();
    store.done(founding());
    for word in 2..=4 {
        let made = token(&store, word);
        store.done(made);
        let admitted = store.done(Body::MemberAdmit {
            token: TokenDigest::from_bytes([word; 32]),
            name: format!("n{word}").parse().unwrap(),
            address: "h:1".into(),
            public_key: bytes("key"),
        });
        assert!(matches!(admitted.reply.body, ReplyBody::Admitted { .. }));
    }
    store.done(remove(4));
    store
}

fn remove(id: u64) -> Body {
    Body::MemberRemove {
        id: NodeId(id),
        heard: None,
    }
}

fn wanted(member: u64, replaces: &str, key: &str) -> Body {
    Body::AuthorityWanted(AuthorityWanted {
        member: NodeId(member),
        replaces: bytes(replaces),
        public_key: bytes(key),
    })
}

fn begin(generation: u64, certificate: &str, replaces: &str) -> Body {
    Body::AuthorityBegin(AuthorityBegin {
        generation,
        certificate: bytes(certificate),
        replaces: bytes(replaces),
    })
}

fn taken(generation: u64, certificate: &str, member: u64) -> Body {
    Body::AuthorityTaken(AuthorityTaken {
        generation,
        certificate: bytes(certificate),
        member: NodeId(member),
    })
}

fn restored(state: &State) -> State {
    let again = State::from_rows(state.rows()).unwrap();
    assert_eq!(again.hash(), state.hash());
    assert!(again.authorities().eq(state.authorities()));
    again
}

#[test]
fn a_rotation_goes_through_its_steps_and_is_kept_through_an_archive() {
    let mut store = one_is_removed();
    let before = store.state.hash();
    store.done(wanted(4, "old", "admin's key"));
    assert_ne!(store.state.hash(), before);
    let next = restored(&store.state).next_authority().cloned().unwrap();
    assert_eq!((next.generation, next.certificate.len()), (2, 0));
    assert_eq!(next.cause.as_ref().unwrap().public_key, "admin's key");
    store.done(begin(2, "new", ""));
    store.done(taken(2, "new", 1));
    store.done(taken(2, "new", 3));
    store.done(Body::AuthorityRetire(1));
    let after = restored(&store.state);
    assert!(after.next_authority().is_none());
    let old = after.authorities().next().unwrap();
    assert_eq!(
        (&old.certificate[..], old.retired.is_some()),
        (&b"old"[..], true)
    );
    assert_eq!(after.authority_after(NodeId(4)).unwrap().taken.len(), 2);
}

#[test]
fn asking_again_changes_nothing_and_asking_otherwise_is_refused() {
    let mut store = one_is_removed();
    store.done(wanted(4, "old", "admin's key"));
    let hash = store.state.authorities().cloned().collect::<Vec<_>>();
    store.done(wanted(4, "old", "admin's key"));
    let same = |store: &Store| store.state.authorities().cloned().collect::<Vec<_>>() == hash;
    assert!(same(&store));
    let other_key = store.refused(wanted(4, "old", "somebody's key"));
    assert_reason(&other_key, Reason::Conflict, "because of member 4");
    store.done(remove(3));
    let other_member = store.refused(wanted(3, "old", "admin's key"));
    assert_reason(&other_member, Reason::Conflict, "being replaced already");
    let present = store.refused(wanted(2, "old", "admin's key"));
    assert_reason(&present, Reason::MemberMissing, "remove it first");
    assert!(same(&store));
}

#[test]
fn an_authority_whose_key_was_lost_is_made_anew_until_somebody_took_it() {
    let mut store = one_is_removed();
    assert_reason(
        &store.refused(begin(2, "new", "")),
        Reason::Conflict,
        "not wanted",
    );
    store.done(wanted(4, "old", "k"));
    store.done(begin(2, "lost", ""));
    assert_reason(
        &store.refused(begin(2, "other", "")),
        Reason::Conflict,
        "made already",
    );
    store.done(begin(2, "new", "lost"));
    let gone = store.refused(taken(2, "lost", 1));
    assert_reason(&gone, Reason::Conflict, "no authority 2 with that");
    store.done(taken(2, "new", 1));
    assert_reason(
        &store.refused(begin(2, "third", "new")),
        Reason::Conflict,
        "made already",
    );
    assert_eq!(
        store.refused(taken(2, "new", 4)).reason,
        Reason::MemberMissing
    );
}

#[test]
fn the_old_one_is_trusted_until_most_voters_have_the_next() {
    let mut store = one_is_removed();
    store.done(wanted(4, "old", "k"));
    store.done(begin(2, "new", ""));
    store.done(taken(2, "new", 1));
    let refusal = store.refused(Body::AuthorityRetire(1));
    assert_reason(&refusal, Reason::Conflict, "1 of 3 voters");
    store.done(taken(2, "new", 2));
    assert_eq!(
        store.refused(Body::AuthorityRetire(2)).reason,
        Reason::Conflict
    );
    store.done(Body::AuthorityRetire(1));
    let when = store.state.authorities().next().unwrap().retired;
    store.done(Body::AuthorityRetire(1));
    assert_eq!(store.state.authorities().next().unwrap().retired, when);
    // Who comes later takes it later.
    store.done(taken(2, "new", 3));
}

#[test]
fn tokens_that_somebody_with_the_old_key_may_have_made_are_void() {
    let mut store = one_is_removed();
    let made = token(&store, 9);
    store.done(made);
    store.done(wanted(4, "old", "k"));
    assert_eq!(store.state.tokens().count(), 0);
}

#[test]
fn a_second_rotation_follows_the_first_and_names_what_it_replaces() {
    let mut store = one_is_removed();
    store.done(wanted(4, "old", "k"));
    store.done(begin(2, "new", ""));
    for member in 1..=3 {
        store.done(taken(2, "new", member));
    }
    store.done(Body::AuthorityRetire(1));
    store.done(remove(3));
    let lagging = store.refused(wanted(3, "old", "k"));
    assert_reason(&lagging, Reason::Conflict, "ask again in a moment");
    store.done(wanted(3, "new", "k"));
    assert_eq!(store.state.next_authority().unwrap().generation, 3);
    restored(&store.state);
}
