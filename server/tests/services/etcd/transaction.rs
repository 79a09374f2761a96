//! Transactions.

use holdfast_proto::etcd::etcdserverpb::{
    Compare, RangeRequest, RequestOp, ResponseOp, TxnRequest, TxnResponse,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
    response_op::Response,
};
use tonic::Code;

use super::{all, compact, delete, get, kv, put, shown};
use crate::nodes::{Nodes, put as put_text};

fn operation(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn putting(key: &str, value: &str) -> RequestOp {
    operation(Request::RequestPut(put(key, value)))
}

fn reading(request: RangeRequest) -> RequestOp {
    operation(Request::RequestRange(request))
}

fn value_is(key: &str, value: &str) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Value.into(),
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::Value(value.to_owned().into())),
        range_end: Vec::new().into(),
    }
}

fn version(key: &str, result: CompareResult, version: i64) -> Compare {
    Compare {
        result: result.into(),
        target: CompareTarget::Version.into(),
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::Version(version)),
        range_end: Vec::new().into(),
    }
}

/// What the parts say: revision and content.
fn told(answer: &TxnResponse) -> Vec<(i64, Vec<String>)> {
    let part = |response: &ResponseOp| match response.response.as_ref().unwrap() {
        Response::ResponseRange(range) => {
            (range.header.as_ref().unwrap().revision, shown(&range.kvs))
        }
        Response::ResponsePut(put) => (
            put.header.as_ref().unwrap().revision,
            shown(put.prev_kv.as_slice()),
        ),
        Response::ResponseDeleteRange(delete) => (
            delete.header.as_ref().unwrap().revision,
            vec![delete.deleted.to_string()],
        ),
        Response::ResponseTxn(inner) => (
            inner.header.as_ref().unwrap().revision,
            inner
                .responses
                .iter()
                .map(|_| "nested".to_owned())
                .collect(),
        ),
    };
    answer.responses.iter().map(part).collect()
}

#[tokio::test]
async fn a_transaction_makes_one_revision_and_its_parts_see_each_other() {
    let nodes = Nodes::one_plain().await;
    let mut etcd = kv(&nodes.all[0]);
    etcd.put(put("a", "1")).await.unwrap();
    etcd.put(put("b", "1")).await.unwrap();
    let inner = TxnRequest {
        compare: vec![version("a", CompareResult::Greater, -1)],
        success: vec![putting("c", "3")],
        failure: Vec::new(),
    };
    let early = RangeRequest {
        revision: 1,
        ..all()
    };
    let request = TxnRequest {
        compare: vec![value_is("a", "1"), version("z", CompareResult::Equal, 0)],
        success: vec![
            reading(all()),
            operation(Request::RequestDeleteRange(delete("b"))),
            putting("a", "2"),
            operation(Request::RequestTxn(inner)),
            reading(all()),
            reading(early),
        ],
        failure: Vec::new(),
    };
    let answer = etcd.txn(request).await.unwrap().into_inner();
    assert!(answer.succeeded);
    assert_eq!(answer.header.as_ref().unwrap().revision, 3);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(
        told(&answer),
        [
            (2, texts(&["a=1", "b=1"])),
            (3, texts(&["1"])),
            (3, texts(&[])),
            (0, texts(&["nested"])),
            (3, texts(&["a=2", "c=3"])),
            (3, texts(&["a=1"])),
        ]
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_transaction_that_only_reads_proposes_nothing() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut etcd = kv(node);
    etcd.put(put("a", "1")).await.unwrap();
    let applied = node.replica().store().applied();
    let request = TxnRequest {
        compare: vec![value_is("a", "x")],
        success: vec![reading(get("z"))],
        failure: vec![reading(get("a"))],
    };
    let answer = etcd.txn(request).await.unwrap().into_inner();
    assert!(!answer.succeeded);
    assert_eq!(told(&answer), [(1, vec!["a=1".to_owned()])]);
    assert_eq!(node.replica().store().applied(), applied);
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_typed_value_is_compared_by_its_canonical_text() {
    use crate::nodes::Clients as _;
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    node.kv().put(put_text("a", "text")).await.unwrap();
    let request = TxnRequest {
        compare: vec![value_is("a", "text")],
        success: vec![putting("b", "1")],
        failure: Vec::new(),
    };
    assert!(kv(node).txn(request).await.unwrap().into_inner().succeeded);
    nodes.shutdown().await;
}

#[tokio::test]
async fn what_etcd_refuses_is_refused_whole() {
    let nodes = Nodes::one_plain().await;
    let mut etcd = kv(&nodes.all[0]);
    etcd.put(put("a", "1")).await.unwrap();
    etcd.put(put("a", "2")).await.unwrap();
    etcd.compact(compact(2)).await.unwrap();
    let at = |revision| {
        reading(RangeRequest {
            revision,
            ..get("a")
        })
    };
    let many = (0..129).map(|number| putting(&number.to_string(), "x"));
    for (steps, code, text) in [
        (
            vec![putting("b", "1"), putting("b", "2")],
            Code::InvalidArgument,
            "duplicate key given in txn request",
        ),
        (
            many.collect(),
            Code::InvalidArgument,
            "too many operations in txn request",
        ),
        (
            vec![putting("b", "1"), at(1)],
            Code::OutOfRange,
            "mvcc: required revision has been compacted",
        ),
        (
            vec![putting("b", "1"), at(9)],
            Code::OutOfRange,
            "mvcc: required revision is a future revision",
        ),
        (
            vec![RequestOp { request: None }],
            Code::InvalidArgument,
            "key not found",
        ),
    ] {
        let request = TxnRequest {
            success: steps,
            ..TxnRequest::default()
        };
        let refused = etcd.txn(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (code, &*format!("etcdserver: {text}"))
        );
    }
    // On the branch that is not taken, such a read is no hindrance.
    let request = TxnRequest {
        success: vec![putting("b", "1")],
        failure: vec![at(1)],
        compare: Vec::new(),
    };
    let answer = etcd.txn(request).await.unwrap().into_inner();
    assert_eq!(answer.header.unwrap().revision, 3);
    nodes.shutdown().await;
}
