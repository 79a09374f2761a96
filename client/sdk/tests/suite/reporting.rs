//! What a service tells the cluster it runs: the newest word, sooner or later, and never a value.

use std::time::Duration;

use holdfast_client::{Client, Config, ConfigBuilder, Report, Secret, Subject, default_instance};
use holdfast_proto::v1::{FleetReport, FleetState};
use serde::Deserialize;

use crate::{
    fake::{Cluster, Manner},
    until,
};

const SOON: Duration = Duration::from_secs(10);
const PASSWORD: &str = "hunter2-hunter2";

#[derive(Deserialize)]
struct Shop {
    number: u64,
    password: Option<Secret<String>>,
}

fn shop(client: &Client) -> ConfigBuilder<Shop> {
    client
        .config("shop/")
        .check_every(Duration::from_millis(100))
        .reveal("the service starts")
        .instance("web-1")
        .node("db7")
        .role("web")
}

/// The newest report that is of this state.
async fn reported(cluster: &Cluster, what: &str, is: impl Fn(&FleetReport) -> bool) -> FleetReport {
    until(what, async || {
        cluster.shared.world().reports.last().is_some_and(&is)
    })
    .await;
    cluster.shared.world().reports.last().unwrap().clone()
}

fn applied(prefix: &str, revision: u64) -> Report {
    Report::applied(Subject::config(prefix), revision)
}

#[tokio::test]
async fn a_configuration_tells_what_it_took_and_what_it_refused_and_why() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let first = client.put("shop/number", "1").await.unwrap().revision.get();
    let config = shop(&client).open().await.unwrap();
    let report = reported(&cluster, "it is reported", |_| true).await;
    assert_eq!(report.state(), FleetState::Applied);
    assert_eq!((&report.prefix[..], &*report.set), (&b"shop/"[..], ""));
    assert_eq!((&*report.instance, &*report.node), ("web-1", "db7"));
    assert_eq!((report.revision, report.offered), (first, 0));
    assert_eq!(report.roles, ["web"]);
    assert!(report.is_current && report.age_ms < 5_000, "{report:?}");

    let bad = client.put("shop/number", "none-of-your-business").await;
    let bad = bad.unwrap().revision.get();
    assert!(config.wait_for(bad, SOON).await);
    let report = reported(&cluster, "it was refused", |report| {
        report.state() == FleetState::Rejected
    })
    .await;
    assert_eq!((report.revision, report.offered), (first, bad));
    assert_eq!(report.detail, "number: expected u64, found text");

    let good = client.put("shop/number", "2").await.unwrap().revision.get();
    let report = reported(&cluster, "it was taken", |report| {
        report.state() == FleetState::Applied
    })
    .await;
    assert_eq!((report.revision, &*report.detail), (good, ""));
    assert_eq!(config.load().number, 2);
}

#[tokio::test]
async fn a_service_that_does_not_start_says_why() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let revision = client.put("shop/number", "x").await.unwrap().revision.get();
    assert!(shop(&client).open().await.is_err());
    // It was waited for: the process may end now.
    let report = cluster.shared.world().reports.last().unwrap().clone();
    assert_eq!(report.state(), FleetState::Rejected);
    assert_eq!((report.revision, report.offered), (0, revision));
    assert_eq!(report.detail, "number: expected u64, found text");
}

#[tokio::test]
async fn a_secret_that_takes_long_to_open_is_reported_as_pending_and_never_itself() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    client.put("shop/number", "1").await.unwrap();
    let config: Config<Shop> = shop(&client).open().await.unwrap();
    let secrets = client.secrets();
    secrets
        .put("shop/password", PASSWORD.to_owned())
        .await
        .unwrap();
    until("it is open", async || {
        let shop = config.load();
        shop.password
            .as_ref()
            .is_some_and(|it| it.expose() == PASSWORD)
    })
    .await;
    // Nobody opens the next one, and the cluster does not say that nobody may.
    cluster.shared.world().reveals_hang = true;
    let written = secrets
        .put("shop/password", format!("{PASSWORD}!"))
        .await
        .unwrap();
    let report = reported(&cluster, "it waits", |report| {
        report.state() == FleetState::Pending
    })
    .await;
    assert_eq!(report.offered, written.revision.get());
    assert_eq!(config.status().pending, Some(report.offered));
    cluster.shared.world().reveals_hang = false;
    reported(&cluster, "it is open", |report| {
        report.state() == FleetState::Applied && report.revision >= written.revision.get()
    })
    .await;
    assert_eq!(config.status().pending, None);
    // A number in its place, which the type refuses.
    secrets
        .put("shop/number", PASSWORD.to_owned())
        .await
        .unwrap();
    reported(&cluster, "it is refused", |report| {
        report.state() == FleetState::Rejected
    })
    .await;
    let all = format!("{:?}", cluster.shared.world().reports);
    assert!(!all.contains("hunter2"), "{all}");
}

