//! Secrets while nodes die, are removed and lose their power: who may open one can, who may not
//! cannot, and no rotation is left half done.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_client::{Client, Context, KeyringStatus};
use holdfast_core::State;
use holdfast_proto::Value;
use holdfast_seal::{Check, Epoch, EpochRecord, Keyring, Kind, Lineage, NodeKey, Unlock, envelope};
use holdfast_tests::{
    escrow,
    harness::{Cluster, ClusterOptions, Folder, cluster::succeed, http, wait},
};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(60);
const WRITERS: usize = 4;

/// A secret that was acknowledged.
#[derive(Clone)]
struct Written {
    key: String,
    plaintext: Vec<u8>,
    began: Instant,
}

/// Clients that put new secrets until they are told to stop.
struct Writers {
    written: Arc<Mutex<Vec<Written>>>,
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(client: &Client) -> Self {
        let (written, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let tasks = (0..WRITERS)
            .map(|writer| {
                tokio::spawn(write(
                    client.clone(),
                    writer,
                    Arc::clone(&written),
                    Arc::clone(&over),
                ))
            })
            .collect();
        Self {
            written,
            over,
            tasks,
        }
    }

    /// Waits until so many more are acknowledged.
    async fn progress(&self, count: usize) {
        let target = self.written.lock().len() + count;
        wait::until_true(format!("{count} more secrets"), LIMIT, || {
            self.written.lock().len() >= target
        })
        .await
        .unwrap();
    }

    async fn finish(self) -> Vec<Written> {
        self.over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let written = self.written.lock();
        written.clone()
    }
}

async fn write(
    client: Client,
    writer: usize,
    written: Arc<Mutex<Vec<Written>>>,
    over: Arc<AtomicBool>,
) {
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("race/{writer}/{number}");
        let plaintext = format!("plaintext of {key}").into_bytes();
        let began = Instant::now();
        // What is refused or unknown was promised to nobody.
        if client
            .secrets()
            .put(key.as_str(), plaintext.clone())
            .await
            .is_ok()
        {
            written.lock().push(Written {
                key,
                plaintext,
                began,
            });
        }
    }
}

/// Opens each through each running node, and compares.
async fn all_open(cluster: &Cluster, written: &[Written]) {
    for node in cluster.running() {
        let context = cluster.context_file_through(node).unwrap();
        let client = Client::connect(&Context::load(context).unwrap())
            .await
            .unwrap();
        for one in written {
            let revealed = client.secrets().reveal(one.key.as_str()).await.unwrap();
            let (name, key) = (cluster.name(node), &one.key);
            assert!(
                *revealed.secret.expose() == one.plaintext,
                "{key} at {name}"
            );
        }
    }
}

/// Waits until every holder shows that it opens the newest epoch.
async fn all_hold(client: &Client, holders: usize) -> KeyringStatus {
    wait::until("every node to open the keyring", LIMIT, || async {
        let status = client.keyring().status().await.ok()?;
        let open = status
            .holders
            .iter()
            .filter(|holder| holder.wrapped && holder.opens);
        (open.count() == holders).then_some(status)
    })
    .await
    .unwrap()
}

/// The newest archive of a node's folder.
fn newest_archive(dir: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(dir.join("data/archive")).ok()?;
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name != "FORMAT"));
    files.sort();
    files.pop()
}

/// The state in a node's newest archive.
fn archived(dir: &Path) -> Option<State> {
    let path = newest_archive(dir)?;
    let contents = holdfast_disk::check(&path, File::open(&path).ok()?).ok()?;
    Some(contents.state)
}

/// Writes until a node's newest archive has everything that there is now.
async fn archive(cluster: &Cluster, client: &Client, node: usize) -> State {
    let from = client.put("ballast/mark", "x").await.unwrap().revision;
    wait::until("an archive", LIMIT, || async {
        client.put("ballast", "x".repeat(16 << 10)).await.ok()?;
        archived(cluster.dir(node)).filter(|state| state.revision() >= from.get())
    })
    .await
    .unwrap()
}

/// What a node's key opens of a state: all that whoever has both can know.
fn opened_by(dir: &Path, name: &str, state: &State) -> Option<Keyring> {
    let own = state
        .members()
        .find(|member| member.name.as_str() == name)?
        .id;
    let file = fs::read(dir.join("keyring/node.key")).unwrap();
    let key = NodeKey::open(&file, &Unlock::File).unwrap();
    let lineage = Lineage::new(&state.cluster()?.lineage)?;
    let check = |bytes: &[u8]| Check::from_bytes(bytes.try_into().unwrap());
    let newest = state.newest_epoch()?;
    let opened = key.open_epoch(
        &lineage,
        Epoch::new(newest.epoch)?,
        own.0,
        &newest.wraps.get(&own)?.wrap,
        &check(&newest.check),
    );
    let records = state.epochs().map(|epoch| EpochRecord {
        epoch: Epoch::new(epoch.epoch).unwrap(),
        check: check(&epoch.check),
        sealed_previous: &epoch.sealed_previous,
    });
    Some(Keyring::open(opened.ok()?, records).unwrap())
}

