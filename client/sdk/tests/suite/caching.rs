//! Starting without any server: with what was taken last, and with nothing that was tampered with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_client::{
    Client, Config, ConfigBuilder, ConfigError, Origin, Secret, StartPolicy, Value,
};
use serde::Deserialize;

use crate::{fake::Cluster, until};

const SOON: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
struct Shop {
    name: String,
    password: Secret<String>,
}

fn builder(client: &Client, folder: &Path, key: u8) -> ConfigBuilder<Shop> {
    client
        .config("shop/")
        .check_every(Duration::from_millis(100))
        .reveal("the service starts")
        .cache_with_key(folder, Secret::new([key; 32]))
        .start(StartPolicy::ServerThenCache {
            wait: Duration::from_millis(300),
        })
}

async fn open(client: &Client, folder: &Path) -> Result<Config<Shop>, ConfigError> {
    builder(client, folder, 7).open().await
}

/// A folder with a cache of what is there, and every server gone.
async fn kept(cluster: &mut Cluster) -> (Client, tempfile::TempDir) {
    let client = cluster.client(|_| {});
    let folder = tempfile::tempdir().unwrap();
    client.put("shop/name", "one").await.unwrap();
    let secrets = client.secrets();
    secrets
        .put("shop/password", "hunter2".to_owned())
        .await
        .unwrap();
    let config = open(&client, folder.path()).await.unwrap();
    marked(folder.path()).await;
    assert_eq!(config.status().cache_problem, None);
    drop(config);
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    (client, folder)
}

/// Waits until something is kept.
async fn marked(folder: &Path) {
    until("it is kept", async || file(folder, "mark").is_some()).await;
}

fn file(folder: &Path, extension: &str) -> Option<PathBuf> {
    let mut files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some_and(|found| found == extension))
}

#[tokio::test]
async fn a_service_starts_without_any_server_with_what_was_taken_last() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    let config = open(&client, folder.path()).await.unwrap();
    assert_eq!(config.load().name, "one");
    assert_eq!(config.load().password.expose(), "hunter2");
    let status = config.status();
    assert_eq!(status.origin, Origin::Disk);
    assert!(status.age < Duration::from_secs(30), "{status:?}");
    let older = status.age + Duration::from_millis(50);
    until("it is older", async || config.status().age > older).await;

    // The servers come back, with something new: it is taken, and kept.
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    let written = client.put("shop/name", "two").await.unwrap().revision;
    assert!(
        config
            .wait_for(written.get(), Duration::from_secs(15))
            .await
    );
    assert_eq!(config.load().name, "two");
    assert_eq!(config.status().origin, Origin::Cache);
    let again = client.put("shop/name", "three").await.unwrap().revision;
    assert!(config.wait_for(again.get(), SOON).await);
    until("it is kept", async || config.status().cached == again.get()).await;
    drop(config);
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    let config = open(&client, folder.path()).await.unwrap();
    assert_eq!(config.load().name, "three");
}

#[tokio::test]
async fn a_cache_that_was_tampered_with_is_refused_and_repaired() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    let cache = file(folder.path(), "cache").unwrap();
    let whole = fs::read(&cache).unwrap();
    let mark = fs::read(file(folder.path(), "mark").unwrap()).unwrap();
    let refused = async |what: &str| match open(&client, folder.path()).await {
        Err(ConfigError::Offline { cache, .. }) => cache,
        other => panic!("{what}: {other:?}"),
    };
    for place in (0..whole.len()).step_by(whole.len() / 23) {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        fs::write(&cache, changed).unwrap();
        refused("a bit was flipped").await;
        fs::write(&cache, &whole[..place]).unwrap();
        refused("it was cut off").await;
    }
    fs::write(&cache, [&whole[..], b"x"].concat()).unwrap();
    refused("it was made longer").await;
    fs::write(&cache, &mark).unwrap();
    refused("the mark is no cache").await;
    fs::write(&cache, &whole).unwrap();
    fs::remove_file(file(folder.path(), "mark").unwrap()).unwrap();
    refused("without its mark nobody knows whether it is the newest").await;

    // With a server it is replaced.
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    let config = open(&client, folder.path()).await.unwrap();
    marked(folder.path()).await;
    drop(config);
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    assert_eq!(
        open(&client, folder.path()).await.unwrap().load().name,
        "one"
    );
}

#[tokio::test]
async fn an_older_cache_that_is_put_back_is_noticed() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    let cache = file(folder.path(), "cache").unwrap();
    let older = fs::read(&cache).unwrap();
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    let config = open(&client, folder.path()).await.unwrap();
    until("a newer one is kept", async || {
        fs::read(&cache).unwrap() != older
    })
    .await;
    let mark = file(folder.path(), "mark").unwrap();
    let before = fs::read(&mark).unwrap();
    until("it is marked", async || fs::read(&mark).unwrap() != before).await;
    drop(config);
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    fs::write(&cache, &older).unwrap();
    let error = open(&client, folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("an older one was put back"), "{error}");
}

