//! Who runs what, as the cluster has it: through the loss of a leader, of the services and of all
//! nodes, and without a revision.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{path::Path, time::Duration};

use holdfast_client::{
    Client, ClientOptions, Config, Context, Fleet, FleetEntry, ForgetOptions, ReadError, Report,
    Standing, StartPolicy, Subject, WriteError,
};
use holdfast_tests::harness::{
    Cluster, http,
    program::{asked, kvctl},
    wait,
};
use serde::Deserialize;

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Shop {
    number: u64,
}

async fn open(client: &Client, instance: &str) -> Config<Shop> {
    let shop = client.config("shop/").instance(instance);
    shop.open().await.unwrap()
}

/// The list, once it is as it should be.
async fn listed(client: &Client, what: &str, is: impl Fn(&Fleet) -> bool) -> Fleet {
    wait::until(what, LIMIT, || async {
        let fleet = client.fleet().list("shop/").await.ok()?;
        is(&fleet).then_some(fleet)
    })
    .await
    .unwrap()
}

fn of<'a>(fleet: &'a Fleet, instance: &str) -> Option<&'a FleetEntry> {
    let mut entries = fleet.entries.iter();
    entries.find(|entry| entry.instance == instance)
}

fn stands(fleet: &Fleet, instance: &str, standing: Standing) -> bool {
    of(fleet, instance).is_some_and(|entry| entry.standing() == standing)
}

async fn revision(client: &Client) -> u64 {
    client.cluster().status().await.unwrap().revision
}

