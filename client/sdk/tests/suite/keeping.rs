//! Mirrors that are kept on disk: begun without any server, whole, honest about their age.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use holdfast_client::{
    CacheError, Client, KeptMirror, KeptMirrorBuilder, KeptMirrorError, Mirror, Origin, ReadError,
    Secret, StartPolicy, Value,
};

use crate::{
    fake::{Cluster, Manner},
    until,
};

const SOON: Duration = Duration::from_secs(15);

fn builder(client: &Client, folder: &Path) -> KeptMirrorBuilder {
    client
        .kept_mirror("shop/", folder)
        .cache_with_key(Secret::new([7; 32]))
        .check_every(Duration::from_millis(100))
        .start(StartPolicy::ServerThenCache {
            wait: Duration::from_millis(300),
        })
}

async fn open(client: &Client, folder: &Path) -> Result<KeptMirror, KeptMirrorError> {
    builder(client, folder).open().await
}

async fn revealing(client: &Client, folder: &Path) -> Result<KeptMirror, KeptMirrorError> {
    builder(client, folder).reveal("files").open().await
}

fn text(mirror: &Mirror, key: &str) -> Option<String> {
    match &mirror.get(key)?.entry.value {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn secret(mirror: &Mirror, key: &str) -> Option<String> {
    let kept = mirror.secret(key).filter(|kept| kept.is_newest)?;
    Some(kept.secret().text().unwrap().to_owned())
}

/// Waits until what the mirror has now is on the disk.
async fn until_kept(kept: &KeptMirror) {
    until("it is kept", async || {
        kept.cache_status().revision >= kept.mirror().view().changed()
    })
    .await;
}

fn file(folder: &Path, extension: &str) -> PathBuf {
    let mut files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .unwrap()
}

fn kill(cluster: &mut Cluster) {
    cluster.nodes.iter_mut().for_each(|node| node.kill());
}

fn restart(cluster: &mut Cluster) {
    cluster.nodes.iter_mut().for_each(|node| node.restart());
}

/// A folder with what there is, with its secret, and every server gone.
async fn scene(cluster: &mut Cluster) -> (Client, tempfile::TempDir) {
    let client = cluster.client(|_| {});
    let folder = tempfile::tempdir().unwrap();
    client.put("shop/name", "one").await.unwrap();
    let secrets = client.secrets();
    secrets
        .put("shop/password", "hunter2".to_owned())
        .await
        .unwrap();
    let kept = revealing(&client, folder.path()).await.unwrap();
    assert_eq!(kept.mirror().origin(), Origin::Cache);
    until_kept(&kept).await;
    drop(kept);
    kill(cluster);
    (client, folder)
}

#[tokio::test]
async fn a_mirror_begins_without_any_server_with_what_was_kept_and_catches_up() {
    let mut cluster = Cluster::start(2);
    let (client, folder) = scene(&mut cluster).await;
    let kept = revealing(&client, folder.path()).await.unwrap();
    let mirror = kept.mirror();
    assert_eq!(text(mirror, "shop/name").unwrap(), "one");
    assert_eq!(secret(mirror, "shop/password").unwrap(), "hunter2");
    assert_eq!(mirror.origin(), Origin::Disk);
    assert!(!mirror.is_confirmed());
    let age = mirror.age();
    assert!(age < Duration::from_secs(30), "{age:?}");
    until("it is older", async || {
        mirror.age() > age + Duration::from_millis(50)
    })
    .await;

    restart(&mut cluster);
    let written = client.put("shop/name", "two").await.unwrap().revision.get();
    assert!(mirror.wait_for(written, SOON).await);
    assert_eq!(text(mirror, "shop/name").unwrap(), "two");
    assert_eq!(mirror.origin(), Origin::Cache);
    until("it is young again", async || {
        mirror.is_confirmed() && mirror.age() < Duration::from_secs(1)
    })
    .await;
    let secrets = client.secrets();
    let newest = secrets.put("shop/password", "hunter3".to_owned()).await;
    let newest = newest.unwrap().revision.get();
    until("it is kept, with the new secret", async || {
        kept.cache_status().revision >= newest
    })
    .await;
    drop(kept);
    kill(&mut cluster);
    let kept = revealing(&client, folder.path()).await.unwrap();
    assert_eq!(text(kept.mirror(), "shop/name").unwrap(), "two");
    assert_eq!(secret(kept.mirror(), "shop/password").unwrap(), "hunter3");
    let reveals = cluster.shared.world().reveals.len();
    assert_eq!(reveals, 2, "what was kept is not opened again");
}

/// Nothing changed while it was down: what was kept is current again, and is noted to be.
#[tokio::test]
async fn what_a_server_confirms_after_the_start_is_young_at_the_next_start() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = scene(&mut cluster).await;
    let began = Instant::now();
    let kept = revealing(&client, folder.path()).await.unwrap();
    until("it has grown old", async || {
        kept.mirror().age() > Duration::from_secs(2)
    })
    .await;
    restart(&mut cluster);
    until("it is kept anew", async || kept.cache_status().revision > 0).await;
    drop(kept);
    kill(&mut cluster);
    let kept = revealing(&client, folder.path()).await.unwrap();
    assert_eq!(kept.mirror().origin(), Origin::Disk);
    let age = kept.mirror().age();
    assert!(age < began.elapsed() - Duration::from_secs(1), "{age:?}");
}

#[tokio::test]
async fn an_empty_prefix_is_a_state_that_is_kept_too() {
    let mut cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let folder = tempfile::tempdir().unwrap();
    client.put("shop/name", "one").await.unwrap();
    let kept = open(&client, folder.path()).await.unwrap();
    until_kept(&kept).await;
    let gone = {
        let mut world = cluster.shared.world();
        world.delete(&"shop/name".into());
        world.revision
    };
    cluster.shared.changed.send_replace(gone);
    until("it is gone", async || kept.mirror().read().is_empty()).await;
    until_kept(&kept).await;
    drop(kept);
    kill(&mut cluster);
    let kept = open(&client, folder.path()).await.unwrap();
    assert!(kept.mirror().read().is_empty());
    assert_eq!(kept.mirror().origin(), Origin::Disk);
}

#[tokio::test]
async fn half_of_a_state_is_never_kept_nor_made_to_look_young() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = scene(&mut cluster).await;
    restart(&mut cluster);
    let kept = revealing(&client, folder.path()).await.unwrap();
    until_kept(&kept).await;
    let before = kept.cache_status().revision;
    cluster.shared.world().reveals_hang = true;
    client.put("shop/name", "two").await.unwrap();
    until("that much is kept", async || {
        kept.cache_status().revision > before
    })
    .await;
    let closed_since = Instant::now();
    let secrets = client.secrets();
    let newest = secrets.put("shop/password", "hunter3".to_owned()).await;
    let newest = newest.unwrap().revision.get();
    assert!(kept.mirror().wait_for(newest, SOON).await);
    while closed_since.elapsed() < Duration::from_millis(2_500) {
        assert!(kept.cache_status().revision < newest, "half of it was kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("it is young itself", async || {
        kept.mirror().age() < Duration::from_secs(1)
    })
    .await;
    drop(kept);
    kill(&mut cluster);
    let kept = revealing(&client, folder.path()).await.unwrap();
    assert_eq!(text(kept.mirror(), "shop/name").unwrap(), "two");
    assert_eq!(secret(kept.mirror(), "shop/password").unwrap(), "hunter2");
    assert!(kept.mirror().age() >= closed_since.elapsed() - Duration::from_millis(100));

    cluster.shared.world().reveals_hang = false;
    restart(&mut cluster);
    until("the new secret is open", async || {
        secret(kept.mirror(), "shop/password").is_some_and(|secret| secret == "hunter3")
    })
    .await;
    until_kept(&kept).await;
}

