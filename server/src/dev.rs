//! `kvd dev`: a local cluster of real processes, until ctrl-c.

mod access;
pub mod cluster;
mod escrow;
mod http;
mod ports;
mod process;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tempfile::TempDir;

pub use cluster::{ClusterError, LocalCluster};

use crate::{
    dir::files::{self, Mode},
    signals::StopSignals,
};

/// What to run.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Where the nodes' folders are. None: a temporary folder, gone at the end.
    pub dir: Option<PathBuf>,
    /// How many nodes.
    pub nodes: usize,
    /// First port. None: free ones.
    pub base_port: Option<u16>,
    /// Serve etcd's clients without TLS.
    pub etcd_plaintext: bool,
}

/// Why there is no local cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// The operating system refused something.
    #[error("the process could not be set up")]
    Process(#[from] io::Error),
    /// A node did not come up.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// `dev.json` could not be written.
    #[error(transparent)]
    Dir(#[from] crate::dir::DirError),
}

/// Runs until ctrl-c.
pub fn run(options: &DevOptions) -> Result<(), DevError> {
    // One thread, the one that lives longest: children end with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: &DevOptions) -> Result<(), DevError> {
    let home = Home::open(options.dir.as_deref())?;
    let served = serve_in(&home, options).await;
    home.discard().await?;
    served
}

async fn serve_in(home: &Home, options: &DevOptions) -> Result<(), DevError> {
    let mut stop = StopSignals::listen()?;
    // One that was left behind would say that a cluster serves before it does.
    files::remove(&home.path().join(DESCRIPTION))?;
    anstream::eprintln!(
        "Starting {} nodes in {} …",
        options.nodes,
        home.path().display()
    );
    let starting = LocalCluster::start(
        home.path(),
        options.nodes,
        options.base_port,
        options.etcd_plaintext,
    );
    let mut cluster = tokio::select! {
        cluster = starting => cluster?,
        _ = stop.received() => return Ok(()),
    };
    say_what_to_try(&cluster);
    if options.etcd_plaintext {
        anstream::eprintln!(
            "Warning: etcd's clients are served without TLS. Whoever is on this machine may read \
             and write everything."
        );
    }
    write_description(&cluster, home.path())?;
    loop {
        tokio::select! {
            ended = cluster.next_end() => anstream::eprintln!(
                "{} ended ({}); the others carry on. Bring it back: kvd run --dir {}",
                ended.name,
                ended.how,
                ended.dir.display()
            ),
            _ = stop.received() => break,
        }
    }
    anstream::eprintln!("\nStopping …");
    tokio::select! {
        () = cluster.stop() => {}
        _ = stop.received() => {} // what is left is killed when it is dropped
    }
    files::remove(&home.path().join(DESCRIPTION))?;
    Ok(())
}

/// The folder of a local cluster.
pub(crate) enum Home {
    /// The user's.
    Kept(PathBuf),
    /// Ours, gone at the end.
    Temporary(TempDir),
}

impl Home {
    pub(crate) fn open(dir: Option<&Path>) -> io::Result<Self> {
        match dir {
            Some(dir) => Ok(Self::Kept(std::path::absolute(dir)?)),
            None => Ok(Self::Temporary(
                tempfile::Builder::new().prefix("holdfast-dev-").tempdir()?,
            )),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }

    /// Deletes a temporary folder. A process that was just killed may write to it once more.
    pub(crate) async fn discard(self) -> io::Result<()> {
        let Self::Temporary(dir) = self else {
            return Ok(());
        };
        let mut attempts = 0;
        loop {
            match std::fs::remove_dir_all(dir.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && attempts < DELETIONS => {
                    attempts += 1;
                    tokio::time::sleep(BETWEEN_DELETIONS).await;
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(()),
            }
        }
    }
}

/// `dev.json`: what programs need to use the cluster.
#[derive(Serialize)]
struct Description<'a> {
    context: &'a Path,
    nodes: Vec<DescribedNode<'a>>,
}

#[derive(Serialize)]
struct DescribedNode<'a> {
    name: &'a str,
    pid: Option<u32>,
    listen: &'a str,
    etcd: &'a str,
    http: &'a str,
    dir: &'a Path,
}

fn write_description(cluster: &LocalCluster, home: &Path) -> Result<(), DevError> {
    let description = Description {
        context: cluster.context_path(),
        nodes: cluster
            .nodes()
            .iter()
            .map(|node| DescribedNode {
                name: node.name(),
                pid: node.pid(),
                listen: node.listen(),
                etcd: node.etcd(),
                http: node.http(),
                dir: node.dir(),
            })
            .collect(),
    };
    let text = serde_json::to_string_pretty(&description).map_err(io::Error::other)?;
    files::write_atomically(&home.join(DESCRIPTION), text.as_bytes(), Mode::Public)?;
    Ok(())
}

fn say_what_to_try(cluster: &LocalCluster) {
    let bold = anstyle::Style::new().bold();
    anstream::println!(
        "\n{bold}A Holdfast cluster of {} is up.{bold:#}\n",
        cluster.nodes().len()
    );
    for node in cluster.nodes() {
        anstream::println!(
            "  {:<4} {}   http://{}   etcd {}   process {}",
            node.name(),
            node.listen(),
            node.http(),
            node.etcd(),
            node.pid().unwrap_or_default()
        );
    }
    anstream::println!(
        "\n  It takes secrets. The shares that recover them are in recovery-shares.txt of its folder, as\n  \
         is fit for development only."
    );
    anstream::println!(
        "\nTry next, in another terminal:\n\n  \
         export HOLDFAST_CONTEXT={}\n  \
         {bold}kvctl put app/greeting hello --note 'my first key'{bold:#}\n  \
         {bold}kvctl watch app/{bold:#}      (and put again, elsewhere)\n  \
         {bold}kvctl secret generate app/token --show{bold:#}\n  \
         {bold}kvctl status{bold:#}          (then kill a process above, and look again)\n\n\
         ctrl-c stops the cluster.",
        cluster.context_path().display()
    );
}

const DESCRIPTION: &str = "dev.json";
const DELETIONS: usize = 40;
const BETWEEN_DELETIONS: Duration = Duration::from_millis(50);
/// How long a node may take to come up, and to go.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
