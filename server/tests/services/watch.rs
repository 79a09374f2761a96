//! Watch.

use holdfast_proto::v1::{
    self, event::Type, watch_request::Request as Asked, watch_response::Body,
};
use holdfast_server::node::Node;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::nodes::{Clients as _, Nodes, PATIENCE, prefix, put, reason, single};

struct Watch {
    requests: mpsc::Sender<v1::WatchRequest>,
    responses: Streaming<v1::WatchResponse>,
}

impl Watch {
    async fn begin(node: &Node, create: v1::WatchCreate) -> Self {
        let (requests, sent) = mpsc::channel(4);
        let watch = v1::WatchRequest {
            request: Some(Asked::Create(create)),
        };
        requests.send(watch).await.unwrap();
        let responses = node
            .watch()
            .watch(ReceiverStream::new(sent))
            .await
            .unwrap()
            .into_inner();
        let mut watch = Self {
            requests,
            responses,
        };
        assert!(matches!(watch.next().await, Ok(Body::Created(_))));
        watch
    }

    async fn next(&mut self) -> Result<Body, Status> {
        let next = tokio::time::timeout(PATIENCE, self.responses.message());
        let response = next.await.expect("an answer in time")?;
        Ok(response
            .expect("the stream goes on")
            .body
            .expect("it says something"))
    }

    async fn events(&mut self) -> v1::WatchEvents {
        match self.next().await.unwrap() {
            Body::Events(events) => events,
            other => panic!("{other:?} instead of events"),
        }
    }
}

fn all_of(range: &str) -> v1::WatchCreate {
    v1::WatchCreate {
        range: prefix(range),
        ..v1::WatchCreate::default()
    }
}

#[tokio::test]
async fn changes_arrive_in_order_with_what_was_there_before() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let create = v1::WatchCreate {
        previous: true,
        ..all_of("w/")
    };
    let mut watch = Watch::begin(node, create).await;
    let mut kv = node.kv();
    let first = kv.put(put("w/a", "1")).await.unwrap().into_inner().revision;
    kv.put(put("elsewhere", "x")).await.unwrap();
    let delete = v1::DeleteRequest {
        range: single("w/a"),
        note: "gone".to_owned(),
        ..v1::DeleteRequest::default()
    };
    kv.delete(delete).await.unwrap();
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(watch.events().await.events);
    }
    assert_eq!(events[0].entry.as_ref().unwrap().modified, first);
    assert_eq!(events[1].r#type(), Type::Delete);
    assert_eq!(events[1].entry.as_ref().unwrap().note, "gone");
    assert_eq!(events[1].previous.as_ref().unwrap().modified, first);
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_watch_begins_in_the_past_or_with_the_range_as_it_is() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let mut kv = node.kv();
    let first = kv.put(put("w/a", "1")).await.unwrap().into_inner().revision;
    kv.put(put("w/a", "2")).await.unwrap();
    let past = v1::WatchCreate {
        from: first,
        ..all_of("w/")
    };
    let mut watch = Watch::begin(node, past).await;
    assert_eq!(watch.events().await.events.len(), 2);

    let snapshot = v1::WatchCreate {
        snapshot: true,
        ..all_of("w/")
    };
    let mut watch = Watch::begin(node, snapshot).await;
    let Body::Snapshot(part) = watch.next().await.unwrap() else {
        panic!("a snapshot comes first");
    };
    assert!(part.last);
    assert_eq!((part.entries.len(), part.revision), (1, first + 1));
    kv.put(put("w/b", "3")).await.unwrap();
    assert_eq!(watch.events().await.revision, first + 2);
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_compacted_start_is_said_and_a_snapshot_follows() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let mut kv = node.kv();
    let first = kv.put(put("w/a", "1")).await.unwrap().into_inner().revision;
    let newest = kv.put(put("w/a", "2")).await.unwrap().into_inner().revision;
    let compact = v1::CompactRequest {
        revision: newest,
        ..v1::CompactRequest::default()
    };
    kv.compact(compact).await.unwrap();
    let past = v1::WatchCreate {
        from: first,
        ..all_of("w/")
    };
    let mut watch = Watch::begin(node, past).await;
    let Body::Compacted(compacted) = watch.next().await.unwrap() else {
        panic!("it is said that the start is gone");
    };
    assert_eq!(compacted.compacted, newest + 1);
    let Body::Snapshot(part) = watch.next().await.unwrap() else {
        panic!("a snapshot follows");
    };
    assert_eq!(part.revision, newest);
    nodes.shutdown().await;
}

#[tokio::test]
async fn progress_comes_when_asked_for_and_is_never_ahead() {
    let nodes = Nodes::one().await;
    let node = &nodes.all[0];
    let mut watch = Watch::begin(node, all_of("w/")).await;
    let newest = node
        .kv()
        .put(put("elsewhere", "x"))
        .await
        .unwrap()
        .into_inner()
        .revision;
    let ask = v1::WatchRequest {
        request: Some(Asked::Progress(v1::WatchProgressRequest {})),
    };
    watch.requests.send(ask).await.unwrap();
    let Body::Progress(progress) = watch.next().await.unwrap() else {
        panic!("nothing but progress is due");
    };
    assert_eq!(progress.revision, newest);
    let twice = v1::WatchRequest {
        request: Some(Asked::Create(all_of("w/"))),
    };
    watch.requests.send(twice).await.unwrap();
    assert_eq!(reason(&watch.next().await.unwrap_err()), "invalid");
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_node_that_stops_sends_its_watchers_elsewhere() {
    let nodes = Nodes::one().await;
    let mut watch = Watch::begin(&nodes.all[0], all_of("w/")).await;
    let stopping = tokio::spawn(nodes.shutdown());
    let status = watch.next().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (tonic::Code::Unavailable, "shutting_down")
    );
    stopping.await.unwrap();
}
