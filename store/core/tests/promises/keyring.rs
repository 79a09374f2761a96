//! The keyring: the gate, the fence, and wraps that live as long as their versions.

use bytes::Bytes;
use holdfast_core::{
    Body, EpochBegin, EpochWrap, Found, MemberWrap, NodeKey, Operation, Put, PutOperation, Reason,
    RecoverySet, ReplyBody, Retention, Role, Seal, State, TokenDigest, Transaction, VersionId,
};
use holdfast_proto::{NodeId, Revision, Timestamp, Value};

use crate::{
    members::founding,
    store::{Store, delete, key, put},
};
use holdfast_proto::KeyRange;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn node_key(member: u64, word: &str) -> Body {
    Body::NodeKeySet {
        member: NodeId(member),
        key: NodeKey {
            public_key: bytes(word),
            protector: "file".into(),
        },
    }
}

fn epoch(number: u64, holders: &[(u64, &str)]) -> EpochBegin {
    let wraps = holders.iter().map(|(member, word)| {
        let wrap = MemberWrap {
            public_key: bytes(word),
            wrap: bytes(&format!("{number} for {member}")),
        };
        (NodeId(*member), wrap)
    });
    EpochBegin {
        epoch: number,
        check: bytes("check"),
        wraps: wraps.collect(),
        recovery_wrap: bytes("for the shares"),
        recovery_set: bytes("set-1"),
        sealed_previous: if number == 1 {
            Bytes::new()
        } else {
            bytes("previous")
        },
        reason: "because".into(),
    }
}

fn begin(number: u64, holders: &[(u64, &str)]) -> Body {
    Body::EpochBegin(Box::new(epoch(number, holders)))
}

fn recovery(holders: &[(u64, &str)]) -> Body {
    Body::RecoverySet(Box::new(RecoverySet {
        set: bytes("set-1"),
        public_key: bytes("recovery"),
        shares: 3,
        threshold: 2,
        replaces: None,
        epoch: epoch(1, holders),
    }))
}

fn seal(name: &str, version: u64, epoch: u64) -> Body {
    Body::Put(Put {
        put: PutOperation {
            seal: Some(Seal {
                version,
                epoch,
                wrap: bytes("wrap"),
            }),
            ..PutOperation::new(key(name), Value::Sealed(bytes("payload")))
        },
        expected: None,
    })
}

fn plain_put(name: &str, replaces_secret: bool) -> PutOperation {
    PutOperation {
        replaces_secret,
        ..PutOperation::new(key(name), Value::from("plain"))
    }
}

fn plain(name: &str, replaces_secret: bool) -> Body {
    Body::Put(Put {
        put: plain_put(name, replaces_secret),
        expected: None,
    })
}

/// Of one member, with a keyring whose shares work.
fn open_store() -> Store {
    let mut store = Store::new();
    store.done(founding());
    store.done(node_key(1, "k1"));
    store.done(recovery(&[(1, "k1")]));
    store.done(Body::RecoveryVerified(bytes("set-1")));
    store
}

fn admit(store: &mut Store, word: u8, name: &str) -> u64 {
    let token = TokenDigest::from_bytes([word; 32]);
    store.done(Body::TokenCreate {
        digest: token,
        role: Role::Voter,
        expires: Timestamp::from_millis(store.now + 60_000),
        name: None,
    });
    let outcome = store.done(Body::MemberAdmit {
        token,
        name: name.parse().unwrap(),
        address: "h:1".into(),
        public_key: bytes(name),
    });
    match outcome.reply.body {
        ReplyBody::Admitted { id, .. } => id.0,
        other => panic!("{other:?}"),
    }
}

fn wraps(state: &State) -> Vec<(String, u64, u64)> {
    let all = state.wraps_after(None);
    all.map(|(id, wrap)| (id.key.to_string(), id.revision.get(), wrap.epoch))
        .collect()
}

fn restored(state: &State) -> State {
    let restored = State::from_rows(state.rows()).unwrap();
    assert_eq!(restored.hash(), state.hash());
    assert_eq!(restored.usage().state_bytes, state.usage().state_bytes);
    assert!(restored.wraps_by_epoch().eq(state.wraps_by_epoch()));
    restored
}

