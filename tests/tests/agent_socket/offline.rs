//! While every server is down: what the agent has, with its true age, and nothing that it has not.

use std::time::{Duration, Instant};

use holdfast_client::{
    Consistency, KeyRange, MirrorOptions, MirrorReveal, Origin, RangeOptions, ReadError,
    ReadOptions, RevealOptions, Secret, Value, WriteError,
};
use holdfast_tests::harness::wait;
use serde::Deserialize;

use crate::{
    LIMIT, agent, agent_as, allow, cluster_of, hasty, kvctl, node_context, put_secret, service,
    set_role, start,
};

#[derive(Deserialize)]
struct Web {
    number: u64,
    password: Secret<String>,
}

fn local() -> ReadOptions {
    ReadOptions {
        consistency: Consistency::Local,
        ..ReadOptions::default()
    }
}

/// What is told of an age that is at least `since`, and at most that and what a mirror checks by.
fn is_honest(age: Duration, since: Instant) -> bool {
    let gone = since.elapsed();
    age >= gone.saturating_sub(Duration::from_millis(500)) && age <= gone + Duration::from_secs(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_start_and_read_on_while_every_server_is_down() {
    let (mut cluster, operator) = cluster_of(1).await;
    operator.put("web/number", Value::Integer(7)).await.unwrap();
    operator.put("other/a", "1").await.unwrap();
    put_secret(&cluster, &operator, "web/password", "hunter2").await;
    put_secret(&cluster, &operator, "other/password", "hunter3").await;
    let entries = [
        allow("prefixes = [\"web/\"]\nreveal = true"),
        allow("prefixes = [\"other/\"]\nwrite = true"),
    ];
    let mut agent = agent(&cluster, "agent", &entries).await;
    // It has what it may be asked for, before anybody asked.
    let at_hand = || agent.said().matches("is at hand").count() == 2;
    wait::until_true("the agent to have it", LIMIT, at_hand)
        .await
        .unwrap();
    // And it has kept it on its disk, which takes a moment longer.
    let is_kept = |kind: &str| {
        let files = std::fs::read_dir(agent.join("state/cache").join(kind));
        let is_cache = |path: &std::path::Path| path.extension().is_some_and(|it| it == "cache");
        files.is_ok_and(|mut files| files.any(|file| is_cache(&file.unwrap().path())))
    };
    wait::until_true("it to be kept", LIMIT, || {
        is_kept("revealed") && is_kept("plain")
    })
    .await
    .unwrap();
    cluster.kill_all();
    let dead_since = Instant::now();

    // A service that starts now, with neither a cache nor a certificate of its own.
    let service = service(&agent);
    let found = wait::until("a local read", LIMIT, || async {
        let found = service.get_with("web/number", local()).await.ok()??;
        matches!(found.origin, Origin::Cache).then_some(found)
    });
    let found = found.await.unwrap();
    assert_eq!(*found.value(), Value::Integer(7));
    assert!(
        is_honest(found.age, dead_since),
        "{:?} of {:?}",
        found.age,
        dead_since.elapsed()
    );
    let page = service.range_all(
        KeyRange::prefix("web/"),
        RangeOptions {
            limit: 1,
            consistency: Consistency::Local,
            ..RangeOptions::default()
        },
    );
    let page = page.await.unwrap();
    assert_eq!((page.entries.len(), page.count), (2, 2));
    assert_eq!(page.origin, Origin::Cache);

    // What must be the newest is refused, and says what there is.
    let refused = hasty(&agent)
        .get("web/number")
        .await
        .unwrap_err()
        .to_string();
    for words in [
        "the agent of this node",
        "it has revision",
        "local consistency",
        "no server has answered",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let unwritten = hasty(&agent).put("other/a", "2").await.unwrap_err();
    assert!(
        matches!(unwritten, WriteError::Unreachable { .. }),
        "{unwritten:?}"
    );

    // Mirrors and configurations open at once, and say how old they are.
    let asked = Instant::now();
    let mirror = service.mirror("web/").await.unwrap();
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(mirror.read().len(), 2);
    assert_eq!(mirror.origin(), Origin::Cache);
    assert!(is_honest(mirror.age(), dead_since), "{:?}", mirror.age());
    let config = service
        .config::<Web>("web/")
        .reveal("it starts")
        .open()
        .await
        .unwrap();
    assert_eq!(
        (
            config.load().number,
            config.load().password.expose().as_str()
        ),
        (7, "hunter2")
    );
    let status = config.status();
    assert!(is_honest(status.age, dead_since), "{status:?}");

    // A secret is opened where that was granted, and nowhere else.
    let options = || RevealOptions {
        consistency: Consistency::Local,
        ..RevealOptions::default()
    };
    let secrets = service.secrets();
    let revealed = secrets
        .reveal_with("web/password", options())
        .await
        .unwrap();
    assert_eq!(revealed.secret.expose(), b"hunter2");
    assert!(is_honest(revealed.age, dead_since), "{:?}", revealed.age);
    let denied = secrets
        .reveal_with("other/password", options())
        .await
        .unwrap_err();
    assert!(matches!(denied, ReadError::Denied { .. }), "{denied:?}");
    let reveal = MirrorOptions {
        reveal: Some(MirrorReveal::default()),
        ..MirrorOptions::default()
    };
    let denied = service.mirror_with("other/", reveal).await.unwrap_err();
    assert!(matches!(denied, ReadError::Denied { .. }), "{denied:?}");
    let said = agent.said();
    assert!(
        said.contains("a secret was opened while no server answered"),
        "{said}"
    );
    assert!(!said.contains("hunter2"));

    // So does an operator's kvctl.
    let ran = kvctl(&agent, &["get", "web/number", "--local"]).await;
    assert!(ran.stderr.contains("no server answers"), "{ran:?}");
    assert!(ran.success().starts_with('7'));
    let ran = kvctl(
        &agent,
        &["-o", "raw", "secret", "get", "web/password", "--local"],
    )
    .await;
    assert_eq!(ran.success(), "hunter2");
    kvctl(&agent, &["--timeout", "1s", "get", "web/number"])
        .await
        .fails(4, &["--local"]);

    // The agent starts anew without a server: it has what it kept on its disk, and says so.
    agent.kill();
    start(&mut agent).await;
    let found = wait::until("a local read", LIMIT, || async {
        service.get_with("web/number", local()).await.ok()?
    });
    let found = found.await.unwrap();
    assert_eq!(*found.value(), Value::Integer(7));
    assert_eq!(found.origin, Origin::Disk);
    assert!(is_honest(found.age, dead_since), "{:?}", found.age);
    let kept = service.mirror("web/").await.unwrap();
    assert_eq!(kept.origin(), Origin::Disk);
    assert_eq!(kept.read().len(), 2);
    assert!(is_honest(kept.age(), dead_since), "{:?}", kept.age());
    let revealed = secrets
        .reveal_with("web/password", options())
        .await
        .unwrap();
    assert_eq!(revealed.secret.expose(), b"hunter2");
    assert_eq!(revealed.origin, Origin::Disk);
    assert!(is_honest(mirror.age(), dead_since), "{:?}", mirror.age());

    // The servers come back: the same mirror and configuration go on.
    cluster.mend().unwrap();
    let operator = wait::until("the cluster to be back", LIMIT, || async {
        let client = cluster.client().await.ok()?;
        client.put("web/number", Value::Integer(8)).await.ok()?;
        Some(client)
    });
    let operator = operator.await.unwrap();
    let newest = operator.get("web/number").await.unwrap().unwrap().revision;
    assert!(mirror.wait_for(newest, LIMIT).await);
    assert!(kept.wait_for(newest, LIMIT).await);
    assert_eq!(kept.origin(), Origin::Cache);
    assert!(config.wait_for(newest, LIMIT).await);
    assert_eq!(config.load().number, 8);
    wait::until_true("it to be young again", LIMIT, || {
        mirror.age() < Duration::from_secs(4)
    })
    .await
    .unwrap();
    service.get("web/number").await.unwrap().unwrap();
}

/// What was taken away stays away, also while there is nobody to ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cluster_denied_the_agent_is_not_handed_on_from_memory() {
    let (mut cluster, operator) = cluster_of(1).await;
    operator.put("web/number", Value::Integer(7)).await.unwrap();
    put_secret(&cluster, &operator, "web/password", "hunter2").await;
    let context = node_context(&cluster, &["list,read,reveal:web/"]).await;
    let entry = allow("prefixes = [\"web/\"]\nreveal = true");
    let agent = agent_as(&cluster, "agent", &context, &[entry]).await;
    let says = async |words: &str| {
        let said = wait::until_true(words, LIMIT, || agent.said().contains(words)).await;
        said.unwrap_or_else(|error| panic!("{error}: {}", agent.said()));
    };
    says("is at hand").await;
    set_role(&cluster, &["list,read:other/"]).await;
    operator.put("web/number", Value::Integer(8)).await.unwrap();
    says("the mirror cannot follow the cluster").await;
    cluster.kill_all();

    let service = hasty(&agent);
    let refused = wait::until("the servers to be known to be lost", LIMIT, || async {
        let found = service.get_with("web/number", local()).await;
        let told = found.expect_err("nothing is handed on").to_string();
        told.contains("does not have").then_some(())
    });
    refused.await.unwrap();
    let options = RevealOptions {
        consistency: Consistency::Local,
        reason: "ticket 7".to_owned(),
        ..RevealOptions::default()
    };
    let secrets = service.secrets();
    secrets
        .reveal_with("web/password", options)
        .await
        .unwrap_err();
}
