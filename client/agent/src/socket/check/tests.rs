//! Messages inside and outside what is granted.

use super::{
    super::{grants::Guest, peer::Peer, table},
    *,
};
use crate::settings::Allow;

/// Reads `ours/`, writes `ours/w/` and opens secrets in `ours/s/`.
fn guest() -> Guest {
    let allow = |prefix: &str| Allow {
        user: Some("1001".to_owned()),
        prefixes: vec![prefix.to_owned()],
        ..Allow::default()
    };
    let allowed = [
        allow("ours/"),
        Allow {
            write: true,
            ..allow("ours/w/")
        },
        Allow {
            reveal: true,
            ..allow("ours/s/")
        },
    ];
    Guest::admit(Peer::named(1001, "billing", &[1001]), &allowed)
}

fn passes(method: &str, message: &impl Message) -> Result<(), Refused> {
    let row = table::find(&format!("/holdfast.v1.{method}")).unwrap();
    row.check
        .pass(&guest().grants, &message.encode_to_vec().into())
}

fn prefix(prefix: &str) -> Option<v1::KeyRange> {
    Some(KeyRange::prefix(prefix.to_owned()).into())
}

fn transaction(key: &str, nested: bool) -> v1::TransactRequest {
    let put = v1::Operation {
        operation: Some(Kind::Put(v1::PutOperation {
            key: key.to_owned().into(),
            ..v1::PutOperation::default()
        })),
    };
    let read = v1::Operation {
        operation: Some(Kind::Range(v1::RangeOperation {
            range: prefix("ours/"),
            ..v1::RangeOperation::default()
        })),
    };
    let mut transaction = v1::Transaction {
        then: vec![read],
        // Not taken, and looked at all the same.
        otherwise: vec![put],
        ..v1::Transaction::default()
    };
    if nested {
        transaction = v1::Transaction {
            then: vec![v1::Operation {
                operation: Some(Kind::Transaction(transaction)),
            }],
            ..v1::Transaction::default()
        };
    }
    v1::TransactRequest {
        transaction: Some(transaction),
        ..v1::TransactRequest::default()
    }
}