#[test]
fn no_secret_is_taken_before_the_shares_were_shown_to_work() {
    let mut store = Store::new();
    store.done(founding());
    assert_eq!(store.refused(seal("a", 1, 1)).reason, Reason::NoKeyring);
    store.done(node_key(1, "k1"));
    store.done(recovery(&[(1, "k1")]));
    let refusal = store.refused(seal("a", 1, 1));
    assert_eq!(refusal.reason, Reason::NoKeyring);
    assert!(refusal.message.contains("verify-recovery"), "{refusal:?}");
    assert_eq!(
        store.refused(Body::RecoveryVerified(bytes("set-2"))).reason,
        Reason::Conflict
    );
    store.done(Body::RecoveryVerified(bytes("set-1")));
    store.done(seal("a", 1, 1));
    assert_eq!(wraps(&state_of(&store)), [("a".to_owned(), 1, 1)]);
}

fn state_of(store: &Store) -> State {
    restored(&store.state)
}

#[test]
fn what_was_sealed_for_another_version_or_epoch_is_sealed_again_under_the_same_request() {
    let mut store = open_store();
    store.done(seal("a", 1, 1));
    let refusal = store.refused(seal("a", 1, 1));
    assert_eq!((refusal.reason, refusal.found), (Reason::Reseal, 2));
    store.done(begin(2, &[(1, "k1")]));
    assert_eq!(store.refused(seal("a", 2, 1)).reason, Reason::Reseal);

    let request = crate::store::request(1, 1, 1);
    let mut command = |body| {
        let mut command = holdfast_core::Command::internal("client/c", body);
        command.request = Some(request);
        store.apply(command).reply
    };
    assert!(command(seal("a", 9, 2)).refusal().is_some());
    let done = command(seal("a", 2, 2));
    assert_eq!(done.refusal(), None);
    assert_eq!(command(seal("a", 3, 2)), done, "it was applied twice");
}

#[test]
fn a_seal_and_a_sealed_value_come_together_or_not_at_all() {
    let mut store = open_store();
    let mut without = PutOperation::new(key("a"), Value::Sealed(bytes("payload")));
    let run = |store: &mut Store, put: &PutOperation| {
        let put = put.clone();
        store
            .refused(Body::Put(Put {
                put,
                expected: None,
            }))
            .reason
    };
    assert_eq!(run(&mut store, &without), Reason::Invalid);
    without.value = Some(Value::from("plain"));
    without.seal = Some(Seal {
        version: 1,
        epoch: 1,
        wrap: bytes("wrap"),
    });
    assert_eq!(run(&mut store, &without), Reason::Invalid);
    store.done(seal("a", 1, 1));
    let keep = PutOperation {
        value: None,
        seal: None,
        replaces_secret: false,
        ..without
    };
    assert_eq!(run(&mut store, &keep), Reason::Invalid);
}

#[test]
fn an_epoch_begins_only_for_just_the_members_that_hold_keys() {
    let mut store = open_store();
    let other = admit(&mut store, 2, "n2");
    store.done(node_key(other, "k2"));
    let refused = |store: &mut Store, body| store.refused(body).reason;
    assert_eq!(refused(&mut store, begin(2, &[(1, "k1")])), Reason::Reseal);
    assert_eq!(
        refused(&mut store, begin(2, &[(1, "k1"), (other, "old key")])),
        Reason::Reseal
    );
    assert_eq!(
        refused(&mut store, begin(3, &[(1, "k1"), (other, "k2")])),
        Reason::Reseal
    );
    let made_before = begin(2, &[(1, "k1"), (other, "k2")]);
    store.done(Body::MemberRemove {
        id: NodeId(other),
        heard: None,
    });
    assert_eq!(refused(&mut store, made_before), Reason::Reseal);
    store.done(begin(2, &[(1, "k1")]));
    let newest = store.state.newest_epoch().unwrap();
    assert_eq!(newest.epoch, 2);
    assert!(newest.wrap_of(NodeId(1)).is_some());
    let first = store.state.epochs().next().unwrap();
    assert!(first.wrap_of(NodeId(1)).is_none() && first.wraps.contains_key(&NodeId(1)));
    restored(&store.state);
}

