//! Kv.

use holdfast_proto::{Value, limits, v1};
use tonic::Code;

use crate::nodes::{Clients as _, Nodes, prefix, put, reason, single};

#[tokio::test]
async fn reads_and_writes_of_one_node() {
    let nodes = Nodes::one().await;
    let mut kv = nodes.all[0].kv();
    let written = kv.put(put("a", "1")).await.unwrap().into_inner();
    let header = written.header.unwrap();
    assert_eq!((header.member, header.revision), (1, written.revision));

    let range = v1::RangeRequest {
        range: single("a"),
        ..v1::RangeRequest::default()
    };
    let answer = kv.range(range).await.unwrap();
    assert_eq!(answer.metadata().get("holdfast-leader").unwrap(), "1");
    let entry = &answer.get_ref().entries[0];
    assert_eq!(entry.author, "client/embedded");
    assert_eq!(entry.modified, written.revision);

    let stale = v1::PutRequest {
        expected: Some(0),
        ..put("a", "2")
    };
    let refused = kv.put(stale).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::FailedPrecondition, "conflict")
    );
    assert_eq!(
        refused.metadata().get("holdfast-found").unwrap(),
        &written.revision.to_string()
    );

    let delete = v1::DeleteRequest {
        range: single("a"),
        previous: true,
        ..v1::DeleteRequest::default()
    };
    let deleted = kv.delete(delete.clone()).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.previous.len()), (1, 1));
    let nothing = kv.delete(delete).await.unwrap().into_inner();
    assert_eq!((nothing.deleted, nothing.revision), (0, 0));
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_range_comes_in_pages_at_one_revision() {
    let nodes = Nodes::one().await;
    let mut kv = nodes.all[0].kv();
    let large = "x".repeat(900 * 1024);
    for number in 0..6 {
        kv.put(put(&format!("big/{number}"), &large)).await.unwrap();
    }
    let first = v1::RangeRequest {
        range: prefix("big/"),
        ..v1::RangeRequest::default()
    };
    let page = kv.range(first.clone()).await.unwrap().into_inner();
    assert!(
        page.more && page.entries.len() < 6,
        "one message cannot hold them"
    );
    assert_eq!(page.count, 6);
    // What is written now is not in the pages that follow.
    kv.put(put("big/5", "changed")).await.unwrap();
    let mut entries = page.entries;
    let (mut next, mut more) = (page.next_key, page.more);
    while more {
        let mut request = v1::RangeRequest {
            revision: page.revision,
            ..first.clone()
        };
        request.range.as_mut().unwrap().key = next;
        let page = kv.range(request).await.unwrap().into_inner();
        entries.extend(page.entries);
        (next, more) = (page.next_key, page.more);
    }
    assert_eq!(entries.len(), 6);
    let last = Value::try_from(entries[5].value.clone().unwrap()).unwrap();
    assert_eq!(last, Value::from(large));

    let limited = v1::RangeRequest {
        limit: 2,
        keys_only: true,
        ..first
    };
    let page = kv.range(limited).await.unwrap().into_inner();
    assert_eq!((page.entries.len(), page.more), (2, true));
    assert!(page.entries.iter().all(|entry| entry.value.is_none()));
    nodes.shutdown().await;
}

