//! The front for etcd's clients.

mod access;
mod kv;
mod lease;
mod lock;
mod other;
mod transaction;
mod watch;

use holdfast_proto::etcd::{
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, kv_client::KvClient,
    },
    mvccpb::KeyValue,
};
use holdfast_server::node::Node;
use tonic::transport::{Channel, Endpoint};

/// A channel to a front that asks for no certificates.
fn plain(node: &Node) -> Channel {
    let address = node.etcd_address().expect("it has a front");
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

fn kv(node: &Node) -> KvClient<Channel> {
    KvClient::new(plain(node))
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest {
        key: key.to_owned().into(),
        ..RangeRequest::default()
    }
}

/// Every key.
fn all() -> RangeRequest {
    RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..RangeRequest::default()
    }
}

fn delete(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.to_owned().into(),
        ..DeleteRangeRequest::default()
    }
}

fn compact(revision: i64) -> CompactionRequest {
    CompactionRequest {
        revision,
        physical: true,
    }
}

/// `key=value` of each.
fn shown(pairs: &[KeyValue]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    pairs
        .iter()
        .map(|pair| format!("{}={}", text(&pair.key), text(&pair.value)))
        .collect()
}