/// A method with a message that is about one place.
type Case = (&'static str, fn(&str) -> Vec<u8>);

const READS: &[Case] = &[
    ("Kv/Range", |at| {
        let range = prefix(at);
        v1::RangeRequest {
            range,
            ..Default::default()
        }
        .encode_to_vec()
    }),
    ("Kv/History", |at| {
        let key = format!("{at}a").into();
        v1::HistoryRequest {
            key,
            ..Default::default()
        }
        .encode_to_vec()
    }),
    ("Kv/Diff", |at| {
        let range = prefix(at);
        v1::DiffRequest {
            range,
            ..Default::default()
        }
        .encode_to_vec()
    }),
    ("Watch/Watch", |at| {
        let range = prefix(at);
        let create = v1::WatchCreate {
            range,
            ..Default::default()
        };
        let request = Some(v1::watch_request::Request::Create(create));
        v1::WatchRequest { request }.encode_to_vec()
    }),
    ("Fleet/Report", |at| {
        let prefix = at.to_owned().into();
        let report = v1::FleetReport {
            prefix,
            ..Default::default()
        };
        v1::FleetReportRequest {
            reports: vec![report],
        }
        .encode_to_vec()
    }),
    ("Fleet/List", |at| {
        let prefix = at.to_owned().into();
        v1::FleetListRequest {
            prefix,
            ..Default::default()
        }
        .encode_to_vec()
    }),
];

const WRITES: &[Case] = &[
    ("Kv/Put", |at| {
        let key = format!("{at}a").into();
        v1::PutRequest {
            key,
            ..Default::default()
        }
        .encode_to_vec()
    }),
    ("Kv/Delete", |at| {
        let range = prefix(at);
        v1::DeleteRequest {
            range,
            ..Default::default()
        }
        .encode_to_vec()
    }),
    ("Kv/Transact", |at| {
        transaction(&format!("{at}a"), false).encode_to_vec()
    }),
    ("Kv/Transact", |at| {
        transaction(&format!("{at}a"), true).encode_to_vec()
    }),
    ("Kv/Rollback", |at| {
        let range = prefix(at);
        v1::RollbackRequest {
            range,
            ..Default::default()
        }
        .encode_to_vec()
    }),
    ("Secrets/Put", |at| {
        let key = format!("{at}a").into();
        v1::SecretPutRequest {
            key,
            ..Default::default()
        }
        .encode_to_vec()
    }),
    ("Secrets/Destroy", |at| {
        let key = format!("{at}a").into();
        v1::SecretDestroyRequest {
            key,
            ..Default::default()
        }
        .encode_to_vec()
    }),
    ("Fleet/Forget", |at| {
        let prefix = at.to_owned().into();
        v1::FleetForgetRequest {
            prefix,
            ..Default::default()
        }
        .encode_to_vec()
    }),
];

const REVEALS: &[Case] = &[("Secrets/Reveal", |at| {
    let key = format!("{at}a").into();
    v1::RevealRequest {
        key,
        ..Default::default()
    }
    .encode_to_vec()
})];

#[test]
fn each_call_passes_inside_what_is_granted_and_nowhere_else() {
    for (cases, what, inside, outside) in [
        (
            READS,
            What::Read,
            &["ours/", "ours/w/", "ours/s/"][..],
            &["theirs/", "our", ""][..],
        ),
        (
            WRITES,
            What::Write,
            &["ours/w/"],
            &["ours/", "ours/s/", "theirs/", ""],
        ),
        (
            REVEALS,
            What::Reveal,
            &["ours/s/"],
            &["ours/", "ours/w/", "theirs/", ""],
        ),
    ] {
        for (method, message) in cases {
            let row = table::find(&format!("/holdfast.v1.{method}")).unwrap();
            let pass = |at: &str| row.check.pass(&guest().grants, &message(at).into());
            for at in inside {
                assert_eq!(pass(at), Ok(()), "{method} {at}");
            }
            for at in outside {
                let refused = pass(at).unwrap_err();
                assert!(
                    matches!(&refused, Refused::Denied { what: denied, .. } if *denied == what),
                    "{method} {at}: {refused:?}"
                );
                let words = refused.status(&guest());
                assert_eq!(words.code(), tonic::Code::PermissionDenied);
                assert!(words.message().starts_with("uid 1001 (billing) may not "));
            }
        }
    }
}

/// So that none is added to the table without a case above.
#[test]
fn every_method_that_is_about_keys_has_its_case() {
    let cases = [READS, WRITES, REVEALS].concat();
    for row in table::METHODS {
        if matches!(row.check, Check::Message(_)) {
            let method = row.method.trim_start_matches("holdfast.v1.");
            assert!(cases.iter().any(|(case, _)| *case == method), "{method}");
        }
    }
}

#[test]
fn what_is_for_operators_is_refused_by_what_it_is_about() {
    for (method, about) in [
        ("Lock/Acquire", "locks and elections"),
        ("Lease/Grant", "leases"),
        ("Access/Can", "roles and identities"),
        ("Cluster/Remove", "the cluster's members"),
    ] {
        let refused = passes(method, &v1::StatusRequest::default()).unwrap_err();
        assert_eq!(refused, Refused::Operators(about), "{method}");
    }
    assert_eq!(
        passes("Cluster/Status", &v1::StatusRequest::default()),
        Ok(())
    );
    let leased = v1::PutRequest {
        key: "ours/w/a".into(),
        lease: 7,
        ..Default::default()
    };
    assert_eq!(passes("Kv/Put", &leased), Err(Refused::Operators("leases")));
}

#[test]
fn nobody_else_reports_the_agents_sets_of_files() {
    let report = v1::FleetReport {
        prefix: "ours/".into(),
        set: "nginx".to_owned(),
        ..Default::default()
    };
    let request = v1::FleetReportRequest {
        reports: vec![report],
    };
    assert!(matches!(
        passes("Fleet/Report", &request),
        Err(Refused::Operators(_))
    ));
}

#[test]
fn a_compare_tells_what_it_compares() {
    let mut request = transaction("ours/w/a", false);
    let compare = v1::Compare {
        range: prefix("theirs/"),
        ..v1::Compare::default()
    };
    request.transaction.as_mut().unwrap().compare.push(compare);
    assert!(matches!(
        passes("Kv/Transact", &request),
        Err(Refused::Denied { .. })
    ));
}

#[test]
fn parts_that_the_agent_does_not_know_are_never_passed_on() {
    let put = v1::PutRequest {
        key: "ours/w/a".into(),
        ..Default::default()
    };
    let row = table::find("/holdfast.v1.Kv/Put").unwrap();
    let mut message = put.encode_to_vec();
    // Field 2000, a number.
    message.extend([0x80, 0x7d, 0x01]);
    let passed = row.check.pass(&guest().grants, &message.into());
    assert_eq!(passed, Err(Refused::Unknown));
    // One as long as what a number of another field is shorter than it was: -1, in five bytes.
    let range = v1::RangeRequest {
        range: prefix("ours/"),
        ..Default::default()
    };
    let row = table::find("/holdfast.v1.Kv/Range").unwrap();
    let mut message = range.encode_to_vec();
    message.extend([0x30, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    message.extend([0x80, 0x7d, 0x80, 0x80, 0x01]);
    let read = v1::RangeRequest::decode(&message[..]).unwrap();
    assert_eq!(read.encoded_len(), message.len());
    let passed = row.check.pass(&guest().grants, &message.into());
    assert_eq!(passed, Err(Refused::Unknown));
    // An operation of a kind that came later.
    let request = v1::TransactRequest {
        transaction: Some(v1::Transaction {
            then: vec![v1::Operation { operation: None }],
            ..v1::Transaction::default()
        }),
        ..v1::TransactRequest::default()
    };
    assert_eq!(passes("Kv/Transact", &request), Err(Refused::Unknown));
    let nothing = row
        .check
        .pass(&guest().grants, &Bytes::from_static(b"\xff\xff"));
    assert!(matches!(nothing, Err(Refused::Invalid(_))));
}

#[test]
fn a_request_that_names_no_keys_is_refused() {
    assert!(matches!(
        passes("Kv/Range", &v1::RangeRequest::default()),
        Err(Refused::Invalid(_))
    ));
}