#[test]
fn a_member_that_came_later_is_wrapped_for_and_loses_it_with_its_membership() {
    let mut store = open_store();
    let other = admit(&mut store, 2, "n2");
    let wrap = |member, word| {
        Body::EpochWrap(EpochWrap {
            epoch: 1,
            member: NodeId(member),
            wrap: MemberWrap {
                public_key: bytes(word),
                wrap: bytes("wrap"),
            },
        })
    };
    assert_eq!(store.refused(wrap(other, "k2")).reason, Reason::Reseal);
    store.done(node_key(other, "k2"));
    store.done(wrap(other, "k2"));
    let holds = |store: &Store| {
        let newest = store.state.newest_epoch().unwrap();
        newest.wrap_of(NodeId(other)).is_some()
    };
    assert!(holds(&store));
    store.done(node_key(other, "k3"));
    assert!(!holds(&store), "a wrap for another key was kept");
    store.done(wrap(other, "k3"));
    store.done(Body::MemberRemove {
        id: NodeId(other),
        heard: None,
    });
    assert!(!holds(&store));
    assert_eq!(
        store.refused(node_key(other, "k4")).reason,
        Reason::MemberMissing
    );
    restored(&store.state);
}

#[test]
fn rewrapping_changes_no_revision_and_the_counts_are_exact() {
    let mut store = open_store();
    for name in ["a", "b", "c"] {
        store.done(seal(name, 1, 1));
    }
    store.done(begin(2, &[(1, "k1")]));
    store.done(seal("d", 1, 2));
    let counts = |store: &Store| store.state.wraps_by_epoch().collect::<Vec<_>>();
    assert_eq!(counts(&store), [(1, 3), (2, 1)]);
    let id = |name: &str, revision| VersionId {
        key: key(name),
        revision: Revision::new(revision).unwrap(),
    };
    let rewrap = |epoch, ids: &[VersionId]| Body::Rewrap {
        epoch,
        wraps: ids.iter().map(|id| (id.clone(), bytes("new"))).collect(),
    };
    let revision = store.state.revision();
    assert_eq!(
        store.refused(rewrap(1, &[id("a", 1)])).reason,
        Reason::Reseal
    );
    store.done(rewrap(
        2,
        &[id("a", 1), id("b", 2), id("gone", 1), id("d", 4)],
    ));
    assert_eq!(counts(&store), [(1, 1), (2, 3)]);
    let kept = store.state.wrap(b"d", Revision::new(4).unwrap()).unwrap();
    assert_eq!(
        kept.wrap,
        bytes("wrap"),
        "a wrap that was newest was replaced"
    );
    assert_eq!(store.state.revision(), revision);
    restored(&store.state);
}

#[test]
fn a_wrap_goes_with_its_version_and_with_destruction() {
    let mut store = open_store();
    store.done(seal("a", 1, 1));
    store.done(seal("a", 2, 1));
    store.done(plain("a", true));
    assert_eq!(wraps(&store.state).len(), 2);
    let destroy = |revision| Body::SecretDestroy {
        key: key("a"),
        revision: Revision::new(revision),
    };
    store.done(destroy(1));
    assert_eq!(wraps(&store.state), [("a".to_owned(), 2, 1)]);
    assert_eq!(store.refused(destroy(1)).reason, Reason::KeyMissing);
    store.done(Body::SetRetention {
        prefix: Bytes::new(),
        retention: Some(Retention {
            versions: 0,
            age_ms: 0,
            bytes: 0,
        }),
    });
    store.done(put("a", "again"));
    assert_eq!(wraps(&store.state), []);
    store.done(seal("b", 1, 1));
    store.done(delete(KeyRange::single(&key("b"))));
    assert_eq!(wraps(&store.state), []);
    store.done(seal("c", 1, 1));
    let outcome = store.done(Body::SecretDestroy {
        key: key("c"),
        revision: None,
    });
    assert!(outcome.change.is_some() && store.state.get(b"c").is_none());
    assert_eq!(wraps(&store.state), []);
    restored(&store.state);
}