/// The secrets of a state that a keyring opens, by key.
fn opens(keyring: &Keyring, state: &State) -> BTreeMap<String, Vec<u8>> {
    let wraps = state.wraps_after(None);
    wraps
        .filter_map(|(id, wrap)| {
            let entry = state.get(id.key.as_bytes())?;
            let Value::Sealed(payload) = &entry.value else {
                return None;
            };
            let context = envelope_context(id.key.as_bytes(), entry.meta.version);
            let opened = envelope::open(keyring, &context, payload, &wrap.wrap).ok()?;
            Some((id.key.to_string(), opened.expose().to_vec()))
        })
        .collect()
}

fn envelope_context(key: &[u8], version: u64) -> holdfast_seal::Context<'_> {
    holdfast_seal::Context {
        key,
        version,
        kind: Kind::Secret,
    }
}

/// While secrets are put, the leader is killed, a member is removed, and the leader is killed in the
/// middle of that. Every secret that was acknowledged opens at all who stayed. Who took the folder of
/// the removed member opens what it held, and nothing that was begun after the removal was told,
/// whatever else comes into his hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_put_during_a_removal_open_at_those_who_stay_and_not_with_what_was_taken_away() {
    let options = ClusterOptions {
        nodes: 4,
        settings: vec![("archive_after_bytes", (64 << 10).to_string())],
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    escrow::prove(&cluster.context_file(), &cluster.folder().join("shares"))
        .await
        .unwrap();
    all_hold(&client, 4).await;

    let writers = Writers::start(&client);
    writers.progress(40).await;
    let first = cluster.leader(&client).await.unwrap();
    cluster.kill(first);
    writers.progress(20).await;
    cluster.run(first).unwrap();
    cluster.wait_until_whole_but_busy(&client).await.unwrap();

    let leaving = 3;
    let name = cluster.name(leaving).to_owned();
    let id = cluster.id(&client, leaving).await.unwrap();
    archive(&cluster, &client, leaving).await;
    let remover = client.clone();
    let removal = tokio::spawn(async move {
        // Asked again until it is told to be done, as an operator would.
        wait::until("the removal", LIMIT, || async {
            remover.cluster().remove(id).await.ok()
        })
        .await
        .unwrap();
        Instant::now()
    });
    let leader = cluster.leader(&client).await.unwrap();
    cluster.kill(leader);
    let removed = removal.await.unwrap();
    if cluster.running().contains(&leaving) {
        cluster.kill(leaving);
    }
    let taken = cluster.folder().join("taken");
    let mut copy = std::process::Command::new("cp");
    succeed(copy.arg("-a").arg(cluster.dir(leaving)).arg(&taken)).unwrap();
    cluster.forget_last();
    writers.progress(40).await;
    cluster.mend().unwrap();
    writers.progress(20).await;

    let written = writers.finish().await;
    cluster.wait_until_whole().await.unwrap();
    let status = all_hold(&client, 3).await;
    assert!(status.epoch >= 2, "{status:?}");
    all_open(&cluster, &written).await;

    let later: Vec<_> = written.iter().filter(|one| one.began > removed).collect();
    assert!(later.len() >= 40, "{}", later.len());
    let newest = archive(&cluster, &client, 0).await;
    let held = archived(&taken).unwrap();
    let thief = opened_by(&taken, &name, &held).expect("it held a key");
    // No blind search: what it held it opens, and who stayed opens the others.
    assert!(opens(&thief, &held).len() >= 20);
    let stayed = opened_by(cluster.dir(0), cluster.name(0), &newest).unwrap();
    let known = opens(&stayed, &newest);
    let stolen = opens(&thief, &newest);
    for one in later {
        assert_eq!(known.get(&one.key), Some(&one.plaintext), "{}", one.key);
        assert!(!stolen.contains_key(&one.key), "{} was taken away", one.key);
    }
    assert!(opened_by(&taken, &name, &newest).is_none());
}

