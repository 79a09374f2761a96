//! One client, one suite, three ways to the cluster: over the network, through the agent of the node, and
//! into a replica in this very process. A service must not be able to tell.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use holdfast_client::{
    Client, Condition, EventKind, Expected, Key, KeyRange, MirrorOptions, MirrorReveal, Operation,
    Origin, PutOptions, RangeOptions, Revision, Secret, StartPolicy, Transaction, Value, WatchItem,
    WatchOptions, WriteError,
};
use holdfast_server::{
    init::{InitOptions, init},
    node::Node,
};
use holdfast_tests::{
    escrow,
    harness::{Agent, Cluster, ClusterOptions, Folder, ports, program, wait},
};
use serde::Deserialize;

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Shop {
    number: u64,
    password: Secret<String>,
}

fn key(name: &str) -> Key {
    Key::try_from(name).unwrap()
}

/// All that a service does. `cache`: where it may keep its configuration.
async fn suite(client: &Client, cache: &Path) {
    reads_and_writes(client).await;
    transactions(client).await;
    watches_and_mirrors(client).await;
    secrets(client).await;
    configuration(client, cache).await;
}

async fn reads_and_writes(client: &Client) {
    assert_eq!(client.get("shop/none").await.unwrap(), None);
    let written = client.put("shop/a", "1").await.unwrap();
    let found = client.get("shop/a").await.unwrap().unwrap();
    assert_eq!(*found.value(), Value::Text("1".to_owned()));
    assert_eq!(found.entry.modified, written.revision);
    assert!(
        matches!(found.origin, Origin::Server(_)),
        "{:?}",
        found.origin
    );
    assert!(found.age < Duration::from_secs(5), "{:?}", found.age);
    // What must be there is not.
    let first = PutOptions {
        expected: Some(Expected::Absent),
        ..PutOptions::default()
    };
    let conflict = client.put_with("shop/a", "2", first).await.unwrap_err();
    assert!(
        matches!(&conflict, WriteError::Conflict { found, .. } if *found == Some(written.revision)),
        "{conflict:?}"
    );
    for name in ["shop/b", "shop/c", "shop/d"] {
        client.put(name, "1").await.unwrap();
    }
    let pages = RangeOptions {
        limit: 1,
        ..RangeOptions::default()
    };
    let all = client.range_all(KeyRange::prefix("shop/"), pages).await;
    let all = all.unwrap();
    assert_eq!((all.entries.len(), all.count), (4, 4));
    // As it was.
    let then = RangeOptions {
        revision: Some(written.revision),
        ..RangeOptions::default()
    };
    let then = client.range(KeyRange::prefix("shop/"), then).await.unwrap();
    assert_eq!(then.entries.len(), 1);
    let future = RangeOptions {
        revision: Revision::new(1_000_000),
        ..RangeOptions::default()
    };
    let refused = client.range(KeyRange::prefix("shop/"), future).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, holdfast_client::ReadError::Future { newest, .. } if newest.is_some()),
        "{refused:?}"
    );
    assert_eq!(client.delete("shop/d").await.unwrap().deleted, 1);
    let history = client.history("shop/a", Default::default()).await.unwrap();
    assert_eq!(history.versions.len(), 1);
}

async fn transactions(client: &Client) {
    let move_on = |from: i64, to: i64| {
        let is = Condition::value_is(&key("shop/n"), Value::Integer(from));
        Transaction::new()
            .when(is)
            .then(Operation::put(&key("shop/n"), Value::Integer(to)))
            .otherwise(Operation::get(&key("shop/n")))
    };
    client.put("shop/n", Value::Integer(1)).await.unwrap();
    assert!(client.transact(move_on(1, 2), "").await.unwrap().succeeded);
    assert!(!client.transact(move_on(1, 3), "").await.unwrap().succeeded);
    let found = client.get("shop/n").await.unwrap().unwrap();
    assert_eq!(*found.value(), Value::Integer(2));
}

async fn watches_and_mirrors(client: &Client) {
    let mut watch = client.watch(KeyRange::prefix("shop/w/"), WatchOptions::default());
    watch.established().await.unwrap();
    let mirror = client.mirror("shop/w/").await.unwrap();
    client.put("shop/w/a", "1").await.unwrap();
    let last = client.delete("shop/w/a").await.unwrap().revision;
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let item = tokio::time::timeout(LIMIT, watch.next())
            .await
            .unwrap()
            .unwrap();
        if let WatchItem::Events { events, .. } = item {
            kinds.extend(events.into_iter().map(|event| event.kind));
        }
    }
    assert_eq!(kinds, [EventKind::Put, EventKind::Delete]);
    let last = last.map_or(0, Revision::get);
    assert!(mirror.wait_for(last, LIMIT).await);
    assert!(mirror.read().is_empty());
    assert_eq!(mirror.origin(), Origin::Cache);
    wait::until_true("a young mirror", LIMIT, || {
        mirror.age() < Duration::from_secs(4)
    })
    .await
    .unwrap();
    // From a revision on, and with what was there before.
    let again = WatchOptions {
        from: Revision::new(last),
        previous: true,
        ..WatchOptions::default()
    };
    let mut watch = client.watch(KeyRange::prefix("shop/w/"), again);
    let item = tokio::time::timeout(LIMIT, watch.next())
        .await
        .unwrap()
        .unwrap();
    let WatchItem::Events { events, .. } = item else {
        panic!("{item:?}");
    };
    assert!(events[0].previous.is_some());
}

