//! Watches through the loss of servers and of the agent itself.

use std::collections::BTreeMap;

use holdfast_client::{KeyRange, Value, WatchItem, WatchOptions};

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