#[test]
fn destroyed_versions_are_named_as_long_as_the_history_knows_them() {
    let mut store = open_store();
    for (name, version) in [("a", 1), ("a", 2), ("b", 1), ("c", 1)] {
        store.done(seal(name, version, 1));
    }
    store.done(put("d", "plain"));
    store.done(delete(KeyRange::single(&key("c"))));
    let destroy = |name: &str, revision| Body::SecretDestroy {
        key: key(name),
        revision: Revision::new(revision),
    };
    let named = |state: &State| -> Vec<(String, u64)> {
        let destroyed = state.destroyed_secrets().into_iter();
        destroyed
            .map(|id| (id.key.to_string(), id.revision.get()))
            .collect()
    };
    assert_eq!(named(&store.state), []);
    store.done(destroy("a", 1));
    store.done(destroy("b", 0));
    let a_and_b = [("a".to_owned(), 1), ("b".to_owned(), 3)];
    assert_eq!(named(&state_of(&store)), a_and_b);
    store.done(destroy("a", 2));
    assert_eq!(named(&store.state).len(), 3, "one that is current");
    store.done(Body::SetRetention {
        prefix: Bytes::new(),
        retention: Some(Retention {
            versions: 0,
            age_ms: 0,
            bytes: 0,
        }),
    });
    store.done(plain("a", true));
    assert!(!named(&store.state).iter().any(|(name, _)| name == "a"));
}

#[test]
fn what_is_sealed_is_in_no_reply_and_on_no_wire() {
    let mut store = open_store();
    store.done(seal("a", 1, 1));
    let mut again = match seal("a", 2, 1) {
        Body::Put(put) => put,
        _ => unreachable!(),
    };
    again.put.previous = true;
    let hidden = |found: &Found| found.entry.value == Value::Sealed(Bytes::new());
    match store.done(Body::Put(again)).reply.body {
        ReplyBody::Put(result) => assert!(hidden(&result.previous.unwrap())),
        other => panic!("{other:?}"),
    }
    let entry = store.state.get(b"a").unwrap();
    assert_eq!(entry.value, Value::Sealed(bytes("payload")));
    let wire = entry.to_wire(&key("a"), true);
    assert_eq!(
        wire.value.map(|value| Value::try_from(value).unwrap()),
        Some(Value::Sealed(Bytes::new()))
    );
    let mut all = holdfast_core::DeleteOperation::new(KeyRange::all());
    all.previous = true;
    let all = holdfast_core::Delete {
        delete: all,
        expected: None,
    };
    match store.done(Body::Delete(all)).reply.body {
        ReplyBody::Delete(result) => assert!(result.previous.iter().all(hidden)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrap_without_its_secret_or_an_epoch_without_its_first_is_a_damaged_archive() {
    let mut store = open_store();
    store.done(seal("a", 1, 1));
    let rows: Vec<_> = store.state.rows().collect();
    use holdfast_proto::log::v1::state_row::Row;
    let without = |leave: fn(&Row) -> bool| {
        let kept = rows.iter().filter(|row| !leave(row.row.as_ref().unwrap()));
        State::from_rows(kept.cloned()).map(drop)
    };
    assert!(without(|_| false).is_ok());
    assert!(without(|row| matches!(row, Row::Entry(_))).is_err());
    assert!(without(|row| matches!(row, Row::Epoch(_))).is_err());
}

#[test]
fn a_plain_value_takes_the_place_of_a_secret_only_if_that_is_said() {
    let mut store = open_store();
    store.done(seal("a", 1, 1));
    let in_a_transaction = Body::Transact(Transaction {
        then: vec![Operation::Put(plain_put("a", false))],
        ..Transaction::default()
    });
    for body in [plain("a", false), in_a_transaction] {
        let refusal = store.refused(body);
        assert_eq!(refusal.reason, Reason::IsSecret);
        assert!(refusal.message.contains("nothing was written"));
    }
    assert_eq!(wraps(&store.state), [("a".to_owned(), 1, 1)]);
    store.done(plain("a", true));
    assert_eq!(store.state.get(b"a").unwrap().value, Value::from("plain"));
    store.done(plain("a", false));
    // The version that was a secret stays one.
    assert_eq!(wraps(&store.state), [("a".to_owned(), 1, 1)]);
    restored(&store.state);
}
