//! A fault under load: start a cluster, let clients work, do something to it, check everything.
//!
//! `HOLDFAST_SOAK=minutes` repeats each fault for so long; without it once. `HOLDFAST_SEED=number`
//! repeats the choices of an earlier run (its timing is the machine's own).

use std::time::{Duration, Instant};

use anyhow::Context as _;
use holdfast_client::Client;

use crate::{
    harness::{Cluster, ClusterOptions},
    history::{History, Recorder},
    load::{Load, LoadOptions},
};

/// A cluster under load.
pub struct Scene {
    /// The processes and their network.
    pub cluster: Cluster,
    /// The clients at work.
    pub load: Load,
    /// A client for looking around.
    pub client: Client,
}

impl Scene {
    /// Notes the fault in the history, and on the test's output.
    pub fn fault(&self, what: impl Into<String>) {
        let what = what.into();
        println!("{what}");
        self.load.fault(what);
    }

    /// Which node leads.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        self.cluster.leader(&self.client).await
    }

    /// One that does not lead.
    pub async fn follower(&self) -> anyhow::Result<usize> {
        self.cluster.follower(&self.client).await
    }

    /// All nodes but one.
    pub fn others(&self, node: usize) -> Vec<usize> {
        let all = 0..self.cluster.len();
        all.filter(|other| *other != node).collect()
    }

    /// A node dies; after so many writes that were acknowledged without it, it comes back.
    pub async fn kill_and_run(&mut self, node: usize, writes: usize) -> anyhow::Result<()> {
        self.fault(format!("SIGKILL of node {node}"));
        self.cluster.kill(node);
        self.load.progress(writes).await?;
        self.cluster.run(node)
    }

    /// As [`Scene::kill_and_run`], but it stands still.
    pub async fn freeze_and_thaw(&mut self, node: usize, writes: usize) -> anyhow::Result<()> {
        self.fault(format!("SIGSTOP of node {node}"));
        self.cluster.freeze(node);
        self.load.progress(writes).await?;
        self.fault("SIGCONT");
        self.cluster.thaw(node);
        Ok(())
    }

    /// As [`Scene::kill_and_run`], but it hears nothing of its peers, nor they of it.
    pub async fn cut_off_and_heal(&mut self, node: usize, writes: usize) -> anyhow::Result<()> {
        self.fault(format!("node {node} cut off from its peers"));
        self.cluster.fabric().part(node, self.others(node));
        self.load.progress(writes).await?;
        self.fault("healed");
        self.cluster.fabric().heal();
        Ok(())
    }

    /// All nodes die at once and come back; so many writes are acknowledged then.
    pub async fn kill_and_run_all(&mut self, writes: usize) -> anyhow::Result<()> {
        self.fault("SIGKILL of all nodes");
        self.cluster.kill_all();
        for node in 0..self.cluster.len() {
            self.cluster.run(node)?;
        }
        self.load.progress(writes).await
    }
}

/// Runs `act` under load, once or for the soak time, and checks the whole history. If the nodes
/// serve etcd's clients, the load comes from those.
///
/// Panics if a promise was broken, with the seed and where the history and the logs are.
pub async fn run(
    options: ClusterOptions,
    load: LoadOptions,
    mut act: impl AsyncFnMut(&mut Scene) -> anyhow::Result<()>,
) -> History {
    let began = Instant::now();
    loop {
        let seed = seed();
        // From here on a panic unwinds past the cluster, whose folder stays then.
        let (cluster, outcome) = play(options.clone(), load.clone(), seed, &mut act).await;
        match outcome {
            Ok(history) if began.elapsed() >= soak() => return history,
            Ok(_) => {}
            Err(error) => {
                let folder = cluster.folder().path().display();
                panic!("seed {seed} (HOLDFAST_SEED), evidence in {folder}: {error:#}")
            }
        }
    }
}

/// The same, but says what was broken instead of panicking.
pub async fn attempt(
    options: ClusterOptions,
    load: LoadOptions,
    mut act: impl AsyncFnMut(&mut Scene) -> anyhow::Result<()>,
) -> anyhow::Result<History> {
    play(options, load, seed(), &mut act).await.1
}

async fn play(
    options: ClusterOptions,
    load: LoadOptions,
    seed: u64,
    act: &mut impl AsyncFnMut(&mut Scene) -> anyhow::Result<()>,
) -> (Cluster, anyhow::Result<History>) {
    let options = ClusterOptions { seed, ..options };
    let cluster = Cluster::start_with(options)
        .await
        .expect("the cluster starts");
    let started = async {
        let recorder = Recorder::create(&cluster.folder().join("history.jsonl"))?;
        let load = LoadOptions { seed, ..load };
        let etcd = cluster.etcd().ok();
        let load = Load::start(&cluster.context()?, etcd, recorder, load);
        anyhow::Ok((load, cluster.client().await?))
    };
    let (load, client) = match started.await {
        Ok(started) => started,
        Err(error) => return (cluster, Err(error)),
    };
    let mut scene = Scene {
        cluster,
        load,
        client,
    };
    let played = async {
        scene
            .load
            .progress(WARM)
            .await
            .context("before anything was done")?;
        let began = Instant::now();
        loop {
            act(&mut scene).await?;
            scene
                .load
                .progress(WARM)
                .await
                .context("after all was mended")?;
            // No longer than the history of a key is kept: the checker wants all of it.
            if began.elapsed() >= soak().min(LONGEST) {
                break;
            }
        }
        scene.cluster.wait_until_whole_but_busy(&scene.client).await
    }
    .await;
    let Scene {
        mut cluster, load, ..
    } = scene;
    // Even when the play failed, the history so far may say why.
    let mended = cluster.mend();
    let checked = match mended {
        Ok(()) => load.finish_and_check().await,
        Err(error) => Err(error),
    };
    // Only now, with nobody writing, can all be at the same place twice.
    let checked = match (&played, checked) {
        (Ok(()), Ok(history)) => cluster.wait_until_whole().await.map(|()| history),
        (_, checked) => checked,
    };
    let outcome = match (played, checked) {
        (Ok(()), checked) => checked,
        (Err(error), Ok(_)) => Err(error),
        (Err(error), Err(checked)) => Err(error.context(format!("and {checked:#}"))),
    };
    (cluster, outcome)
}

/// How long each fault is repeated.
pub fn soak() -> Duration {
    let minutes = std::env::var("HOLDFAST_SOAK")
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    Duration::from_secs_f64(minutes.unwrap_or(0.0).max(0.0) * 60.0)
}

/// The seed of this run.
pub fn seed() -> u64 {
    let given = std::env::var("HOLDFAST_SEED").ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| rand::random_range(0..1_000_000))
}

/// A soak begins with a new cluster after so long.
const LONGEST: Duration = Duration::from_secs(60);
/// Acknowledged writes before, between and after faults.
const WARM: usize = 60;
