//! Watches through the loss of servers and of the agent itself.

use std::collections::BTreeMap;

use holdfast_client::{
    Client, Entry, Key, KeyRange, Operation, Revision, Transaction, Value, Watch, WatchItem,
    WatchOptions,
};

use crate::{LIMIT, agent, allow, cluster_of, service, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_misses_nothing_over_the_leaders_death_and_the_agents_restart() {
    let (mut cluster, operator) = cluster_of(3).await;
    let mut agent = agent(&cluster, "agent", &[allow("prefixes = [\"web/\"]")]).await;
    let service = service(&agent);
    let mut watch = service.watch(KeyRange::prefix("web/"), WatchOptions::default());
    watch.established().await.unwrap();
    let last = 60_i64;
    let seeing = tokio::spawn(async move {
        let mut seen = BTreeMap::new();
        let mut order = Vec::new();
        while !seen.contains_key(&last) {
            let item = tokio::time::timeout(LIMIT, watch.next())
                .await
                .unwrap()
                .unwrap();
            let WatchItem::Events { events, .. } = item else {
                assert!(matches!(item, WatchItem::Progress { .. }), "{item:?}");
                continue;
            };
            for event in events {
                let Some(Value::Integer(number)) = event.entry.value else {
                    panic!("{event:?}");
                };
                order.push(number);
                seen.insert(number, event.entry.modified);
            }
        }
        order
    });
    for number in 1..=last {
        if number == 20 {
            let leader = cluster.leader(&operator).await.unwrap();
            cluster.kill(leader);
        }
        if number == 40 {
            agent.kill();
            start(&mut agent).await;
        }
        operator.put("web/n", Value::Integer(number)).await.unwrap();
    }
    let order = seeing.await.unwrap();
    assert_eq!(order, (1..=last).collect::<Vec<_>>(), "each once, in order");
}

/// The request id is the service's own, so that neither side's repeats are a second write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_through_the_agent_are_applied_once_while_the_leader_dies() {
    let (mut cluster, operator) = cluster_of(3).await;
    let entry = allow("prefixes = [\"web/\"]\nwrite = true");
    let agent = agent(&cluster, "agent", &[entry]).await;
    let service = service(&agent);
    let mut version = 0;
    for number in 1..=60 {
        if number == 30 {
            let leader = cluster.leader(&operator).await.unwrap();
            cluster.kill(leader);
        }
        service.put("web/n", Value::Integer(number)).await.unwrap();
        version += 1;
        let found = service.get("web/n").await.unwrap().unwrap();
        assert_eq!(found.entry.version, version);
    }
}

async fn put(client: &Client, key: &str, value: Value) -> Revision {
    client.put(key, value).await.unwrap().revision
}

async fn next(watch: &mut Watch) -> WatchItem {
    let item = tokio::time::timeout(LIMIT, watch.next());
    item.await.unwrap().unwrap()
}

/// What changes next: the revision up to where that is all, and the new entries.
async fn next_changes(watch: &mut Watch) -> (u64, Vec<Entry>) {
    loop {
        match next(watch).await {
            WatchItem::Events { revision, events } => {
                let entries = events.into_iter().map(|event| event.entry);
                return (revision, entries.collect());
            }
            WatchItem::Progress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn keys(entries: &[Entry]) -> Vec<String> {
    let keys = entries.iter().map(|entry| entry.key.to_string());
    keys.collect()
}

/// The agent tells it as a server does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_what_was_compacted_begins_with_how_the_range_is() {
    let (cluster, operator) = cluster_of(1).await;
    let agent = agent(&cluster, "agent", &[allow("prefixes = [\"web/\"]")]).await;
    let first = put(&operator, "web/a", Value::Integer(1)).await;
    put(&operator, "web/a", Value::Integer(2)).await;
    let newest = put(&operator, "web/b", Value::Integer(3)).await;
    operator.compact(newest).await.unwrap();
    let options = WatchOptions {
        from: Some(first),
        ..WatchOptions::default()
    };
    for client in [&operator, &service(&agent)] {
        let mut watch = client.watch(KeyRange::prefix("web/"), options.clone());
        let item = next(&mut watch).await;
        let WatchItem::Reset { revision, entries } = item else {
            panic!("{item:?}");
        };
        assert!(revision >= newest.get(), "{revision}");
        assert_eq!(keys(&entries), ["web/a", "web/b"]);
        let after = put(&operator, "web/a", Value::Integer(4)).await;
        let (_, entries) = next_changes(&mut watch).await;
        assert_eq!(entries[0].modified, after);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_larger_than_one_message_comes_whole() {
    let (cluster, operator) = cluster_of(1).await;
    let agent = agent(&cluster, "agent", &[allow("prefixes = [\"web/\"]")]).await;
    let mut watch = service(&agent).watch(KeyRange::prefix("web/"), WatchOptions::default());
    watch.established().await.unwrap();
    let names = ["web/a", "web/b", "web/c", "web/d"];
    let large = names.map(|name| {
        let value = Value::Text("x".repeat(900 * 1024));
        Operation::put(&Key::try_from(name).unwrap(), value)
    });
    let large = large
        .into_iter()
        .fold(Transaction::new(), Transaction::then);
    let written = operator.transact(large, "").await.unwrap().revision;
    let (revision, entries) = next_changes(&mut watch).await;
    assert_eq!(keys(&entries), names);
    assert_eq!(revision, written);
}
