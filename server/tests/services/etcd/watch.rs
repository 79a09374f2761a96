//! Many watches on one stream.

use holdfast_proto::etcd::{
    etcdserverpb::{
        WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_client::WatchClient, watch_create_request::FilterType, watch_request::RequestUnion,
    },
    mvccpb::event::EventType,
};
use holdfast_server::node::Node;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{compact, delete, kv, plain, put};
use crate::nodes::{Nodes, PATIENCE};

/// One stream of a client.
struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Stream {
    async fn open(node: &Node) -> Self {
        let (requests, receiver) = mpsc::channel(64);
        let responses = WatchClient::new(plain(node))
            .watch(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
        }
    }

    async fn ask(&self, request: RequestUnion) {
        let request = WatchRequest {
            request_union: Some(request),
        };
        self.requests.send(request).await.unwrap();
    }

    async fn create(&mut self, create: WatchCreateRequest) -> WatchResponse {
        self.ask(RequestUnion::CreateRequest(create)).await;
        let created = self.next().await;
        assert!(created.created);
        created
    }

    async fn next(&mut self) -> WatchResponse {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        next.expect("an answer in time").unwrap().unwrap()
    }

    /// The next answer, which carries events: of which watch, and which.
    async fn events(&mut self) -> (i64, Vec<String>) {
        let response = self.next().await;
        assert!(!response.created && !response.canceled, "{response:?}");
        (response.watch_id, told(&response))
    }
}

/// `+key@revision`, or `-key@revision`, and `<value` of what was there before.
fn told(response: &WatchResponse) -> Vec<String> {
    let events = response.events.iter().map(|event| {
        let pair = event.kv.as_ref().unwrap();
        let sign = match event.r#type() {
            EventType::Put => '+',
            EventType::Delete => '-',
        };
        let before = event.prev_kv.as_ref().map_or_else(String::new, |before| {
            format!("<{}", String::from_utf8_lossy(&before.value))
        });
        let key = String::from_utf8_lossy(&pair.key);
        format!("{sign}{key}@{}{before}", pair.mod_revision)
    });
    events.collect()
}

fn watch(key: &str, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.to_owned().into(),
        start_revision,
        ..WatchCreateRequest::default()
    }
}

/// Every key.
fn watch_all(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        range_end: vec![0].into(),
        ..watch("", start_revision)
    }
}

#[tokio::test]
async fn many_watches_share_a_stream_and_each_sees_what_it_asked_for() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut etcd = kv(node);
    etcd.put(put("a", "1")).await.unwrap();
    let mut stream = Stream::open(node).await;
    let first = stream.create(watch("a", 0)).await;
    assert_eq!((first.watch_id, first.header.unwrap().revision), (0, 1));
    let deletions = WatchCreateRequest {
        watch_id: 7,
        prev_kv: true,
        filters: vec![FilterType::Noput.into()],
        ..watch_all(0)
    };
    assert_eq!(stream.create(deletions).await.watch_id, 7);
    // Its own start is in the past, so it catches up alone.
    let past = WatchCreateRequest {
        prev_kv: true,
        ..watch_all(1)
    };
    assert_eq!(stream.create(past).await.watch_id, 1);
    assert_eq!(stream.events().await, (1, vec!["+a@1".to_owned()]));

    etcd.put(put("a", "2")).await.unwrap();
    let mut seen = [stream.events().await, stream.events().await];
    seen.sort();
    assert_eq!(
        seen,
        [(0, vec!["+a@2".to_owned()]), (1, vec!["+a@2<1".to_owned()])]
    );
    stream
        .ask(RequestUnion::CancelRequest(WatchCancelRequest {
            watch_id: 1,
        }))
        .await;
    let canceled = stream.next().await;
    assert!(canceled.canceled && canceled.watch_id == 1 && canceled.compact_revision == 0);
    etcd.delete_range(delete("a")).await.unwrap();
    let mut seen = [stream.events().await, stream.events().await];
    seen.sort();
    assert_eq!(
        seen,
        [(0, vec!["-a@3".to_owned()]), (7, vec!["-a@3<2".to_owned()])]
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_watch_that_cannot_be_is_canceled_with_the_reason() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut stream = Stream::open(node).await;
    let named = WatchCreateRequest {
        watch_id: 7,
        ..watch("a", 0)
    };
    stream.create(named.clone()).await;
    for (create, reason) in [
        (
            named,
            "mvcc: duplicate watch ID provided on the WatchStream",
        ),
        (
            WatchCreateRequest {
                range_end: "a".into(),
                ..watch("b", 0)
            },
            "mvcc: watcher range is empty",
        ),
        (
            watch("a", -1),
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ] {
        let refused = stream.create(create).await;
        assert_eq!(
            (refused.watch_id, refused.canceled, &*refused.cancel_reason),
            (-1, true, reason)
        );
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_watch_from_a_compacted_revision_is_told_where_to_begin_again() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut etcd = kv(node);
    for value in ["1", "2", "3"] {
        etcd.put(put("a", value)).await.unwrap();
    }
    let mut stream = Stream::open(node).await;
    stream.create(watch("z", 0)).await;
    etcd.delete_range(delete("a")).await.unwrap();
    etcd.compact(compact(4)).await.unwrap();
    stream.create(watch("a", 2)).await;
    let canceled = stream.next().await;
    assert_eq!(
        (
            canceled.watch_id,
            canceled.canceled,
            canceled.compact_revision
        ),
        (1, true, 4)
    );
    let again = watch("a", canceled.compact_revision);
    assert_eq!(stream.create(again).await.watch_id, 2);
    assert_eq!(stream.events().await, (2, vec!["-a@4".to_owned()]));
    nodes.shutdown().await;
}

#[tokio::test]
async fn progress_is_told_once_every_watch_has_seen_everything() {
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut etcd = kv(node);
    let mut stream = Stream::open(node).await;
    stream.create(watch("a", 0)).await;
    etcd.put(put("other", "1")).await.unwrap();
    etcd.put(put("a", "1")).await.unwrap();
    assert_eq!(stream.events().await, (0, vec!["+a@2".to_owned()]));
    etcd.put(put("other", "2")).await.unwrap();
    stream
        .ask(RequestUnion::ProgressRequest(WatchProgressRequest {}))
        .await;
    let mark = stream.next().await;
    assert_eq!((mark.watch_id, mark.events.len()), (-1, 0));
    assert_eq!(mark.header.unwrap().revision, 3);
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_large_revision_comes_in_fragments_if_they_are_taken() {
    use holdfast_proto::etcd::etcdserverpb::{RequestOp, TxnRequest, request_op::Request};
    let nodes = Nodes::one_plain().await;
    let node = &nodes.all[0];
    let mut stream = Stream::open(node).await;
    stream
        .create(WatchCreateRequest {
            fragment: true,
            ..watch_all(0)
        })
        .await;
    let large = "x".repeat(1_000_000);
    let request = TxnRequest {
        success: ["a", "b", "c"]
            .map(|key| RequestOp {
                request: Some(Request::RequestPut(put(key, &large))),
            })
            .into(),
        ..TxnRequest::default()
    };
    kv(node).txn(request).await.unwrap();
    let parts = [stream.next().await, stream.next().await];
    assert_eq!(parts.each_ref().map(|part| part.fragment), [true, false]);
    assert_eq!(
        parts.each_ref().map(told),
        [
            vec!["+a@1".to_owned(), "+b@1".to_owned()],
            vec!["+c@1".to_owned()]
        ]
    );
    nodes.shutdown().await;
}