#[tokio::test]
async fn the_past_is_read_compared_and_brought_back() {
    let nodes = Nodes::one().await;
    let mut kv = nodes.all[0].kv();
    let then = kv
        .put(put("p/a", "old"))
        .await
        .unwrap()
        .into_inner()
        .revision;
    kv.put(put("p/a", "new")).await.unwrap();
    kv.put(put("p/b", "added")).await.unwrap();

    let older = v1::RangeRequest {
        range: prefix("p/"),
        revision: then,
        ..v1::RangeRequest::default()
    };
    let page = kv.range(older).await.unwrap().into_inner();
    assert_eq!((page.revision, page.entries.len()), (then, 1));

    let diff = v1::DiffRequest {
        range: prefix("p/"),
        from: then,
        to: 0,
    };
    let differences = kv
        .diff(diff.clone())
        .await
        .unwrap()
        .into_inner()
        .differences;
    assert_eq!(differences.len(), 2);
    assert!(differences[0].before.is_some() && differences[1].before.is_none());

    let rollback = v1::RollbackRequest {
        range: prefix("p/"),
        to: then,
        ..v1::RollbackRequest::default()
    };
    let done = kv.rollback(rollback.clone()).await.unwrap().into_inner();
    assert_eq!(done.changed, 2);
    assert!(
        kv.diff(diff)
            .await
            .unwrap()
            .into_inner()
            .differences
            .is_empty()
    );
    let again = kv.rollback(rollback).await.unwrap().into_inner();
    assert_eq!((again.changed, again.revision), (0, 0), "it is so already");

    let history = v1::HistoryRequest {
        key: b"p/a".to_vec().into(),
        values: true,
        limit: 2,
        ..v1::HistoryRequest::default()
    };
    let versions = kv.history(history).await.unwrap().into_inner();
    assert_eq!((versions.versions.len(), versions.more), (2, true));
    let newest = versions.versions[0].entry.as_ref().unwrap();
    assert_eq!(newest.note, format!("rollback to revision {then}"));
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_rollback_of_too_many_keys_changes_nothing_and_says_what_to_do() {
    let nodes = Nodes::one().await;
    let mut kv = nodes.all[0].kv();
    let then = kv
        .put(put("first", "1"))
        .await
        .unwrap()
        .into_inner()
        .revision;
    for block in 0..2 {
        let then = (0..300)
            .map(|number| v1::Operation {
                operation: Some(v1::operation::Operation::Put(v1::PutOperation {
                    key: format!("many/{block}/{number}").into_bytes().into(),
                    value: crate::nodes::text("x"),
                    ..v1::PutOperation::default()
                })),
            })
            .collect();
        let transaction = v1::Transaction {
            then,
            ..v1::Transaction::default()
        };
        kv.transact(v1::TransactRequest {
            transaction: Some(transaction),
            ..v1::TransactRequest::default()
        })
        .await
        .unwrap();
    }
    let rollback = v1::RollbackRequest {
        range: prefix("many/"),
        to: then,
        ..v1::RollbackRequest::default()
    };
    let refused = kv.rollback(rollback).await.unwrap_err();
    assert_eq!(reason(&refused), "too_many");
    assert!(
        refused.message().contains("narrower"),
        "{}",
        refused.message()
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let nodes = Nodes::one().await;
    let mut kv = nodes.all[0].kv();
    let long = "k".repeat(limits::KEY_BYTES + 1);
    for (request, expected) in [
        (put("", "x"), "invalid"),
        (put(&long, "x"), "too_large"),
        (put("k", &"x".repeat(limits::VALUE_BYTES + 1)), "too_large"),
        (
            v1::PutRequest {
                value: None,
                ..put("k", "")
            },
            "invalid",
        ),
        (
            v1::PutRequest {
                lease: 7,
                ..put("k", "x")
            },
            "lease_missing",
        ),
        (
            v1::PutRequest {
                note: "n".repeat(limits::NOTE_BYTES + 1),
                ..put("k", "x")
            },
            "too_large",
        ),
    ] {
        let refused = kv.put(request).await.unwrap_err();
        assert_eq!(reason(&refused), expected, "{}", refused.message());
    }
    let range = |revision, consistency| v1::RangeRequest {
        range: prefix("k"),
        revision,
        consistency,
        ..v1::RangeRequest::default()
    };
    let future = kv.range(range(1_000, 0)).await.unwrap_err();
    assert_eq!(
        (future.code(), reason(&future)),
        (Code::OutOfRange, "future")
    );
    let unknown = kv.range(range(0, 9)).await.unwrap_err();
    assert_eq!(reason(&unknown), "invalid");
    let nothing = kv.range(v1::RangeRequest::default()).await.unwrap_err();
    assert_eq!(reason(&nothing), "invalid");

    let mut foreign = tonic::Request::new(put("k", "x"));
    foreign
        .metadata_mut()
        .insert("holdfast-cluster", "another".parse().unwrap());
    let refused = kv.put(foreign).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::FailedPrecondition, "wrong_cluster")
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_and_not_applied_again() {
    let nodes = Nodes::one().await;
    let mut kv = nodes.all[0].kv();
    let request = v1::PutRequest {
        request: Some(v1::RequestId {
            session: vec![5; 16].into(),
            sequence: 1,
            first_incomplete: 1,
        }),
        ..put("once", "1")
    };
    let first = kv.put(request.clone()).await.unwrap().into_inner();
    kv.put(put("once", "2")).await.unwrap();
    let repeat = kv.put(request).await.unwrap().into_inner();
    assert_eq!(first.revision, repeat.revision);
    nodes.shutdown().await;
}

#[tokio::test]
async fn every_node_serves_what_any_node_wrote() {
    let nodes = Nodes::three().await;
    for (number, node) in nodes.all.iter().enumerate() {
        let key = format!("from/{number}");
        node.kv().put(put(&key, "x")).await.unwrap();
        for reader in &nodes.all {
            let request = v1::RangeRequest {
                range: single(&key),
                ..v1::RangeRequest::default()
            };
            let found = reader.kv().range(request).await.unwrap().into_inner();
            assert_eq!(found.entries.len(), 1, "linearizable at every node");
        }
    }
    nodes.shutdown().await;
}
