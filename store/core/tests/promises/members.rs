//! Members, join tokens and ids.

use bytes::Bytes;
use holdfast_core::{Body, Founding, Reason, ReplyBody, Role, State, TokenDigest};
use holdfast_proto::{NodeId, Timestamp, limits};

use crate::store::{Store, assert_reason};

fn founded() -> Store {
    let mut store = Store::new();
    store.done(founding());
    store
}

pub(crate) fn founding() -> Body {
    Body::ClusterInit(Box::new(Founding {
        cluster_id: "c-1".into(),
        cluster_name: "shop".into(),
        founder: NodeId(1),
        name: "n1".parse().unwrap(),
        address: "127.0.0.1:7101".into(),
        public_key: Bytes::from_static(b"key"),
    }))
}

fn token(store: &Store, secret: &str, name: Option<&str>) -> Body {
    Body::TokenCreate {
        digest: TokenDigest::of(secret.as_bytes()),
        role: Role::Voter,
        expires: Timestamp::from_millis(store.now + 60_000),
        name: name.map(|name| name.parse().unwrap()),
    }
}

fn admit(secret: &str, name: &str) -> Body {
    Body::MemberAdmit {
        token: TokenDigest::of(secret.as_bytes()),
        name: name.parse().unwrap(),
        address: "127.0.0.1:7102".into(),
        public_key: Bytes::from_static(b"key"),
    }
}

