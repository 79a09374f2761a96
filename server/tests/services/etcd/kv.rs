//! Puts, deletions and reads.

use holdfast_proto::{
    Value,
    etcd::etcdserverpb::{
        PutRequest, RangeRequest,
        range_request::{SortOrder, SortTarget},
    },
    v1,
};
use tonic::Code;

use super::{all, compact, delete, get, kv, put, shown};
use crate::nodes::{Clients as _, Nodes, single};

#[tokio::test]
async fn both_fronts_show_one_keyspace() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let (mut ours, mut etcd) = (node.kv(), kv(node));
    let typed = v1::PutRequest {
        key: "timeout".into(),
        value: Some(Value::Integer(45).into()),
        ..v1::PutRequest::default()
    };
    ours.put(typed).await.unwrap();
    let answer = etcd.range(get("timeout")).await.unwrap().into_inner();
    assert_eq!(shown(&answer.kvs), ["timeout=45"]);
    let header = answer.header.unwrap();
    assert_eq!((header.member_id, header.revision), (1, 1));
    assert!(header.cluster_id != 0 && header.raft_term > 0);

    etcd.put(put("name", "shop")).await.unwrap();
    let request = v1::RangeRequest {
        range: single("name"),
        ..v1::RangeRequest::default()
    };
    let answer = ours.range(request).await.unwrap().into_inner();
    let entry = &answer.entries[0];
    let value = Value::try_from(entry.value.clone().unwrap()).unwrap();
    assert_eq!(value, Value::Bytes("shop".into()));
    assert_eq!(entry.author, "client/etcd-plaintext");
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_range_is_filtered_then_sorted_then_cut() {
    let nodes = Nodes::one_plain().await;
    let mut etcd = kv(&nodes.all[0]);
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("d", "9"), ("b", "0")] {
        etcd.put(put(key, value)).await.unwrap();
    }
    let mut read = async |request: RangeRequest| etcd.range(request).await.unwrap().into_inner();
    let sorted = RangeRequest {
        sort_target: SortTarget::Value.into(),
        sort_order: SortOrder::Descend.into(),
        max_mod_revision: 4,
        min_create_revision: 1,
        limit: 2,
        ..all()
    };
    let answer = read(sorted.clone()).await;
    assert_eq!(shown(&answer.kvs), ["d=9", "a=3"]);
    assert_eq!((answer.more, answer.count), (true, 4));
    let names = RangeRequest {
        keys_only: true,
        ..sorted
    };
    assert_eq!(shown(&read(names).await.kvs), ["d=", "a="]);
    // Without an order the limit comes first, as with etcd.
    let unordered = RangeRequest {
        sort_target: SortTarget::Value.into(),
        limit: 2,
        ..all()
    };
    assert_eq!(shown(&read(unordered).await.kvs), ["b=0", "c=2"]);
    let counted = RangeRequest {
        count_only: true,
        limit: 1,
        ..all()
    };
    let answer = read(counted).await;
    assert_eq!((answer.kvs.len(), answer.more, answer.count), (0, false, 4));
    let from = RangeRequest {
        key: "c".into(),
        range_end: vec![0].into(),
        ..RangeRequest::default()
    };
    assert_eq!(shown(&read(from).await.kvs), ["c=2", "d=9"]);
    nodes.shutdown().await;
}

#[tokio::test]
async fn an_older_revision_reads_as_it_was_until_it_is_compacted() {
    let nodes = Nodes::one_plain().await;
    let mut etcd = kv(&nodes.all[0]);
    etcd.put(put("a", "1")).await.unwrap();
    etcd.put(put("a", "2")).await.unwrap();
    etcd.delete_range(delete("a")).await.unwrap();
    let at = |revision| RangeRequest {
        revision,
        ..get("a")
    };
    let then = etcd.range(at(1)).await.unwrap().into_inner();
    assert_eq!(shown(&then.kvs), ["a=1"]);
    assert_eq!(then.header.unwrap().revision, 3);
    assert_eq!(etcd.range(at(3)).await.unwrap().into_inner().count, 0);
    let future = etcd.range(at(4)).await.unwrap_err();
    assert_eq!(
        (future.code(), future.message()),
        (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision"
        )
    );
    etcd.compact(compact(2)).await.unwrap();
    assert_eq!(
        shown(&etcd.range(at(2)).await.unwrap().into_inner().kvs),
        ["a=2"]
    );
    let gone = "etcdserver: mvcc: required revision has been compacted";
    for refused in [
        etcd.range(at(1)).await.unwrap_err(),
        etcd.compact(compact(2)).await.unwrap_err(),
    ] {
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::OutOfRange, gone)
        );
    }
    let ahead = etcd.compact(compact(9)).await.unwrap_err();
    assert!(ahead.message().ends_with("future revision"));
    nodes.shutdown().await;
}

#[tokio::test]
async fn puts_and_deletions_keep_and_refuse_what_etcd_does() {
    let nodes = Nodes::one_plain().await;
    let mut etcd = kv(&nodes.all[0]);
    etcd.put(put("a", "1")).await.unwrap();
    let kept = PutRequest {
        ignore_value: true,
        prev_kv: true,
        ..put("a", "")
    };
    let answer = etcd.put(kept.clone()).await.unwrap().into_inner();
    assert_eq!(shown(answer.prev_kv.as_slice()), ["a=1"]);
    let pair = etcd.range(get("a")).await.unwrap().into_inner().kvs;
    assert_eq!((pair[0].version, pair[0].create_revision), (2, 1));
    let invalid = |request: PutRequest| (Code::InvalidArgument, request);
    for ((code, request), text) in [
        (invalid(put("", "x")), "key is not provided"),
        (
            invalid(PutRequest {
                value: "x".into(),
                ..kept.clone()
            }),
            "value is provided",
        ),
        (
            invalid(PutRequest {
                ignore_lease: true,
                lease: 7,
                ..put("a", "x")
            }),
            "lease is provided",
        ),
        (
            invalid(PutRequest {
                key: "z".into(),
                ..kept
            }),
            "key not found",
        ),
        (
            invalid(put("a", &"x".repeat(1 << 21))),
            "request is too large",
        ),
        (
            (
                Code::NotFound,
                PutRequest {
                    lease: 7,
                    ..put("a", "x")
                },
            ),
            "requested lease not found",
        ),
    ] {
        let refused = etcd.put(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (code, &*format!("etcdserver: {text}"))
        );
    }
    // Deleting nothing makes no revision.
    let nothing = etcd.delete_range(delete("z")).await.unwrap().into_inner();
    assert_eq!((nothing.deleted, nothing.header.unwrap().revision), (0, 2));
    let mut request = delete("a");
    request.prev_kv = true;
    let answer = etcd.delete_range(request).await.unwrap().into_inner();
    assert_eq!(shown(&answer.prev_kvs), ["a=1"]);
    assert_eq!(answer.header.unwrap().revision, 3);
    nodes.shutdown().await;
}
