//! What a rule allows on which keys, method by method.

use holdfast_client::{Client, KeyRange, ReadError, WatchError, WatchOptions};
use holdfast_proto::v1::{
    self, compare, kv_client::KvClient, lease_client::LeaseClient, lock_client::LockClient,
    operation::Operation as Kind, secrets_client::SecretsClient,
};
use tonic::{Status, transport::Channel};

use super::{Papers, allow};
use crate::nodes::{Clients as _, Nodes, prefix, put, reason, single, text};

const RULES: &[&str] = &[
    "allow read,write,delete,lock:app/",
    "deny read,write,delete,lock:app/keys/",
    "allow list:names/",
    "allow write:drop/",
];

/// One node with some keys, and somebody who may do what [`RULES`] say.
async fn bob() -> (Nodes, Channel) {
    let nodes = Nodes::one().await;
    let mut kv = nodes.all[0].kv();
    for key in ["app/a", "app/keys/a", "names/a", "drop/a", "other/a"] {
        kv.put(put(key, "1")).await.unwrap();
    }
    let papers = Papers::issue(&nodes, "bob").await;
    allow(&nodes, "bob", RULES).await;
    let channel = papers.channel(&nodes.all[0]);
    (nodes, channel)
}

#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.expect_err("it was allowed");
    assert_eq!(reason(&status), "not_allowed", "{status:?}");
    assert!(
        status.message().starts_with("client/bob may not "),
        "{status:?}"
    );
}

fn read(range: Option<v1::KeyRange>) -> v1::RangeRequest {
    v1::RangeRequest {
        range,
        ..v1::RangeRequest::default()
    }
}

fn names(range: Option<v1::KeyRange>) -> v1::RangeRequest {
    v1::RangeRequest {
        keys_only: true,
        ..read(range)
    }
}

#[tokio::test]
async fn reads_are_allowed_as_a_whole_or_not_at_all() {
    let (nodes, channel) = bob().await;
    let mut kv = KvClient::new(channel);
    kv.range(read(single("app/a"))).await.unwrap();
    kv.range(names(single("app/a"))).await.unwrap();
    kv.range(names(prefix("names/"))).await.unwrap();
    // What is denied is denied alone: reading the keys, and not knowing that they are there.
    kv.range(names(prefix("app/"))).await.unwrap();
    for forbidden in [
        read(single("app/keys/a")),
        read(single("other/a")),
        read(single("names/a")),
        read(single("drop/a")),
        // Some of it would be allowed.
        read(prefix("app/")),
        read(prefix("")),
        names(prefix("")),
        read(prefix("names/")),
        v1::RangeRequest {
            count_only: true,
            ..read(prefix("other/"))
        },
        v1::RangeRequest {
            revision: 1,
            ..read(single("other/a"))
        },
        v1::RangeRequest {
            consistency: v1::Consistency::Local.into(),
            ..read(single("other/a"))
        },
    ] {
        denied(kv.range(forbidden).await);
    }
    let history = |key: &str, values| v1::HistoryRequest {
        key: key.as_bytes().to_vec().into(),
        values,
        ..v1::HistoryRequest::default()
    };
    kv.history(history("app/a", true)).await.unwrap();
    kv.history(history("names/a", false)).await.unwrap();
    denied(kv.history(history("names/a", true)).await);
    denied(kv.history(history("other/a", false)).await);
    let diff = |range| v1::DiffRequest {
        range,
        from: 1,
        to: 2,
    };
    kv.diff(diff(single("app/a"))).await.unwrap();
    denied(kv.diff(diff(prefix("app/"))).await);
    denied(kv.diff(diff(prefix("names/"))).await);
    nodes.shutdown().await;
}

#[tokio::test]
async fn writes_need_a_right_to_what_they_write_and_to_what_they_show() {
    let (nodes, channel) = bob().await;
    let mut kv = KvClient::new(channel);
    kv.put(put("app/b", "1")).await.unwrap();
    kv.put(put("drop/b", "1")).await.unwrap();
    denied(kv.put(put("app/keys/b", "1")).await);
    denied(kv.put(put("other/b", "1")).await);
    denied(kv.put(put("names/b", "1")).await);
    let showing = |key| v1::PutRequest {
        previous: true,
        ..put(key, "2")
    };
    kv.put(showing("app/b")).await.unwrap();
    denied(kv.put(showing("drop/b")).await);
    let delete = |range| v1::DeleteRequest {
        range,
        ..v1::DeleteRequest::default()
    };
    kv.delete(delete(single("app/b"))).await.unwrap();
    denied(kv.delete(delete(single("drop/b"))).await);
    denied(kv.delete(delete(prefix("app/"))).await);
    let rollback = |range| v1::RollbackRequest {
        range,
        to: 1,
        ..v1::RollbackRequest::default()
    };
    kv.rollback(rollback(single("app/a"))).await.unwrap();
    denied(kv.rollback(rollback(prefix("app/"))).await);
    // Back then it was not there: it would have to be deleted.
    denied(kv.rollback(rollback(single("drop/a"))).await);
    let other = nodes.all[0].kv().range(read(single("drop/a"))).await;
    assert_eq!(other.unwrap().into_inner().count, 1);
    nodes.shutdown().await;
}