fn join(store: &mut Store, secret: &str, name: &str) -> u64 {
    let body = token(store, secret, None);
    store.done(body);
    match store.done(admit(secret, name)).reply.body {
        ReplyBody::Admitted {
            id,
            role: Role::Voter,
        } => id.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cluster_is_founded_once() {
    let mut store = founded();
    assert_reason(
        &store.refused(founding()),
        Reason::NameTaken,
        "founded as \"shop\" already",
    );
    assert_eq!(&*store.state.cluster().unwrap().id, "c-1");
    assert_eq!(store.state.members().count(), 1);
}

#[test]
fn ids_are_never_used_again_and_removed_ones_stay_refused() {
    let mut store = founded();
    assert_eq!(join(&mut store, "s2", "n2"), 2);
    store.done(Body::MemberRemove {
        id: NodeId(2),
        heard: None,
    });
    assert_eq!(join(&mut store, "s3", "n2"), 3);
    assert!(store.state.member(NodeId(2)).unwrap().removed);
    let again = Body::MemberUpdate {
        id: NodeId(2),
        address: None,
        role: Some(Role::Voter),
    };
    assert_reason(
        &store.refused(again),
        Reason::MemberMissing,
        "never used again",
    );
    let refusal = store.refused(Body::MemberRemove {
        id: NodeId(9),
        heard: None,
    });
    assert_reason(&refusal, Reason::MemberMissing, "no member 9");
}

#[test]
fn when_a_member_went_is_kept_through_an_archive() {
    let mut store = founded();
    join(&mut store, "s2", "n2");
    store.put("a", "1");
    let heard = Some(Timestamp::from_millis(store.now - 5));
    let id = NodeId(2);
    store.done(Body::MemberRemove { id, heard });
    let departure = store.state.member(id).unwrap().departure.unwrap();
    assert_eq!((departure.revision, departure.heard), (1, heard));
    assert_eq!(departure.at, store.state.clock());
    let again = State::from_rows(store.state.rows()).unwrap();
    assert_eq!(again.member(id), store.state.member(id));
    assert_eq!(again.hash(), store.state.hash());
}

#[test]
fn a_token_lets_one_node_in_once() {
    let mut store = founded();
    join(&mut store, "s2", "n2");
    assert_reason(
        &store.refused(admit("s2", "n3")),
        Reason::TokenInvalid,
        "was used",
    );
    assert_reason(
        &store.refused(admit("never made", "n3")),
        Reason::TokenInvalid,
        "unknown",
    );
}

#[test]
fn a_token_runs_out() {
    let mut store = founded();
    let body = token(&store, "s2", None);
    store.done(body);
    store.now += 60_000;
    // Time moves on with a command, and a sweep may drop the token: either way it is refused.
    let refusal = store
        .run(admit("s2", "n2"))
        .reply
        .refusal()
        .unwrap()
        .clone();
    assert_reason(&refusal, Reason::TokenInvalid, "ran out");
    assert_eq!(store.state.members().count(), 1);
}

#[test]
fn a_token_for_one_name_takes_no_other() {
    let mut store = founded();
    let body = token(&store, "s2", Some("n2"));
    store.done(body);
    assert_reason(
        &store.refused(admit("s2", "n3")),
        Reason::TokenInvalid,
        "called n2, not n3",
    );
    store.done(admit("s2", "n2"));
}

#[test]
fn a_token_lives_neither_too_long_nor_in_the_past() {
    let mut store = founded();
    for expires in [store.now, store.now + limits::TOKEN_TTL_MS + 1] {
        let body = Body::TokenCreate {
            digest: TokenDigest::of(b"s"),
            role: Role::Learner,
            expires: Timestamp::from_millis(expires),
            name: None,
        };
        assert_reason(&store.refused(body), Reason::Invalid, "must run out");
    }
}

#[test]
fn the_same_token_is_not_made_twice_and_there_are_only_so_many() {
    let mut store = founded();
    for index in 0..limits::TOKENS {
        let body = token(&store, &index.to_string(), None);
        store.done(body);
    }
    let body = token(&store, "0", None);
    assert_reason(
        &store.refused(body),
        Reason::TokenInvalid,
        "such a token already",
    );
    let body = token(&store, "more", None);
    assert_reason(&store.refused(body), Reason::TooMany, "unused");
}

#[test]
fn a_name_belongs_to_one_member_and_the_token_is_not_used_up_by_a_refusal() {
    let mut store = founded();
    let body = token(&store, "s2", None);
    store.done(body);
    assert_reason(
        &store.refused(admit("s2", "n1")),
        Reason::NameTaken,
        "is called n1",
    );
    store.done(admit("s2", "n2"));
}

#[test]
fn there_can_be_only_so_many_members() {
    let mut store = founded();
    for index in 2..=limits::MEMBERS {
        join(&mut store, &format!("s{index}"), &format!("n{index}"));
    }
    let body = token(&store, "more", None);
    store.done(body);
    assert_reason(
        &store.refused(admit("more", "n99")),
        Reason::TooMany,
        "remove one first",
    );
}

#[test]
fn the_last_member_cannot_be_removed() {
    let refusal = founded().refused(Body::MemberRemove {
        id: NodeId(1),
        heard: None,
    });
    assert_reason(&refusal, Reason::Invalid, "the last member");
}

#[test]
fn a_witness_stays_one_and_nobody_becomes_one() {
    let mut store = founded();
    let body = Body::TokenCreate {
        digest: TokenDigest::of(b"w"),
        role: Role::Witness,
        expires: Timestamp::from_millis(store.now + 60_000),
        name: None,
    };
    store.done(body);
    store.done(admit("w", "n2"));
    let turned = |id, role| Body::MemberUpdate {
        id: NodeId(id),
        address: None,
        role: Some(role),
    };
    for (id, role) in [(2, Role::Voter), (2, Role::Learner), (1, Role::Witness)] {
        let refusal = store.refused(turned(id, role));
        assert_reason(&refusal, Reason::NotAllowed, "join it anew");
    }
    store.done(turned(2, Role::Witness));
    store.done(Body::MemberUpdate {
        id: NodeId(2),
        address: Some("10.0.0.2:7101".into()),
        role: None,
    });
    let refusal = store.refused(Body::MemberRemove {
        id: NodeId(1),
        heard: None,
    });
    assert_reason(&refusal, Reason::Invalid, "witnesses alone");
    store.done(Body::MemberRemove {
        id: NodeId(2),
        heard: None,
    });
}

#[test]
fn an_update_changes_what_it_names() {
    let mut store = founded();
    let address = Some("10.0.0.1:7101".into());
    store.done(Body::MemberUpdate {
        id: NodeId(1),
        address,
        role: None,
    });
    let member = store.state.member(NodeId(1)).unwrap();
    assert_eq!(
        (&*member.address, member.role),
        ("10.0.0.1:7101", Role::Voter)
    );
}
