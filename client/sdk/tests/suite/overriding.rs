//! Emergency overrides: counted, alarmed and ended while a service runs, with or without servers.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use holdfast_client::{
    Client, ClientOptions, Config, ConfigBuilder, ConfigError, Context, Layer, Origin, Override,
    OverrideFormat, OverrideTerms, Secret, StartPolicy,
};
use serde::Deserialize;

use crate::{fake::Cluster, until};

const SOON: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Debug, Deserialize)]
struct Shop {
    number: u64,
    host: String,
}

/// A cluster called `home`, whose administrator is `client/admin`, and a service of it.
struct Home {
    cluster: Cluster,
    client: Client,
    folder: tempfile::TempDir,
}

impl Home {
    async fn new() -> Self {
        let cluster = Cluster::start(1);
        cluster.shared.world().administrators = vec!["client/admin".to_owned()];
        let client = cluster.client_of("home", ClientOptions::default());
        client.put("shop/number", "1").await.unwrap();
        client.put("shop/host", "db-1").await.unwrap();
        client.put("shop/number@node:db7", "7").await.unwrap();
        Self {
            cluster,
            client,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("override")
    }

    fn builder(&self) -> ConfigBuilder<Shop> {
        self.client
            .config("shop/")
            .node("db7")
            .check_every(Duration::from_millis(100))
            .cache_with_key(self.folder.path().join("cache"), Secret::new([7; 32]))
            .start(StartPolicy::ServerThenCache {
                wait: Duration::from_millis(300),
            })
            .override_file(self.file())
            .override_authority(include_bytes!("trust/ca.crt").to_vec())
    }

    async fn open(&self) -> Config<Shop> {
        self.builder().open().await.unwrap()
    }

    /// Signs fields as `client/admin`, and puts the file in its place.
    fn place(&self, lifetime: Duration, fields: &str) {
        replace(&self.file(), &signed(lifetime, fields));
    }

    fn kill(&mut self) {
        self.cluster.nodes.iter_mut().for_each(|node| node.kill());
    }
}

fn signed(lifetime: Duration, fields: &str) -> String {
    let context = Context {
        cluster: "home".to_owned(),
        endpoints: Vec::new(),
        ca: include_bytes!("trust/ca.crt").to_vec(),
        cert: include_bytes!("trust/client.crt").to_vec(),
        key: include_bytes!("trust/client.key").to_vec(),
        ..Context::default()
    };
    let terms = OverrideTerms {
        prefix: "shop/".to_owned(),
        lifetime,
        reason: "the database moved".to_owned(),
    };
    let now = SystemTime::now();
    Override::sign(&context, &terms, OverrideFormat::Toml, fields, now).unwrap()
}

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

async fn number_is(config: &Config<Shop>, number: u64) {
    let what = format!("the number is {number}: {:?}", config.status());
    until(&what, async || config.load().number == number).await;
}

async fn problem(config: &Config<Shop>, word: &str) {
    until(word, async || {
        let problem = config.status().override_problem;
        problem.is_some_and(|problem| problem.contains(word))
    })
    .await;
}

#[tokio::test]
async fn an_override_counts_more_than_the_node_is_alarmed_and_ends_by_itself() {
    let home = Home::new().await;
    let config = home.open().await;
    assert_eq!(config.load().number, 7);
    let mut changes = config.subscribe();
    home.place(Duration::from_secs(4), "number = 42\n");
    number_is(&config, 42).await;
    assert_eq!(config.load().host, "db-1", "the rest is the store's");
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let status = config.status();
    let in_use = status.override_in_use.unwrap();
    assert_eq!(
        (in_use.signer(), in_use.reason()),
        ("client/admin", "the database moved")
    );
    assert_eq!(status.override_problem, None);
    let explained = config.explain("number").unwrap();
    assert_eq!(
        (explained.layer, &*explained.author),
        (Layer::Override, "client/admin")
    );
    until("it is reported", async || {
        let world = home.cluster.shared.world();
        let over = world
            .reports
            .last()
            .and_then(|report| report.r#override.clone());
        over.is_some_and(|over| over.signer == "client/admin" && over.reason == in_use.reason())
    })
    .await;
    // The store goes on below it.
    let written = home.client.put("shop/host", "db-2").await.unwrap();
    assert!(config.wait_for(written.revision.get(), SOON).await);
    assert_eq!((config.load().number, &*config.load().host), (42, "db-2"));

    number_is(&config, 7).await;
    assert!(SystemTime::now() >= in_use.expires());
    assert!(changes.has_changed().unwrap());
    assert_eq!(config.status().override_in_use, None);
    problem(&config, "ran out").await;
    assert_eq!(
        config.explain("number").unwrap().layer,
        Layer::Node("db7".to_owned())
    );
    until("it is reported", async || {
        let world = home.cluster.shared.world();
        world
            .reports
            .last()
            .is_some_and(|report| report.r#override.is_none())
    })
    .await;
}

#[tokio::test]
async fn it_works_while_every_server_is_down_and_from_the_start_of_a_service() {
    let mut home = Home::new().await;
    let config = home.open().await;
    until("the administrators are known, and kept", async || {
        config.status().cached == config.status().revision
    })
    .await;
    // Who is an administrator is kept with the configuration: learn it before all is gone.
    home.place(HOUR, "number = 41\n");
    number_is(&config, 41).await;
    until("it is kept", async || {
        config.status().cache_problem.is_none()
    })
    .await;
    drop(config);
    let config = home.open().await;
    home.kill();
    home.place(HOUR, "number = 42\n");
    number_is(&config, 42).await;
    drop(config);

    let config = home.open().await;
    assert_eq!(config.status().origin, Origin::Disk);
    assert_eq!(config.load().number, 42, "{:?}", config.status());
    fs::remove_file(home.file()).unwrap();
    number_is(&config, 7).await;
    assert_eq!(config.status().override_problem, None);
}

#[tokio::test]
async fn a_file_that_is_refused_changes_nothing_and_is_named() {
    let home = Home::new().await;
    let config = home.open().await;
    let good = signed(HOUR, "number = 42\n");
    replace(&home.file(), &good.replace("42", "43"));
    problem(&config, "was changed after client/admin signed it").await;
    assert_eq!(config.load().number, 7);
    replace(&home.file(), &good);
    number_is(&config, 42).await;
    assert_eq!(config.status().override_problem, None);

    // Half of one, and one that does not fit the type: what counted goes on.
    replace(&home.file(), &good[..good.len() / 2]);
    problem(&config, "no emergency override").await;
    assert_eq!(config.load().number, 42);
    home.place(HOUR, "number = \"hunter2\"\n");
    problem(&config, "number: expected u64, found text").await;
    let status = config.status();
    assert_eq!((config.load().number, status.rejected), (42, None));
    assert!(!format!("{:?}", config.status()).contains("hunter2"));
    // The store still moves on below it.
    let written = home.client.put("shop/host", "db-2").await.unwrap();
    assert!(config.wait_for(written.revision.get(), SOON).await);
    assert_eq!((config.load().number, &*config.load().host), (42, "db-2"));
}

#[tokio::test]
async fn who_is_an_administrator_no_more_has_no_override_any_more() {
    let home = Home::new().await;
    home.cluster.shared.world().administrators = vec!["client/other".to_owned()];
    home.place(HOUR, "number = 42\n");
    let config = home.open().await;
    problem(&config, "was no administrator").await;
    assert_eq!(config.load().number, 7);
    drop(config);
    home.cluster
        .shared
        .world()
        .administrators
        .push("client/admin".to_owned());
    let config = home.open().await;
    number_is(&config, 42).await;
}

#[tokio::test]
async fn a_service_that_knows_no_authority_says_so_before_it_is_too_late() {
    let home = Home::new().await;
    let config = home.client.config::<Shop>("shop/");
    let refused = config.override_file(home.file()).open().await;
    assert_eq!(refused.err(), Some(ConfigError::OverrideAuthority));
}

#[tokio::test]
async fn an_override_can_mend_what_the_store_has_and_stays_if_nothing_is_left_without_it() {
    let home = Home::new().await;
    let config = home.open().await;
    home.client
        .put("shop/number@node:db7", "seven")
        .await
        .unwrap();
    until("it is refused", async || config.status().rejected.is_some()).await;
    home.place(Duration::from_secs(4), "number = 42\n");
    number_is(&config, 42).await;
    assert_eq!(config.status().rejected, None, "it fits now");
    until("it has run out", async || {
        config.status().rejected.is_some()
    })
    .await;
    problem(&config, "still in use").await;
    assert_eq!(config.load().number, 42);
}

#[tokio::test]
async fn what_is_kept_on_disk_is_a_whole_configuration_without_the_override() {
    let mut home = Home::new().await;
    let config = home.open().await;
    let kept = config.status().revision;
    until("it is kept", async || config.status().cached == kept).await;
    let broken = home.client.put("shop/number@node:db7", "seven").await;
    let broken = broken.unwrap().revision.get();
    until("it is refused", async || config.status().rejected.is_some()).await;
    home.place(HOUR, "number = 42\n");
    number_is(&config, 42).await;
    assert!(config.status().revision >= broken);
    drop(config);
    home.kill();
    fs::remove_file(home.file()).unwrap();
    let config = home.open().await;
    assert_eq!((config.load().number, config.status().revision), (7, kept));
}

#[tokio::test]
async fn a_service_starts_although_the_override_that_lies_there_does_not_fit() {
    let home = Home::new().await;
    home.place(HOUR, "number = \"x\"\n");
    let config = home.open().await;
    assert_eq!(config.load().number, 7);
    problem(&config, "number: expected u64, found text").await;
    home.place(HOUR, "number = 42\n");
    number_is(&config, 42).await;
    assert_eq!(config.status().override_problem, None);
}