fn step(kind: Kind) -> v1::Operation {
    v1::Operation {
        operation: Some(kind),
    }
}

fn putting(key: &str) -> Kind {
    Kind::Put(v1::PutOperation {
        key: key.as_bytes().to_vec().into(),
        value: text("1"),
        ..v1::PutOperation::default()
    })
}

fn reading(range: Option<v1::KeyRange>) -> Kind {
    Kind::Range(v1::RangeOperation {
        range,
        ..v1::RangeOperation::default()
    })
}

fn comparing(key: &str, target: compare::Target) -> v1::Transaction {
    v1::Transaction {
        compare: vec![v1::Compare {
            range: single(key),
            relation: compare::Relation::Equal.into(),
            target: Some(target),
        }],
        ..v1::Transaction::default()
    }
}

fn doing(then: Vec<Kind>, otherwise: Vec<Kind>) -> v1::Transaction {
    v1::Transaction {
        compare: Vec::new(),
        then: then.into_iter().map(step).collect(),
        otherwise: otherwise.into_iter().map(step).collect(),
    }
}

#[tokio::test]
async fn a_transaction_needs_a_right_to_each_of_its_parts() {
    let (nodes, channel) = bob().await;
    let mut kv = KvClient::new(channel);
    let ask = |transaction| v1::TransactRequest {
        transaction: Some(transaction),
        ..v1::TransactRequest::default()
    };
    let value = || compare::Target::Value(text("1").unwrap());
    let created = || compare::Target::Created(0);
    for fine in [
        doing(vec![putting("app/c"), reading(single("app/a"))], Vec::new()),
        comparing("app/a", value()),
        comparing("names/a", created()),
        comparing("drop/a", created()),
    ] {
        kv.transact(ask(fine)).await.unwrap();
    }
    for forbidden in [
        comparing("other/a", value()),
        comparing("other/a", created()),
        comparing("names/a", value()),
        comparing("drop/a", value()),
        doing(vec![putting("other/c")], Vec::new()),
        // Also what is not done.
        doing(Vec::new(), vec![putting("other/c")]),
        doing(Vec::new(), vec![reading(single("other/a"))]),
        doing(vec![reading(prefix("app/"))], Vec::new()),
        doing(
            vec![Kind::Transaction(doing(
                vec![putting("other/c")],
                Vec::new(),
            ))],
            Vec::new(),
        ),
        doing(
            vec![Kind::Delete(v1::DeleteOperation {
                range: single("drop/a"),
                previous: false,
            })],
            Vec::new(),
        ),
    ] {
        denied(kv.transact(ask(forbidden)).await);
    }
    let there = nodes.all[0].kv().range(read(single("other/c"))).await;
    assert_eq!(there.unwrap().into_inner().count, 0);
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_lease_is_for_who_may_write_all_of_its_keys() {
    let (nodes, channel) = bob().await;
    let granted = |lease| v1::LeaseGrantRequest {
        lease,
        ttl_ms: 60_000,
        ..v1::LeaseGrantRequest::default()
    };
    let mut own = nodes.all[0].lease();
    own.grant(granted(7)).await.unwrap();
    let under = |key, lease| v1::PutRequest {
        lease,
        ..put(key, "1")
    };
    nodes.all[0]
        .kv()
        .put(under("other/leased", 7))
        .await
        .unwrap();
    let (mut kv, mut lease) = (KvClient::new(channel.clone()), LeaseClient::new(channel));
    lease.grant(granted(8)).await.unwrap();
    kv.put(under("app/leased", 8)).await.unwrap();
    // What hangs on it would end with his.
    denied(kv.put(under("app/leased", 7)).await);
    let revoke = |lease| v1::LeaseRevokeRequest {
        lease,
        ..v1::LeaseRevokeRequest::default()
    };
    denied(lease.revoke(revoke(7)).await);
    let keep = |lease| tokio_stream::once(v1::LeaseKeepAliveRequest { lease });
    let mut answers = lease.keep_alive(keep(7)).await.unwrap().into_inner();
    denied(answers.message().await);
    let mut answers = lease.keep_alive(keep(8)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl_ms, 60_000);
    let look = |lease, keys| v1::LeaseTimeToLiveRequest { lease, keys };
    denied(lease.time_to_live(look(7, true)).await);
    lease.time_to_live(look(7, false)).await.unwrap();
    lease.time_to_live(look(8, true)).await.unwrap();
    denied(lease.list(v1::LeaseListRequest {}).await);
    lease.revoke(revoke(8)).await.unwrap();
    nodes.shutdown().await;
}

#[tokio::test]
async fn locks_and_elections_are_for_who_may_lock_what_is_below_their_name() {
    let (nodes, channel) = bob().await;
    let mut lease = LeaseClient::new(channel.clone());
    let request = v1::LeaseGrantRequest {
        lease: 9,
        ttl_ms: 60_000,
        ..v1::LeaseGrantRequest::default()
    };
    lease.grant(request).await.unwrap();
    let mut lock = LockClient::new(channel);
    let acquire = |name: &str| v1::LockAcquireRequest {
        name: name.to_owned(),
        lease: 9,
        wait: false,
        ..v1::LockAcquireRequest::default()
    };
    let held = lock
        .acquire(acquire("app/lock"))
        .await
        .unwrap()
        .into_inner();
    assert!(held.held);
    for name in ["app/keys/lock", "other/lock", "app", "drop/lock"] {
        denied(lock.acquire(acquire(name)).await);
        let campaign = v1::CampaignRequest {
            name: name.to_owned(),
            lease: 9,
            value: text("me"),
            ..v1::CampaignRequest::default()
        };
        denied(lock.campaign(campaign).await);
        let proclaim = v1::ProclaimRequest {
            name: name.to_owned(),
            lease: 9,
            token: 1,
            value: text("me"),
            ..v1::ProclaimRequest::default()
        };
        denied(lock.proclaim(proclaim).await);
        let release = || v1::LockReleaseRequest {
            name: name.to_owned(),
            lease: 9,
            token: 1,
            ..v1::LockReleaseRequest::default()
        };
        denied(lock.release(release()).await);
        denied(lock.resign(release()).await);
        let leader = || v1::LeaderRequest {
            name: name.to_owned(),
        };
        denied(lock.leader(leader()).await);
        denied(lock.observe(leader()).await);
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn secrets_are_written_destroyed_and_revealed_by_a_right_to_each() {
    let (nodes, channel) = bob().await;
    let mut secrets = SecretsClient::new(channel);
    let key = |key: &str| bytes::Bytes::copy_from_slice(key.as_bytes());
    for forbidden in ["app/keys/s", "other/s", "names/s"] {
        let put = v1::SecretPutRequest {
            key: key(forbidden),
            plaintext: key("hidden"),
            ..v1::SecretPutRequest::default()
        };
        denied(secrets.put(put).await);
        let destroy = v1::SecretDestroyRequest {
            key: key(forbidden),
            ..v1::SecretDestroyRequest::default()
        };
        denied(secrets.destroy(destroy).await);
    }
    // Reading is not revealing.
    let reveal = v1::RevealRequest {
        key: key("app/s"),
        ..v1::RevealRequest::default()
    };
    denied(secrets.reveal(reveal).await.map(drop));
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_mirror_asks_for_no_more_than_its_prefix() {
    let nodes = Nodes::one().await;
    let papers = Papers::issue(&nodes, "bob").await;
    allow(&nodes, "bob", &["allow read:app/"]).await;
    let client: Client = papers.client(&nodes.all[0]);
    nodes.all[0].kv().put(put("app/a", "1")).await.unwrap();
    let mirror = client.mirror("app/").await.unwrap();
    assert!(mirror.get("app/a").is_some());
    let error = client.mirror("").await.unwrap_err();
    assert!(matches!(error, ReadError::Denied { .. }), "{error:?}");
    let mut watch = client.watch(KeyRange::all(), WatchOptions::default());
    let ended = watch.next().await.unwrap_err();
    assert!(matches!(ended, WatchError::Denied { .. }), "{ended:?}");
    nodes.shutdown().await;
}