#[tokio::test]
async fn what_was_tampered_with_or_put_back_is_refused_told_and_replaced() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = scene(&mut cluster).await;
    let cache = file(folder.path(), "cache");
    let older = fs::read(&cache).unwrap();
    let refused = async |what: &str| match revealing(&client, folder.path()).await {
        Err(KeptMirrorError::Offline { cache, .. }) => cache.to_string(),
        other => panic!("{what}: {other:?}"),
    };
    for place in (0..older.len()).step_by(older.len() / 11) {
        let mut changed = older.clone();
        changed[place] ^= 1;
        fs::write(&cache, changed).unwrap();
        let why = refused("a bit was flipped").await;
        assert!(why.contains("does not open"), "{why}");
    }

    // With a server it is no obstacle, is told, and replaced.
    restart(&mut cluster);
    client.put("shop/name", "two").await.unwrap();
    let kept = revealing(&client, folder.path()).await.unwrap();
    assert_eq!(text(kept.mirror(), "shop/name").unwrap(), "two");
    until("it is replaced", async || {
        let status = kept.cache_status();
        let told = status
            .refused
            .is_some_and(|why| why.contains("does not open"));
        assert!(told || status.revision > 0, "it was not told");
        status.revision > 0
    })
    .await;
    assert_eq!(kept.cache_status().refused, None);
    drop(kept);
    kill(&mut cluster);
    fs::write(&cache, &older).unwrap();
    let why = refused("an older one was put back").await;
    assert!(why.contains("an older one was put back"), "{why}");
    // Somebody else's.
    fs::write(&cache, fs::read(file(folder.path(), "mark")).unwrap()).unwrap();
    refused("the mark is no cache").await;

    restart(&mut cluster);
    let kept = revealing(&client, folder.path()).await.unwrap();
    until_kept(&kept).await;
    drop(kept);
    kill(&mut cluster);
    let kept = revealing(&client, folder.path()).await.unwrap();
    assert_eq!(text(kept.mirror(), "shop/name").unwrap(), "two");
    assert_eq!(kept.cache_status().refused, None);
}

