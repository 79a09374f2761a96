//! Commands by chance, over few enough keys, leases and sessions that they meet.

use bytes::Bytes;
use holdfast_core::{
    Body, Command, Compare, Delete, DeleteOperation, Expected, Expiry, Founding, LeaseChoice,
    Operation, Put, PutOperation, RangeOperation, Relation, Retention, Role, Target, TokenDigest,
    Transaction,
};
use holdfast_proto::{Key, KeyRange, LeaseId, NodeId, RequestId, SessionId, Timestamp, Value};

use super::random::Random;

const KEYS: [&[u8]; 9] = [
    b"a",
    b"a/b",
    b"a/b/c",
    b"a/\xff",
    b"b",
    b"b/1",
    b"b/2",
    b"c",
    b"\xff\xff",
];

/// What is drawn.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// With retention set at random and long pauses.
    pub(crate) forgetting: bool,
}

pub(crate) fn command(random: &mut Random, style: Style, revision: u64, now: u64) -> Command {
    Command {
        request: (!random.one_in(3)).then(|| request(random)),
        author: (*random.pick(&["client/admin", "client/shop", "node/n1"])).into(),
        note: (*random.pick(&["", "", "because", "moved"])).into(),
        body: body(random, style, revision, now),
    }
}

fn request(random: &mut Random) -> RequestId {
    let sequence = 1 + random.below(14);
    RequestId {
        session: SessionId::from_bytes([1 + random.below(3) as u8; 16]),
        sequence,
        first_incomplete: if random.one_in(6) {
            random.below(sequence + 1)
        } else {
            0
        },
    }
}

fn body(random: &mut Random, style: Style, revision: u64, now: u64) -> Body {
    match random.below(40) {
        0..=11 => Body::Put(Put {
            put: put(random),
            expected: random
                .one_in(3)
                .then(|| Expected::from_number(random.below(revision + 2))),
        }),
        12..=15 => {
            let range = range(random);
            let expected = range.as_single().is_some() && random.one_in(3);
            Body::Delete(Delete {
                expected: expected.then(|| Expected::from_number(random.below(revision + 2))),
                delete: DeleteOperation {
                    range,
                    previous: random.one_in(2),
                },
            })
        }
        16..=25 => {
            // What retention forgot, the model does not know.
            let readable = if style.forgetting { 0 } else { revision + 2 };
            Body::Transact(transaction(random, 3, readable))
        }
        26..=27 => Body::LeaseGrant {
            lease: lease(random),
            ttl_ms: *random.pick(&[1, 1_000, 60_000, u64::MAX]),
        },
        28 => Body::LeaseRevoke(lease(random)),
        29 => Body::LeaseExpire {
            term: 1 + random.below(2),
            leases: (0..random.below(3))
                .map(|_| Expiry {
                    lease: lease(random),
                    granted_at: None,
                })
                .collect(),
        },
        30 => Body::Compact(random.below(revision + 2)),
        31..=32 if style.forgetting => Body::SetRetention {
            prefix: Bytes::from_static(static_pick(random, &[b"", b"a", b"a/b", b"b/"])),
            retention: (!random.one_in(4)).then(|| Retention {
                versions: random.below(4),
                age_ms: *random.pick(&[0, 1_000, 100_000_000]),
                bytes: *random.pick(&[0, 200, 1_000_000]),
            }),
        },
        33 => Body::TokenCreate {
            digest: token(random),
            role: *random.pick(&[Role::Voter, Role::Learner]),
            expires: Timestamp::from_millis(now + random.below(100_000)),
            name: random.one_in(2).then(|| name(random)),
        },
        34 => Body::MemberAdmit {
            token: token(random),
            name: name(random),
            address: "127.0.0.1:7101".into(),
            public_key: Bytes::from_static(b"key"),
        },
        35 => Body::MemberUpdate {
            id: NodeId(random.below(5)),
            address: random.one_in(2).then(|| "127.0.0.1:7102".into()),
            role: random.one_in(2).then_some(Role::Voter),
        },
        36 => Body::MemberRemove {
            id: NodeId(random.below(5)),
            heard: None,
        },
        37 => Body::ClusterInit(Box::new(Founding {
            cluster_id: "c1".into(),
            cluster_name: "shop".into(),
            founder: NodeId(1),
            name: name(random),
            address: "127.0.0.1:7101".into(),
            public_key: Bytes::from_static(b"key"),
        })),
        _ => Body::Tick,
    }
}

