//! The state's hash covers every field of every row.

use bytes::Bytes;
use holdfast_core::{Body, Founding, Retention, Role, State, StateHash, TokenDigest};
use holdfast_proto::{
    NodeId, Timestamp,
    log::v1::{StateRow, state_row::Row},
    v1,
};

use crate::store::{Store, asked, grant, put, put_under, request};

fn rows() -> Vec<StateRow> {
    let mut store = Store::new();
    store.done(Body::ClusterInit(Box::new(Founding {
        cluster_id: "c".into(),
        cluster_name: "shop".into(),
        founder: NodeId(1),
        name: "n1".parse().unwrap(),
        address: "127.0.0.1:7101".into(),
        public_key: Bytes::from_static(b"key"),
    })));
    store.done(Body::TokenCreate {
        digest: TokenDigest::of(b"secret"),
        role: Role::Voter,
        expires: Timestamp::from_millis(store.now + 60_000),
        name: None,
    });
    store.done(grant(1));
    store.done(put_under("a", 1));
    store.apply(asked(request(1, 1, 1), put("b", "1")));
    store.put("b", "2");
    store.put("b", "3");
    let retention = Some(Retention {
        versions: 1,
        age_ms: 0,
        bytes: 1_000,
    });
    store.done(Body::SetRetention {
        prefix: "b".into(),
        retention,
    });
    store.put("b", "4");
    store.state.rows().collect()
}

fn hash(rows: Vec<StateRow>) -> Option<StateHash> {
    State::from_rows(rows).ok().map(|state| state.hash())
}

#[test]
fn a_state_without_one_of_its_rows_has_another_hash() {
    let whole = hash(rows());
    let mut kinds = std::collections::BTreeSet::new();
    for index in 1..rows().len() {
        let mut less = rows();
        let row = less.remove(index).row.unwrap();
        kinds.insert(format!("{row:?}").split('(').next().unwrap().to_owned());
        assert_ne!(hash(less), whole, "{row:?}");
    }
    assert_eq!(kinds.len(), 9, "a kind of row is not covered: {kinds:?}");
}

#[test]
fn a_state_with_one_field_changed_has_another_hash() {
    let changes: &[fn(&mut Row)] = &[
        |row| {
            if let Row::Head(head) = row {
                head.revision += 1
            }
        },
        |row| {
            if let Row::Head(head) = row {
                head.compacted += 1
            }
        },
        |row| {
            if let Row::Head(head) = row {
                head.clock_ms += 1
            }
        },
        |row| {
            if let Row::Head(head) = row {
                head.steady_ms += 1
            }
        },
        |row| {
            if let Row::Head(head) = row {
                head.sweep_from = "x".into()
            }
        },
        |row| {
            if let Row::Head(head) = row {
                head.cluster_id += "x"
            }
        },
        |row| {
            if let Row::Head(head) = row {
                head.cluster_name += "x"
            }
        },
        |row| {
            if let Row::Head(head) = row {
                head.next_member += 1
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.value = Some(other_value())
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.created += 100
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.version += 1
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.author += "x"
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.note += "x"
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.at_ms += 1
            }
        },
        |row| {
            if let Row::Entry(entry) = row {
                entry.lease = 1 - entry.lease
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.created += 100
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.version += 1
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.kind = "json".into()
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.digest = vec![7; 32].into()
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.author += "x"
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.note += "x"
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.at_ms += 1
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.lease += 1
            }
        },
        |row| {
            if let Row::Version(version) = row {
                version.bytes += 1
            }
        },
        |row| {
            if let Row::Mark(mark) = row {
                mark.forgotten += 1
            }
        },
        |row| {
            if let Row::Retention(policy) = row {
                policy.floor += 1
            }
        },
        |row| {
            if let Row::Retention(policy) = row {
                policy.retention = None
            }
        },
        |row| {
            if let Row::Lease(lease) = row {
                lease.ttl_ms += 1
            }
        },
        |row| {
            if let Row::Lease(lease) = row {
                lease.granted_at_ms += 1
            }
        },
        |row| {
            if let Row::Session(session) = row {
                session.floor += 1
            }
        },
        |row| {
            if let Row::Session(session) = row {
                session.seen_ms += 1
            }
        },
        |row| {
            if let Row::Answer(answer) = row {
                answer.sequence += 1
            }
        },
        |row| {
            if let Row::Answer(answer) = row {
                answer.reply = None
            }
        },
        |row| {
            if let Row::Member(member) = row {
                member.removed = true
            }
        },
        |row| {
            if let Row::Member(member) = row {
                member.public_key = "x".into()
            }
        },
        |row| {
            if let Row::Member(row) = row {
                member(row).address += "x"
            }
        },
        |row| {
            if let Row::Member(row) = row {
                member(row).name += "x"
            }
        },
        |row| {
            if let Row::Member(row) = row {
                member(row).role = v1::Role::Learner.into()
            }
        },
        |row| {
            if let Row::Member(row) = row {
                member(row).joined_at_ms += 1
            }
        },
        |row| {
            if let Row::Token(token) = row {
                token.expires_at_ms += 1
            }
        },
        |row| {
            if let Row::Token(token) = row {
                token.role = v1::Role::Learner.into()
            }
        },
        |row| {
            if let Row::Token(token) = row {
                token.name = "n9".into()
            }
        },
    ];
    let whole = hash(rows()).unwrap();
    for (index, change) in changes.iter().enumerate() {
        let mut other = rows();
        other
            .iter_mut()
            .filter_map(|row| row.row.as_mut())
            .for_each(change);
        assert_ne!(other, rows(), "change {index} changed nothing");
        assert_ne!(hash(other), Some(whole), "change {index} is not seen");
    }
}

fn member(row: &mut holdfast_proto::log::v1::MemberRow) -> &mut v1::Member {
    row.member.as_mut().unwrap()
}

fn other_value() -> v1::Value {
    v1::Value {
        kind: Some(v1::value::Kind::Text("other".into())),
    }
}
