//! What passes inside the prefixes that are granted, and what is refused outside of them.

use std::time::Duration;

use holdfast_client::{
    Consistency, DeleteOptions, HistoryOptions, Key, KeyRange, LockOptions, Operation, ReadError,
    ReadOptions, Reason, Report, RevealOptions, Revision, SecretPutOptions, Subject, Transaction,
    Value, WatchError, WatchItem, WatchOptions, WriteError,
};
use holdfast_tests::harness::{program, wait};

use crate::{LIMIT, agent, agent_as, allow, cluster_of, kvctl, node_context, put_secret, service};

fn refused(result: Result<impl std::fmt::Debug, ReadError>, what: &str) {
    match result {
        Err(ReadError::Denied { message }) => {
            assert!(
                message.contains("through the agent of this node"),
                "{message}"
            );
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn not_written(result: Result<impl std::fmt::Debug, WriteError>, what: &str) {
    match result {
        Err(WriteError::Denied { message }) => {
            assert!(message.contains("nothing was done"), "{message}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn both(first: &str, second: &str) -> Transaction {
    let put = |key: &str| Operation::put(&Key::try_from(key).unwrap(), Value::Integer(1));
    Transaction::new().then(put(first)).then(put(second))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_passes_inside_what_is_granted_and_nowhere_else() {
    let (cluster, operator) = cluster_of(1).await;
    for key in ["web/a", "web/w/a", "bank/a"] {
        operator.put(key, "1").await.unwrap();
    }
    put_secret(&cluster, &operator, "web/s/password", "hunter2").await;
    put_secret(&cluster, &operator, "web/password", "hunter3").await;
    let entries = [
        allow("prefixes = [\"web/\"]"),
        allow("prefixes = [\"web/w/\"]\nwrite = true"),
        allow("prefixes = [\"web/s/\"]\nreveal = true"),
    ];
    let agent = agent(&cluster, "agent", &entries).await;
    let service = service(&agent);

    // Reading.
    assert_eq!(
        service.get("web/a").await.unwrap().unwrap().revision,
        operator.get("web/a").await.unwrap().unwrap().revision
    );
    refused(service.get("bank/a").await, "get");
    let page = service.range_all(KeyRange::prefix("web/"), Default::default());
    assert_eq!(page.await.unwrap().entries.len(), 4);
    refused(
        service.range(KeyRange::all(), Default::default()).await,
        "range",
    );
    let history = |key| service.history(key, HistoryOptions::default());
    assert_eq!(history("web/a").await.unwrap().versions.len(), 1);
    refused(history("bank/a").await, "history");
    let first = Revision::new(1).unwrap();
    let diff = |prefix: &'static str| service.diff(KeyRange::prefix(prefix), first, None);
    diff("web/").await.unwrap();
    refused(diff("bank/").await, "diff");
    let snapshot = || WatchOptions {
        snapshot: true,
        ..WatchOptions::default()
    };
    let mut watch = service.watch(KeyRange::prefix("web/"), snapshot());
    let item = watch.next().await.unwrap();
    assert!(
        matches!(&item, WatchItem::Reset { entries, .. } if entries.len() == 4),
        "{item:?}"
    );
    let outside = service
        .watch(KeyRange::prefix("bank/"), snapshot())
        .next()
        .await;
    assert!(
        matches!(outside, Err(WatchError::Denied { .. })),
        "{outside:?}"
    );
    assert_eq!(service.mirror("web/").await.unwrap().read().len(), 4);
    refused(service.mirror("bank/").await, "mirror");

    // Writing.
    service.put("web/w/a", "2").await.unwrap();
    not_written(service.put("web/a", "2").await, "put");
    service
        .transact(both("web/w/b", "web/w/c"), "")
        .await
        .unwrap();
    not_written(
        service.transact(both("web/w/b", "web/c"), "").await,
        "transact",
    );
    let delete = |range| service.delete_range(range, DeleteOptions::default());
    assert_eq!(
        delete(KeyRange::prefix("web/w/b")).await.unwrap().deleted,
        1
    );
    not_written(delete(KeyRange::prefix("web/")).await, "delete");
    let rollback = |prefix: &'static str| service.rollback(KeyRange::prefix(prefix), first, "");
    not_written(rollback("web/").await, "rollback");

    // Secrets.
    let secrets = service.secrets();
    let opened = secrets.reveal("web/s/password").await.unwrap();
    assert_eq!(opened.secret.expose(), b"hunter2");
    refused(secrets.reveal("web/password").await, "reveal");
    let put = |key| secrets.put_with(key, "x".to_owned(), SecretPutOptions::default());
    put("web/w/secret").await.unwrap();
    not_written(put("web/s/secret").await, "a secret");

    // The fleet, the cluster, and what is for operators.
    let reporter = service.reporter("one");
    let listed = service.fleet().list("web/").await.unwrap();
    assert!(listed.entries.is_empty());
    reporter.tell(Report::applied(Subject::config("web/"), 1));
    holdfast_tests::harness::wait::until("the report", LIMIT, || async {
        let fleet = service.fleet().list("web/").await.ok()?;
        (fleet.entries.len() == 1).then_some(())
    })
    .await
    .unwrap();
    refused(service.fleet().list("").await, "fleet");
    service.cluster().status().await.unwrap();
    assert_eq!(
        service.cluster().member_list().await.unwrap().members.len(),
        1
    );
    let locked = service.lock("web/w/lock", LockOptions::default()).await;
    let locked = locked.err().map(|error| format!("{error:?}")).unwrap();
    assert!(locked.contains("all = true"), "{locked}");
    refused(service.access().roles().await, "roles");
    refused(service.keyring().status().await, "keyring");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_goes_through_the_agent_and_the_audit_log_tells_who_asked() {
    let (cluster, operator) = cluster_of(1).await;
    put_secret(&cluster, &operator, "web/password", "hunter2").await;
    let agent = agent(&cluster, "agent", &[allow("all = true")]).await;
    let put = kvctl(&agent, &["put", "web/a", "1", "--type", "integer"]).await;
    put.success();
    assert_eq!(
        kvctl(&agent, &["-o", "raw", "get", "web/a"])
            .await
            .success()
            .trim(),
        "1"
    );
    assert!(
        kvctl(&agent, &["list", "web/"])
            .await
            .success()
            .contains("web/password")
    );
    let opened = kvctl(
        &agent,
        &[
            "-o",
            "raw",
            "secret",
            "get",
            "web/password",
            "--reason",
            "ticket 7",
        ],
    )
    .await;
    assert_eq!(opened.success(), "hunter2");
    assert!(
        kvctl(&agent, &["status"])
            .await
            .success()
            .contains("all is well")
    );
    let held = kvctl(&agent, &["lock", "web/lock", "--", "true"]).await;
    assert_eq!(held.code, Some(0), "{held:?}");
    kvctl(&agent, &["identity", "issue", "bob"])
        .await
        .fails(2, &["an agent has not", "--context"]);
    kvctl(&agent, &["get", "web/a", "--context", "c.toml"])
        .await
        .fails(2, &["name one of them"]);
    let told = program::kvctl(&cluster.context_file(), &["audit", "tail"])
        .await
        .success();
    let who = format!("uid {} (", crate::own_uid());
    assert!(
        told.lines()
            .any(|line| line.contains(&who) && line.contains("ticket 7")),
        "{told}"
    );
}

/// Who asks is no reason: a policy that wants one is not got round by going through the agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_wants_a_reason_wants_it_through_the_agent_too() {
    let (cluster, operator) = cluster_of(1).await;
    put_secret(&cluster, &operator, "web/password", "hunter2").await;
    let context = node_context(&cluster, &["list,read:web/", "reveal+reason:web/"]).await;
    let entry = allow("prefixes = [\"web/\"]\nreveal = true");
    let agent = agent_as(&cluster, "agent", &context, &[entry]).await;
    let service = service(&agent);
    let secrets = service.secrets();
    let wants_reason = |refused: ReadError| {
        let reason = Reason::ReasonRequired;
        let is_so = matches!(&refused, ReadError::Refused { reason: why, .. } if *why == reason);
        assert!(is_so, "{refused:?}");
    };
    wants_reason(secrets.reveal("web/password").await.unwrap_err());
    // A caller that has no time for an answer has not shown that servers give none.
    let at_hand = || agent.said().contains("is at hand");
    wait::until_true("the agent to have it", LIMIT, at_hand)
        .await
        .unwrap();
    let hurried = service.with_timeout(Duration::from_micros(200));
    for _ in 0..20 {
        let local = ReadOptions {
            consistency: Consistency::Local,
            ..ReadOptions::default()
        };
        let _ = hurried.get_with("web/password", local).await;
        let local = RevealOptions {
            consistency: Consistency::Local,
            ..RevealOptions::default()
        };
        wants_reason(
            secrets
                .reveal_with("web/password", local)
                .await
                .unwrap_err(),
        );
    }
    let options = RevealOptions {
        reason: "ticket 7".to_owned(),
        ..RevealOptions::default()
    };
    let opened = secrets.reveal_with("web/password", options).await.unwrap();
    assert_eq!(opened.secret.expose(), b"hunter2");
}