#[tokio::test]
async fn many_words_in_a_row_are_told_as_one_and_no_word_waits_for_another() {
    let cluster = Cluster::start(1);
    cluster.all(Manner::Silent);
    let client = cluster.client(|options| options.attempt_timeout = Duration::from_millis(300));
    let reporter = client.reporter("web-1");
    for revision in 1..=1_000 {
        reporter.tell(applied("shop/", revision));
        reporter.tell(applied("billing/", revision));
    }
    assert_eq!(reporter.status().unsent, 2);
    assert!(cluster.shared.world().reports.is_empty());
    cluster.all(Manner::Well);
    assert!(reporter.sent(SOON).await);
    let reports = cluster.shared.world().reports.clone();
    let newest = reports.iter().filter(|report| report.revision == 1_000);
    assert_eq!(newest.count(), 2);
    assert!(reports.len() <= 4, "{reports:?}");
}

#[tokio::test]
async fn what_was_told_while_every_server_was_down_is_sent_when_one_is_back() {
    let mut cluster = Cluster::start(1);
    // So that attempts fail for good in between.
    let client = cluster.client(|options| options.request_timeout = Duration::from_millis(200));
    let reporter = client.reporter("web-1");
    reporter.tell(applied("shop/", 1));
    assert!(reporter.sent(SOON).await);
    cluster.nodes[0].kill();
    reporter.tell(applied("shop/", 2));
    reporter.tell(applied("shop/", 3));
    let told = std::time::Instant::now();
    assert!(!reporter.sent(Duration::from_millis(600)).await);
    assert_eq!(reporter.status().unsent, 1);
    cluster.nodes[0].restart();
    assert!(reporter.sent(SOON).await);
    let report = cluster.shared.world().reports.last().unwrap().clone();
    assert_eq!(report.revision, 3);
    let held = Duration::from_millis(report.held_ms);
    assert!(held >= Duration::from_millis(600) && held <= told.elapsed());
}

#[tokio::test]
async fn a_cluster_that_takes_no_reports_disturbs_nobody_and_is_told_of() {
    let cluster = Cluster::start(1);
    cluster.shared.world().no_reports = "there is no room".to_owned();
    let client = cluster.client(|_| {});
    client.put("shop/number", "1").await.unwrap();
    let config = shop(&client).open().await.unwrap();
    until("the refusal is seen", async || {
        config.status().report_problem.as_deref() == Some("there is no room")
    })
    .await;
    let written = client.put("shop/number", "2").await.unwrap();
    assert!(config.wait_for(written.revision.get(), SOON).await);
    assert_eq!(config.load().number, 2);
}

#[tokio::test]
async fn it_ends_with_its_configuration_and_says_nothing_where_it_is_not_wanted() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    client.put("shop/number", "1").await.unwrap();
    let quiet = shop(&client).without_reports().open().await.unwrap();
    let loud = client.config::<Shop>("shop/").open().await.unwrap();
    let report = reported(&cluster, "the other one reports", |_| true).await;
    assert_eq!(report.instance, default_instance(None));
    let reporter = client.reporter("web-2");
    drop(loud);
    let before = cluster.shared.world().reports.len();
    let written = client.put("shop/number", "2").await.unwrap();
    assert!(quiet.wait_for(written.revision.get(), SOON).await);
    // What is told now arrives; what the other two would say would have come before.
    reporter.tell(applied("end/", 1));
    assert!(reporter.sent(SOON).await);
    assert_eq!(cluster.shared.world().reports.len(), before + 1);
}