#[tokio::test]
async fn a_cache_opens_for_its_own_cluster_prefix_and_key_alone() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    let other_key = builder(&client, folder.path(), 8).open().await;
    assert!(
        matches!(other_key, Err(ConfigError::Offline { .. })),
        "{other_key:?}"
    );
    // Under the name of another prefix's.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = client
        .config::<BTreeMap<String, String>>("mall/")
        .cache_with_key(elsewhere.path(), Secret::new([7; 32]))
        .start(StartPolicy::CacheThenServer { max_age: SOON });
    let none = tokio::time::timeout(Duration::from_millis(200), other.open()).await;
    assert!(none.is_err(), "there is nothing to start with: {none:?}");
    let lock = file(elsewhere.path(), "lock").unwrap();
    for extension in ["cache", "mark"] {
        fs::copy(
            file(folder.path(), extension).unwrap(),
            lock.with_extension(extension),
        )
        .unwrap();
    }
    let moved = client
        .with_timeout(Duration::from_millis(200))
        .config::<BTreeMap<String, String>>("mall/")
        .cache_with_key(elsewhere.path(), Secret::new([7; 32]))
        .open()
        .await;
    assert!(
        matches!(moved, Err(ConfigError::Offline { .. })),
        "{moved:?}"
    );
    // Nothing of it is there for all to read.
    for extension in ["cache", "mark"] {
        let bytes = fs::read(file(folder.path(), extension).unwrap()).unwrap();
        for word in ["hunter2", "shop", "name"] {
            let found = bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes());
            assert!(!found, "{word} in the {extension}");
        }
    }
}

#[tokio::test]
async fn the_start_policy_decides_between_server_and_cache() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    let only = builder(
        &client.with_timeout(Duration::from_millis(200)),
        folder.path(),
        7,
    )
    .start(StartPolicy::ServerOnly)
    .open()
    .await;
    assert!(matches!(only, Err(ConfigError::Read { .. })), "{only:?}");
    let young = builder(&client, folder.path(), 7).start(StartPolicy::CacheThenServer {
        max_age: Duration::from_secs(60),
    });
    assert_eq!(young.open().await.unwrap().load().name, "one");
    let old = builder(
        &client.with_timeout(Duration::from_millis(200)),
        folder.path(),
        7,
    )
    .start(StartPolicy::CacheThenServer {
        max_age: Duration::ZERO,
    });
    let refused = old.open().await.unwrap_err().to_string();
    assert!(
        refused.contains("longer than the 0ns that are allowed"),
        "{refused}"
    );
}

/// A new version of the service wants what the one before did not know.
#[tokio::test]
async fn a_cache_that_does_not_fit_any_more_is_no_reason_not_to_ask_the_servers() {
    #[derive(Debug, Deserialize)]
    struct Newer {
        currency: String,
    }
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    let newer = || {
        client
            .config::<Newer>("shop/")
            .reveal("the service starts")
            .cache_with_key(folder.path(), Secret::new([7; 32]))
            .start(StartPolicy::CacheThenServer {
                max_age: Duration::from_secs(60),
            })
    };
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    client.put("shop/currency", "EUR").await.unwrap();
    assert_eq!(newer().open().await.unwrap().load().currency, "EUR");
}

/// A cluster that has nothing usable is no reason to fall over: what was taken last still is.
#[tokio::test]
async fn a_state_that_is_not_taken_at_the_start_leaves_the_last_one_that_was() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    client.put("shop/name", Value::Integer(5)).await.unwrap();
    let config = open(&client, folder.path()).await.unwrap();
    assert_eq!(config.load().name, "one");
    until("it is told", async || config.status().rejected.is_some()).await;
    let error = config.status().rejected.unwrap().error.to_string();
    assert!(
        error.contains("name: expected a string, found integer"),
        "{error}"
    );
    let good = client.put("shop/name", "good").await.unwrap().revision;
    assert!(config.wait_for(good.get(), SOON).await);
    until("it is taken", async || config.load().name == "good").await;
}

#[tokio::test]
async fn two_processes_do_not_share_a_cache() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let folder = tempfile::tempdir().unwrap();
    client.put("shop/name", "one").await.unwrap();
    let secrets = client.secrets();
    secrets
        .put("shop/password", "hunter2".to_owned())
        .await
        .unwrap();
    let _first = open(&client, folder.path()).await.unwrap();
    let second = open(&client, folder.path()).await.unwrap_err().to_string();
    assert!(second.contains("another process"), "{second}");
}

/// Whose rights were taken away does not get around that by what he had before.
#[tokio::test]
async fn a_denial_is_no_reason_to_start_with_the_cache() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    cluster.shared.world().denies = true;
    let denied = open(&client, folder.path()).await;
    assert!(
        matches!(denied, Err(ConfigError::Denied { .. })),
        "{denied:?}"
    );
    cluster.shared.world().denies = false;
    let config = open(&client, folder.path()).await.unwrap();
    assert_eq!(config.load().name, "one");
}

/// A save that fails is told and tried again, and what was saved before is still of use.
#[tokio::test]
async fn a_save_that_fails_leaves_the_one_before_and_is_made_up_for() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = kept(&mut cluster).await;
    cluster.nodes.iter_mut().for_each(|node| node.restart());
    let config = open(&client, folder.path()).await.unwrap();
    until("it is kept", async || config.status().cached > 0).await;
    // Whatever is to be written first cannot be.
    let cache = file(folder.path(), "cache").unwrap();
    let blocked = cache.with_extension("cache-new");
    fs::create_dir(&blocked).unwrap();
    let last = client.put("shop/name", "two").await.unwrap().revision;
    until("it is told", async || {
        config.status().cache_problem.is_some()
    })
    .await;
    assert!(config.status().cached < last.get());
    drop(config);
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    let config = open(&client, folder.path()).await.unwrap();
    assert_eq!(config.load().name, "one");

    cluster.nodes.iter_mut().for_each(|node| node.restart());
    until("it is taken", async || config.load().name == "two").await;
    until("it is told again", async || {
        config.status().cache_problem.is_some()
    })
    .await;
    fs::remove_dir(&blocked).unwrap();
    until("it is made up for", async || {
        config.status().cached == last.get()
    })
    .await;
    assert_eq!(config.status().cache_problem, None);
}