async fn secrets(client: &Client) {
    let secrets = client.secrets();
    wait::until("a secret to be taken", LIMIT, || async {
        secrets
            .put("shop/s/password", "hunter2".to_owned())
            .await
            .ok()
    })
    .await
    .unwrap();
    let revealed = secrets.reveal("shop/s/password").await.unwrap();
    assert_eq!(revealed.secret.expose(), b"hunter2");
    let found = client.get("shop/s/password").await.unwrap().unwrap();
    assert!(found.entry.is_secret());
    let reveal = MirrorOptions {
        reveal: Some(MirrorReveal {
            reason: "to look".to_owned(),
        }),
        ..MirrorOptions::default()
    };
    let mirror = client.mirror_with("shop/s/", reveal).await.unwrap();
    let kept = mirror.secret("shop/s/password").unwrap();
    assert_eq!(kept.secret().expose(), b"hunter2");
}

async fn configuration(client: &Client, cache: &Path) {
    let secrets = client.secrets();
    client
        .put("shop/config/number", Value::Integer(1))
        .await
        .unwrap();
    secrets
        .put("shop/config/password", "hunter3".to_owned())
        .await
        .unwrap();
    let key = Secret::new([7; 32]);
    let config = client
        .config::<Shop>("shop/config/")
        .reveal("the shop starts")
        .instance("shop-1")
        .validate(|shop: &Shop| match shop.number < 100 {
            true => Ok(()),
            false => Err("too many"),
        })
        .cache_with_key(cache, key)
        .start(StartPolicy::ServerThenCache { wait: LIMIT })
        .open()
        .await
        .unwrap();
    assert_eq!(config.load().number, 1);
    assert_eq!(config.load().password.expose(), "hunter3");
    let taken = client
        .put("shop/config/number", Value::Integer(2))
        .await
        .unwrap();
    assert!(config.wait_for(taken.revision.get(), LIMIT).await);
    assert_eq!(config.load().number, 2);
    client
        .put("shop/config/number", Value::Integer(500))
        .await
        .unwrap();
    wait::until_true("it to be rejected", LIMIT, || {
        config.status().rejected.is_some()
    })
    .await
    .unwrap();
    assert_eq!(config.load().number, 2, "what is invalid is not taken");
    // The cluster knows of it.
    wait::until("the report", LIMIT, || async {
        let fleet = client.fleet().list("shop/config/").await.ok()?;
        let mut entries = fleet.entries.into_iter();
        entries.find(|entry| entry.instance == "shop-1")
    })
    .await
    .unwrap();
}

async fn one_node() -> Cluster {
    let options = ClusterOptions {
        nodes: 1,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options).await.unwrap();
    let shares = cluster.folder().join("shares");
    escrow::prove(&cluster.context_file(), &shares)
        .await
        .unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_goes_over_the_network() {
    let cluster = one_node().await;
    let client = cluster.client().await.unwrap();
    suite(&client, &cluster.folder().join("cache")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_goes_through_the_agent_of_its_node() {
    let cluster = one_node().await;
    let settings = format!(
        "[socket]\npath = \"agent.sock\"\n[[socket.allow]]\nuser = {}\nprefixes = [\"shop/\"]\n\
         reveal = true\nwrite = true\n",
        rustix::process::geteuid().as_raw()
    );
    let mut agent = Agent::new(&cluster, "agent", &settings).unwrap();
    agent.start().unwrap();
    // As a service does that starts with its node: it waits for the agent, which comes.
    let client = Client::agent(agent.join("agent.sock")).unwrap();
    suite(&client, &cluster.folder().join("cache")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_has_a_replica_in_its_own_process() {
    let folder = Folder::new().unwrap();
    let [port] = ports::free();
    let options = InitOptions {
        dir: folder.join("n1"),
        name: "n1".parse().unwrap(),
        cluster_name: "embedded".to_owned(),
        listen: format!("127.0.0.1:{port}"),
        advertise: None,
        http: None,
        etcd: None,
        key_protector: holdfast_seal::Protector::File,
    };
    let node = Node::start(init(&options, SystemTime::now()).unwrap())
        .await
        .unwrap();
    node.ready().await;
    let context = folder.join("n1").join("context").join("admin.toml");
    escrow::prove(&context, &folder.join("shares"))
        .await
        .unwrap();
    let grant = ["grant", "add", "embedded", "revealer"];
    program::kvctl(&context, &grant).await.success();
    suite(&node.client(), &folder.join("cache")).await;
    node.shutdown().await;
}