#[tokio::test]
async fn a_denial_is_no_reason_to_begin_with_what_was_kept() {
    let mut cluster = Cluster::start(1);
    let (client, folder) = scene(&mut cluster).await;
    restart(&mut cluster);
    client
        .secrets()
        .put("shop/password", "hunter3".to_owned())
        .await
        .unwrap();
    cluster.shared.world().denies = true;
    let denied = revealing(&client, folder.path()).await;
    let is_denied = matches!(denied, Err(KeptMirrorError::Read(ReadError::Denied { .. })));
    assert!(is_denied, "{denied:?}");
    cluster.shared.world().denies = false;
    let kept = revealing(&client, folder.path()).await.unwrap();
    assert_eq!(secret(kept.mirror(), "shop/password").unwrap(), "hunter3");
}

#[tokio::test]
async fn without_a_cache_and_a_server_there_is_no_mirror_and_later_there_is() {
    let mut cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let folder = tempfile::tempdir().unwrap();
    client.put("shop/name", "one").await.unwrap();
    kill(&mut cluster);
    let error = open(&client, folder.path()).await.unwrap_err();
    let is_unreachable = matches!(error, KeptMirrorError::Read(ReadError::Unreachable { .. }));
    assert!(is_unreachable, "{error}");
    restart(&mut cluster);
    until("there is one", async || {
        open(&client, folder.path()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn two_of_one_prefix_do_not_share_a_file() {
    let cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let folder = tempfile::tempdir().unwrap();
    let first = open(&client, folder.path()).await.unwrap();
    let second = open(&client, folder.path()).await.unwrap_err();
    assert!(matches!(second, KeptMirrorError::Cache(_)), "{second}");
    assert!(second.to_string().contains("another process"), "{second}");
    drop(first);
    open(&client, folder.path()).await.unwrap();
    // A client over a channel has no key of its own.
    let none = client.kept_mirror("shop/", folder.path()).open().await;
    let none = none.unwrap_err().to_string();
    assert!(none.contains("no private key"), "{none}");
}

/// What is kept belongs to one cluster: bound to none, another's would be taken for it.
#[tokio::test]
async fn a_client_that_does_not_know_its_cluster_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::agent(folder.path().join("agent.sock")).unwrap();
    let refused = open(&client, folder.path()).await.unwrap_err();
    let is_nameless = matches!(refused, KeptMirrorError::Cache(CacheError::NoCluster));
    assert!(is_nameless, "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn who_ends_soon_after_the_start_can_wait_until_it_is_kept() {
    let mut cluster = Cluster::start(1);
    let client = cluster.client(|_| {});
    let folder = tempfile::tempdir().unwrap();
    client.put("shop/name", "one").await.unwrap();
    let kept = open(&client, folder.path()).await.unwrap();
    kept.until_kept().await;
    assert!(kept.cache_status().revision > 0, "{kept:?}");
    drop(kept);
    kill(&mut cluster);
    let kept = open(&client, folder.path()).await.unwrap();
    assert_eq!(text(kept.mirror(), "shop/name").unwrap(), "one");
    // There is nothing to wait for.
    kept.until_kept().await;
}

/// A node that is cut off has an older state than what was kept: it is not gone back to.
#[tokio::test]
async fn an_older_state_of_a_node_that_is_cut_off_does_not_replace_what_was_kept() {
    let mut cluster = Cluster::start(1);
    let (_, folder) = scene(&mut cluster).await;
    // The same cluster, as one node knows it that has missed the end.
    let behind = Cluster::start(1);
    behind.shared.write("shop/name", "old");
    behind.all(Manner::CutOff);
    let client = behind.client(|_| {});
    let kept = revealing(&client, folder.path()).await.unwrap();
    let mirror = kept.mirror();
    let until_then = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until_then {
        assert_eq!(text(mirror, "shop/name").unwrap(), "one");
        assert_eq!(mirror.origin(), Origin::Disk);
        assert!(!mirror.is_confirmed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(kept.cache_status().revision, 0, "nothing new is kept");
    // It goes on from what it missed.
    let began_at = mirror.revision();
    while behind.shared.world().revision < began_at {
        behind.shared.write("shop/name", "caught up");
    }
    until("it has caught up", async || {
        text(mirror, "shop/name").unwrap() == "caught up"
    })
    .await;
    assert!(!mirror.is_confirmed(), "no majority said so");
    behind.all(Manner::Well);
    until("it is confirmed", async || mirror.is_confirmed()).await;
}

/// A cluster that was made anew under the same name is older for good: a majority says so.
#[tokio::test]
async fn an_older_state_is_taken_once_a_majority_says_that_nothing_is_newer() {
    let mut cluster = Cluster::start(1);
    let (_, folder) = scene(&mut cluster).await;
    let anew = Cluster::start(1);
    anew.shared.write("shop/name", "anew");
    anew.all(Manner::CutOff);
    let client = anew.client(|_| {});
    let kept = revealing(&client, folder.path()).await.unwrap();
    assert_eq!(text(kept.mirror(), "shop/name").unwrap(), "one");
    anew.all(Manner::Well);
    until("it is taken", async || {
        text(kept.mirror(), "shop/name").unwrap() == "anew"
    })
    .await;
    assert_eq!(kept.mirror().revision(), 1);
    assert_eq!(kept.mirror().read().len(), 1);
    until_kept(&kept).await;
}