/// All nodes lose their power at once, each with its key kept in another way. They come back by
/// themselves where that was promised, and not where the promise is that they do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_loss_each_node_opens_its_key_as_it_was_told_and_not_otherwise() {
    let credentials = Folder::new().unwrap();
    let credential = credentials.join("holdfast-node-key");
    fs::write(&credential, [0x5e; 32]).unwrap();
    let directory = credentials.path().to_str().unwrap().to_owned();
    let options = ClusterOptions {
        key_protectors: vec!["file", "passphrase", "systemd"],
        environment: vec![
            ("HOLDFAST_PASSPHRASE", "correct horse battery".to_owned()),
            ("CREDENTIALS_DIRECTORY", directory),
        ],
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start_with(options).await.unwrap();
    let client = cluster.client().await.unwrap();
    escrow::prove(&cluster.context_file(), &cluster.folder().join("shares"))
        .await
        .unwrap();
    let status = all_hold(&client, 3).await;
    let protectors: Vec<_> = status.holders.iter().map(|one| &one.protector).collect();
    assert_eq!(protectors, ["file", "passphrase", "systemd"]);
    assert!(status.holders.iter().all(|one| !one.protects.is_empty()));
    let writers = Writers::start(&client);
    writers.progress(20).await;
    cluster.kill_all();
    cluster.mend().unwrap();
    writers.progress(20).await;
    let written = writers.finish().await;
    cluster.wait_until_whole().await.unwrap();
    all_hold(&client, 3).await;
    all_open(&cluster, &written).await;

    // Without what opens its key a node does not start, says what it lacks, and is not missed.
    cluster.kill_all();
    cluster.afflict(1, "HOLDFAST_PASSPHRASE", "wrong horse battery");
    fs::write(&credential, [0xe5; 32]).unwrap();
    for (node, word) in [(1, "passphrase"), (2, "credential")] {
        cluster.run(node).unwrap();
        let ended = cluster.process(node).wait(LIMIT).unwrap();
        assert!(!ended.success(), "{} started", cluster.name(node));
        let log = fs::read_to_string(cluster.log(node)).unwrap();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains(word), "{last}");
        assert!(!last.contains("wrong horse"), "{last}");
        cluster.kill(node);
    }
    fs::write(&credential, [0x5e; 32]).unwrap();
    cluster.run(0).unwrap();
    cluster.run(2).unwrap();
    wait::until("two of three to serve", LIMIT, || async {
        client.secrets().reveal(written[0].key.as_str()).await.ok()
    })
    .await
    .unwrap();
    all_open(&cluster, &written).await;
}

/// A rotation whose leader dies goes on under the next one, and after a loss of power, until no
/// secret is left under the older epoch. None is lost on the way, and the count is exact throughout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_goes_on_under_the_next_leader() {
    let mut cluster = Cluster::start().await.unwrap();
    let client = cluster.client().await.unwrap();
    escrow::prove(&cluster.context_file(), &cluster.folder().join("shares"))
        .await
        .unwrap();
    all_hold(&client, 3).await;
    let writers = Writers::start(&client);
    writers.progress(600).await;
    let written = writers.finish().await;
    let count = client.keyring().status().await.unwrap().secrets;
    assert!(count >= written.len() as u64);

    let leader = cluster.leader(&client).await.unwrap();
    let epoch = client.keyring().rotate("a drill").await.unwrap();
    cluster.kill(leader);
    let unfinished = wait::until("a node that answers", LIMIT, || async {
        client.keyring().status().await.ok()
    })
    .await
    .unwrap();
    println!(
        "when the next leader took over, {} of {} were rewrapped",
        unfinished.rewrapped, unfinished.secrets
    );
    assert!(unfinished.epoch >= epoch);
    assert_eq!(unfinished.secrets, count);
    cluster.kill_all();
    cluster.mend().unwrap();
    let status = wait::until("the rotation to end", LIMIT, || async {
        let status = client.keyring().status().await.ok()?;
        let total: u64 = status.epochs.iter().map(|epoch| epoch.secrets).sum();
        assert_eq!((status.secrets, total), (count, count), "{status:?}");
        (!status.is_rotating()).then_some(status)
    })
    .await
    .unwrap();
    let newest = status.epochs.iter().find(|one| one.epoch == status.epoch);
    assert_eq!(newest.map(|epoch| epoch.secrets), Some(count));
    cluster.wait_until_whole().await.unwrap();
    all_hold(&client, 3).await;
    let metrics = http::page(cluster.http(0), "/metrics").await.unwrap();
    for line in [
        format!("holdfast_keyring_epoch {}", status.epoch),
        format!("holdfast_keyring_versions {count}"),
        "holdfast_keyring_versions_under_older_epochs 0".to_owned(),
        "holdfast_keyring_opens 1".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|one| one == line),
            "no {line}: {metrics}"
        );
    }
    all_open(&cluster, &written).await;
}