/// Reads inside it may be at revisions below `readable`.
fn transaction(random: &mut Random, depth: u64, readable: u64) -> Transaction {
    let steps = |random: &mut Random| {
        let steps = 0..random.below(4);
        steps.map(|_| step(random, depth, readable)).collect()
    };
    Transaction {
        compare: (0..random.below(3)).map(|_| compare(random)).collect(),
        then: steps(random),
        otherwise: steps(random),
    }
}

fn step(random: &mut Random, depth: u64, readable: u64) -> Operation {
    match random.below(10) {
        0..=4 => Operation::Put(put(random)),
        5..=6 => Operation::Delete(DeleteOperation {
            range: range(random),
            previous: random.one_in(2),
        }),
        7 if depth > 1 => Operation::Transaction(transaction(random, depth - 1, readable)),
        _ => Operation::Range(RangeOperation {
            range: range(random),
            limit: random.below(4),
            keys_only: random.one_in(3),
            count_only: random.one_in(4),
            revision: if random.one_in(4) {
                random.below(readable.max(1))
            } else {
                0
            },
        }),
    }
}

fn compare(random: &mut Random) -> Compare {
    Compare {
        range: range(random),
        relation: *random.pick(&[
            Relation::Equal,
            Relation::NotEqual,
            Relation::Greater,
            Relation::Less,
        ]),
        target: match random.below(6) {
            0 => Target::Version(random.below(3)),
            1 => Target::Created(random.below(6)),
            2 => Target::Modified(random.below(12)),
            3 => Target::Lease(random.below(4)),
            4 => Target::Canonical(value(random)),
            _ => Target::Value(value(random)),
        },
    }
}

fn put(random: &mut Random) -> PutOperation {
    PutOperation {
        seal: None,
        replaces_secret: false,
        key: Key::new(Bytes::from_static(static_pick(random, &KEYS))).unwrap(),
        value: (!random.one_in(8)).then(|| value(random)),
        lease: match random.below(8) {
            0..=1 => LeaseChoice::Bound(lease(random)),
            2 => LeaseChoice::Keep,
            _ => LeaseChoice::Unbound,
        },
        previous: random.one_in(2),
    }
}

fn value(random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Integer(random.below(3) as i64 - 1),
        1 => Value::Float(random.below(3) as f64 / 2.0),
        2 => Value::Boolean(random.one_in(2)),
        3 => Value::Json("{}".into()),
        4 => Value::Bytes(Bytes::from(vec![7; random.below(300) as usize])),
        5 => Value::List(vec!["x".into(); random.below(3) as usize]),
        _ => Value::Text("v".repeat(random.below(4) as usize)),
    }
}

pub(crate) fn range(random: &mut Random) -> KeyRange {
    let bytes = |random: &mut Random| Bytes::from_static(static_pick(random, &KEYS));
    match random.below(8) {
        0..=3 => KeyRange::single(&Key::new(bytes(random)).unwrap()),
        4..=5 => KeyRange::prefix(bytes(random)),
        6 => KeyRange::between(bytes(random), Some(bytes(random))),
        _ => KeyRange::all(),
    }
}

fn lease(random: &mut Random) -> LeaseId {
    LeaseId::new(1 + random.below(3)).unwrap()
}

fn token(random: &mut Random) -> TokenDigest {
    TokenDigest::from_bytes([random.below(3) as u8; 32])
}

fn name(random: &mut Random) -> holdfast_proto::NodeName {
    random.pick(&["n1", "n2", "n3"]).parse().unwrap()
}

fn static_pick(random: &mut Random, from: &[&'static [u8]]) -> &'static [u8] {
    from[random.below(from.len() as u64) as usize]
}