/// A client of another name, who may do what this role lets it do.
async fn issued(cluster: &Cluster, name: &str, role: &[&str]) -> Client {
    let admin = cluster.context_file();
    let folder = cluster.folder().join(name);
    let folder = folder.to_str().unwrap();
    let set = [&["role", "set", name][..], role].concat();
    kvctl(&admin, &set).await.success();
    let issue = ["identity", "issue", name, "--role", name, "--out", folder];
    let issued = asked(&admin, &issue).await;
    let context = Context::load(issued["context"].as_str().unwrap()).unwrap();
    Client::lazy(&context, ClientOptions::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_outlives_leaders_services_and_restarts_and_takes_no_revision() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    let first = client.put("shop/number", "1").await.unwrap().revision.get();
    let (one, two) = (open(&client, "one").await, open(&client, "two").await);
    let all_well = |fleet: &Fleet| {
        stands(fleet, "one", Standing::Applied) && stands(fleet, "two", Standing::Applied)
    };
    listed(&client, "both to report", all_well).await;
    assert_eq!(revision(&client).await, first, "a report took a revision");

    // What one refuses is seen, with the reason, and what it goes on with.
    let refused = client.put("shop/number", "many").await.unwrap();
    let refused = refused.revision.get();
    let fleet = listed(&client, "the refusal", |fleet| {
        stands(fleet, "one", Standing::Rejected) && stands(fleet, "two", Standing::Rejected)
    })
    .await;
    let entry = of(&fleet, "one").unwrap();
    assert_eq!(entry.identity, "client/admin");
    assert_eq!(
        (entry.report.revision, entry.report.offered),
        (first, refused)
    );
    assert_eq!(entry.report.detail, "number: expected u64, found text");
    let table = kvctl(&cluster.context_file(), &["fleet", "shop/"]).await;
    let table = table.success();
    let row = table.lines().nth(1).unwrap();
    for word in [
        "rejected",
        "shop/",
        "one",
        "not",
        "expected u64, found text",
    ] {
        assert!(row.contains(word), "{word}: {table}");
    }
    let check = kvctl(&cluster.context_file(), &["fleet", "--check"]).await;
    assert_eq!(check.code, Some(1));

    // The leader dies: the list is still there, and goes on.
    let leader = cluster.leader(&client).await.unwrap();
    cluster.kill(leader);
    let fleet = listed(&client, "the list of another leader", |_| true).await;
    assert_eq!(fleet.entries.len(), 2);
    let second = client.put("shop/number", "2").await.unwrap().revision.get();
    listed(&client, "the new one to be used", all_well).await;
    assert_eq!(one.load().number, 2);
    assert_eq!(revision(&client).await, second);
    let through = cluster.context_file_through((leader + 1) % 3).unwrap();
    let check = kvctl(&through, &["fleet", "--check"]).await;
    assert_eq!(check.code, Some(0), "{check:?}");

    // So is what services said that are gone, when all nodes were gone, too.
    drop((one, two));
    cluster.kill_all();
    cluster.mend().unwrap();
    let fleet = listed(&client, "the list after all", |_| true).await;
    let heard = |name| of(&fleet, name).map(|entry| entry.report.revision);
    assert_eq!((heard("one"), heard("two")), (Some(second), Some(second)));
    cluster.wait_until_whole().await.unwrap();

    let gone = ForgetOptions {
        instance: Some("one".to_owned()),
        ..ForgetOptions::default()
    };
    assert_eq!(client.fleet().forget("shop/", gone).await.unwrap(), 1);
    let fleet = client.fleet().list("").await.unwrap();
    assert!(of(&fleet, "one").is_none() && of(&fleet, "two").is_some());
    assert_eq!(revision(&client).await, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_say_at_once_is_a_few_entries_of_the_log() {
    let cluster = Cluster::of(1).await.unwrap();
    let client = cluster.client().await.unwrap();
    let log_last = async || client.cluster().status().await.unwrap().log_last;
    let before = log_last().await;
    let reporters: Vec<_> = (0..1_000)
        .map(|number| {
            let reporter = client.reporter(format!("instance-{number}"));
            reporter.tell(Report::applied(Subject::config("shop/"), 1));
            reporter
        })
        .collect();
    for reporter in &reporters {
        assert!(reporter.sent(LIMIT).await, "{reporter:?}");
    }
    let fleet = client.fleet().list("shop/").await.unwrap();
    assert_eq!(fleet.entries.len(), 1_000);
    let entries = log_last().await - before;
    assert!(entries <= 100, "{entries} entries for 1000 reports");
    let metrics = http::page(cluster.http(0), "/metrics").await.unwrap();
    assert!(metrics.contains("holdfast_store_fleet_reports 1000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_read_reports_who_may_list_sees_it_and_who_may_delete_has_it_forgotten() {
    let cluster = Cluster::of(1).await.unwrap();
    let admin = cluster.client().await.unwrap();
    admin.put("shop/number", "1").await.unwrap();
    let shop = issued(&cluster, "shop", &["--allow", "list,read:shop/"]).await;
    let reporter = shop.reporter("one");
    reporter.tell(Report::applied(Subject::config("shop/"), 1));
    reporter.tell(Report::applied(Subject::config("billing/"), 1));
    assert!(reporter.sent(LIMIT).await);
    let problem = reporter.status().problem.unwrap();
    assert!(problem.contains("may not read"), "{problem}");
    let fleet = admin.fleet().list("").await.unwrap();
    let [entry] = &fleet.entries[..] else {
        panic!("{fleet:?}");
    };
    assert_eq!(
        entry.identity, "client/shop",
        "the certificate says who it is"
    );
    assert_eq!(entry.report.subject, Subject::config("shop/"));

    let seen = shop.fleet().list("shop/").await.unwrap();
    assert_eq!(seen.entries.len(), 1);
    let denied = shop.fleet().list("").await.unwrap_err();
    assert!(matches!(denied, ReadError::Denied { .. }), "{denied:?}");
    let other = issued(&cluster, "other", &["--allow", "list,read:shop/"]).await;
    let forget = || ForgetOptions::default();
    let denied = other.fleet().forget("shop/", forget()).await.unwrap_err();
    assert!(matches!(denied, WriteError::Denied { .. }), "{denied:?}");
    let own = ForgetOptions {
        identity: Some("client/shop".to_owned()),
        ..forget()
    };
    let denied = other.fleet().forget("", own.clone()).await.unwrap_err();
    assert!(matches!(denied, WriteError::Denied { .. }), "{denied:?}");
    assert_eq!(shop.fleet().forget("", own).await.unwrap(), 1);

    assert_eq!(
        other.fleet().administrators().await.unwrap(),
        ["client/admin"]
    );
}

/// Signed with the operator's own key while no server runs, put beside a service that a restart found
/// without any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_overrides_a_setting_while_every_server_is_down() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    client.put("shop/number", "1").await.unwrap();
    let shop = issued(&cluster, "shop", &["--allow", "list,read:shop/"]).await;
    let place = cluster.folder().join("override");
    let cache = cluster.folder().join("cache");
    let open = async || {
        let config = shop.config::<Shop>("shop/").instance("one").cache(&cache);
        let start = StartPolicy::ServerThenCache {
            wait: Duration::from_secs(2),
        };
        let config = config.override_file(&place).start(start);
        config.open().await.unwrap()
    };
    let config = open().await;
    // Not before it knows, and keeps, whose signature counts.
    let fields = cluster.folder().join("fields.toml");
    let fields = fields.to_str().unwrap();
    let admin = cluster.context_file();
    let sign = async |number: u64, context: &Path| {
        std::fs::write(fields, format!("number = {number}\n")).unwrap();
        let terms = [
            "--prefix",
            "shop/",
            "--expires",
            "1h",
            "--reason",
            "it moved",
        ];
        let sign = [&["override", "sign", fields][..], &terms[..]].concat();
        let text = kvctl(context, &sign).await.success();
        let new = place.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &place).unwrap();
    };
    sign(41, &admin).await;
    let number_is = async |config: &Config<Shop>, number: u64| {
        let what = format!("the number to be {number}: {config:?}");
        let is = || config.load().number == number;
        wait::until_true(&what, LIMIT, is).await.unwrap();
    };
    number_is(&config, 41).await;
    let fleet = listed(&client, "the alarm", |fleet| {
        stands(fleet, "one", Standing::Overridden)
    })
    .await;
    let told = of(&fleet, "one").unwrap().report.override_in_use.clone();
    let told = told.unwrap();
    assert_eq!((&*told.signer, &*told.reason), ("client/admin", "it moved"));
    let table = kvctl(&admin, &["fleet"]).await.success();
    assert!(
        table.contains("EMERGENCY OVERRIDE by client/admin"),
        "{table}"
    );
    let status = kvctl(&admin, &["status"]).await;
    let alarm = "one instance uses an emergency override";
    assert!(status.stdout.contains(alarm), "{status:?}");
    let explained = kvctl(&admin, &["explain", "shop/number"]).await;
    assert!(
        explained.stderr.contains("one uses an emergency override"),
        "{explained:?}"
    );

    cluster.kill_all();
    drop(config);
    let config = open().await;
    assert_eq!(config.load().number, 41);
    sign(42, &admin).await;
    number_is(&config, 42).await;
    // Who has a certificate of the cluster is not an administrator for that.
    let own = cluster.folder().join("shop/shop.toml");
    sign(43, &own).await;
    let refused = || {
        let problem = config.status().override_problem;
        problem.is_some_and(|problem| problem.contains("client/shop signed it, who was no admin"))
    };
    wait::until_true("the refusal", LIMIT, refused)
        .await
        .unwrap();
    assert_eq!(config.load().number, 42);
    std::fs::remove_file(&place).unwrap();
    number_is(&config, 1).await;
}

/// `cargo test --workspace --features holdfast-tests/faults --test fleet`
#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_silent_for_three_minutes_is_stale_and_forgotten_after_a_month() {
    let mut cluster = Cluster::of(1).await.unwrap();
    let client = cluster.client().await.unwrap();
    client.put("shop/number", "1").await.unwrap();
    let (one, two) = (open(&client, "one").await, open(&client, "two").await);
    listed(&client, "both to report", |fleet| fleet.entries.len() == 2).await;
    drop(one);
    let mut passes = |seconds: u64| {
        cluster.stop(0).unwrap();
        cluster.afflict(0, "HOLDFAST_CLOCK_AHEAD_S", seconds.to_string());
        cluster.run(0).unwrap();
    };
    passes(170);
    let fleet = listed(&client, "the list", |_| true).await;
    assert!(!stands(&fleet, "one", Standing::Stale), "{fleet:?}");
    passes(200);
    client.put("shop/number", "2").await.unwrap();
    let fleet = listed(&client, "the one that went on to be heard", |fleet| {
        stands(fleet, "two", Standing::Applied)
    })
    .await;
    assert!(stands(&fleet, "one", Standing::Stale), "{fleet:?}");
    let entry = of(&fleet, "one").unwrap();
    assert!(entry.heard > Duration::from_secs(190), "{entry:?}");
    drop(two);
    passes(31 * 24 * 60 * 60);
    // Cluster time moves with what is written, or a minute after that.
    client.put("shop/number", "3").await.unwrap();
    listed(&client, "both to be forgotten", |fleet| {
        fleet.entries.is_empty()
    })
    .await;
}
