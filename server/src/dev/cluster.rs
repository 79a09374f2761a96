//! A cluster of real processes on loopback, for `kvd dev` and `kvd demo`.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use holdfast_client::{Client, Context, ContextError, Role};

use super::{
    PATIENCE, access, escrow,
    ports::{self, Addresses},
    process::{Ended, LocalNode},
};
use crate::{
    dir::{
        DirError, NodeDir,
        files::{self, Mode},
    },
    init::{InitError, InitOptions, init},
    join::{JoinError, JoinOptions, join},
};

/// Nodes that run, and a context that reaches them all.
pub struct LocalCluster {
    nodes: Vec<LocalNode>,
    context: PathBuf,
    etcd_plaintext: bool,
}

/// Why a local cluster did not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A port is taken.
    #[error("port {port} is taken, perhaps by another cluster; choose others with --base-port")]
    Port {
        /// Which.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The folder holds something else.
    #[error("{} holds other files; name an empty or new folder", .0.display())]
    Foreign(PathBuf),
    /// The first node could not be made.
    #[error(transparent)]
    Init(#[from] InitError),
    /// A further node was not let in.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A process could not be started.
    #[error("node {name} could not be started")]
    Spawn {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A node ended at once.
    #[error("node {name} did not come up ({how}); its log ends: {last_words}")]
    Ended {
        /// Which.
        name: String,
        /// In words.
        how: String,
        /// The end of its log.
        last_words: String,
    },
    /// A node takes too long.
    #[error("{what} within {PATIENCE:?}; the logs are in {}", logs.display())]
    Slow {
        /// What did not happen.
        what: String,
        /// Where the logs are.
        logs: PathBuf,
    },
    /// The cluster does not do what it is asked.
    #[error("the cluster did not do as asked: {0}")]
    Request(String),
}

impl LocalCluster {
    /// Starts the cluster of a folder with at least `count` nodes, making what is missing.
    ///
    /// `base` is the first port; `None`: free ones. With `etcd_plaintext`, etcd's clients are served
    /// without TLS.
    pub async fn start(
        dir: &Path,
        count: usize,
        base: Option<u16>,
        etcd_plaintext: bool,
    ) -> Result<Self, ClusterError> {
        let mut nodes = existing(dir)?;
        let count = count.max(nodes.len());
        let free = |from: usize, count: usize| {
            let base = base.map(|base| base.saturating_add(u16::try_from(from).unwrap_or(0)));
            ports::free(count, base).map_err(|(port, source)| ClusterError::Port { port, source })
        };
        let mut addresses = free(nodes.len(), count - nodes.len())?.into_iter();
        if nodes.is_empty() {
            let Some(first) = addresses.next() else {
                return Err(ClusterError::Request("a cluster needs a node".to_owned()));
            };
            nodes.push(found(dir, &first)?);
        }
        let mut cluster = Self {
            nodes,
            context: dir.join("context.toml"),
            etcd_plaintext,
        };
        for index in 0..cluster.nodes.len() {
            cluster.spawn(index)?;
        }
        cluster.all_ready(dir).await?;
        cluster.write_context(dir)?;
        for addresses in addresses {
            cluster.grow(dir, &addresses).await?;
        }
        cluster.write_context(dir)?;
        cluster.all_vote(dir).await?;
        let client = cluster.client()?;
        if access::begin(&client).await? {
            escrow::begin(&client, dir).await?;
        }
        Ok(cluster)
    }

    /// Its nodes, by name.
    pub fn nodes(&self) -> &[LocalNode] {
        &self.nodes
    }

    /// The file of the operator's context.
    pub fn context_path(&self) -> &Path {
        &self.context
    }

    /// The operator's context.
    pub fn context(&self) -> Result<Context, ContextError> {
        Context::load(&self.context)
    }

    /// Kills a node with SIGKILL.
    pub async fn kill(&mut self, name: &str) -> Result<(), ClusterError> {
        let node = self.node(name)?;
        let failed = |source| ClusterError::Spawn {
            name: name.to_owned(),
            source,
        };
        node.kill().await.map_err(failed)
    }

    /// Starts a node again and waits until it serves.
    pub async fn restart(&mut self, name: &str) -> Result<(), ClusterError> {
        let index = self.nodes.iter().position(|node| node.name == name);
        let index = index.ok_or_else(|| ClusterError::Request(format!("there is no {name}")))?;
        self.spawn(index)?;
        ready(&mut self.nodes[index]).await
    }

    /// Waits until a process ends that was not told to.
    pub async fn next_end(&mut self) -> Ended {
        loop {
            for node in &mut self.nodes {
                if let Some(status) = node.exited() {
                    let (name, dir) = (node.name.clone(), node.dir.clone());
                    return Ended {
                        name,
                        dir,
                        how: status.to_string(),
                    };
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Stops all nodes in order: one after the other, so that each hands over to a living one.
    pub async fn stop(&mut self) {
        let last = self.nodes.len().saturating_sub(1);
        for (index, node) in self.nodes.iter_mut().enumerate() {
            // Without a majority there is nobody to hand over to, and nothing to wait for.
            let majority_left = last - index > last / 2;
            node.stop(if majority_left { STOP } else { STOP / 2 }).await;
        }
    }

    fn node(&mut self, name: &str) -> Result<&mut LocalNode, ClusterError> {
        let found = self.nodes.iter_mut().find(|node| node.name == name);
        found.ok_or_else(|| ClusterError::Request(format!("there is no {name}")))
    }

    fn spawn(&mut self, index: usize) -> Result<(), ClusterError> {
        let plaintext = self.etcd_plaintext;
        let node = &mut self.nodes[index];
        node.spawn(plaintext).map_err(|source| ClusterError::Spawn {
            name: node.name.clone(),
            source,
        })
    }

    /// Lets a new node in and starts it.
    async fn grow(&mut self, dir: &Path, addresses: &Addresses) -> Result<(), ClusterError> {
        let name = format!("n{}", self.nodes.len() + 1);
        let client = self.client()?;
        let token = client
            .cluster()
            .create_token(Role::Voter, TOKEN_LIFETIME, Some(&name))
            .await
            .map_err(|error| ClusterError::Request(error.to_string()))?;
        let request = |error: &dyn ToString| ClusterError::Request(error.to_string());
        let options = JoinOptions {
            dir: dir.join(&name),
            name: name.parse().map_err(|error| request(&error))?,
            listen: addresses.listen.clone(),
            advertise: None,
            http: Some(addresses.http.clone()),
            etcd: Some(addresses.etcd.clone()),
            key_protector: holdfast_seal::Protector::File,
            token: token.token.parse().map_err(|error| request(&error))?,
            patience: PATIENCE,
        };
        drop(join(&options, SystemTime::now()).await?);
        let node = LocalNode::new(&name, dir.join(&name), addresses);
        self.nodes.push(node);
        let last = self.nodes.len() - 1;
        self.spawn(last)?;
        ready(&mut self.nodes[last]).await
    }

    async fn all_ready(&mut self, dir: &Path) -> Result<(), ClusterError> {
        // A cluster that comes back needs a majority before the first of its nodes is ready.
        let ready = futures::future::try_join_all(self.nodes.iter_mut().map(ready));
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(ready) => ready.map(drop),
            Err(_) => Err(slow("the nodes did not get ready", dir)),
        }
    }

    /// Waits until every node votes: a cluster of three that survives the loss of any.
    async fn all_vote(&self, dir: &Path) -> Result<(), ClusterError> {
        let cluster = self.client()?.cluster();
        let voting = async {
            loop {
                let voters = cluster.status().await.map_or(0, |status| {
                    let reachable = status.members.iter().filter(|member| member.reachable);
                    reachable
                        .filter(|member| member.member.role == Role::Voter)
                        .count()
                });
                if voters >= self.nodes.len() {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, voting)
            .await
            .map_err(|_| slow("not every node became a voter", dir))
    }

    fn client(&self) -> Result<Client, ClusterError> {
        let context = self.context()?;
        Client::lazy(&context, holdfast_client::ClientOptions::default())
            .map_err(|error| ClusterError::Request(error.to_string()))
    }

    fn write_context(&self, dir: &Path) -> Result<(), ClusterError> {
        let first = self.nodes.first().map_or("n1", |node| &node.name);
        let folder = Path::new(first).join("context");
        let file = |name: &str| folder.join(name);
        let endpoints: Vec<String> = self.nodes.iter().map(|node| node.listen.clone()).collect();
        let cluster = Context::load(dir.join(file("admin.toml")))?.cluster;
        let text = Context::file_text(
            &cluster,
            &endpoints,
            file("ca.crt"),
            file("admin.crt"),
            file("admin.key"),
        );
        Ok(files::write_atomically(
            &self.context,
            text.as_bytes(),
            Mode::Public,
        )?)
    }
}

/// The nodes that a folder already has, by name.
fn existing(dir: &Path) -> Result<Vec<LocalNode>, ClusterError> {
    let mut nodes = Vec::new();
    loop {
        let name = format!("n{}", nodes.len() + 1);
        let path = dir.join(&name);
        if !path.join("node.toml").is_file() {
            break;
        }
        // Opened only to read it: the process that will run it locks it anew.
        let configuration = NodeDir::open(&path)?.configuration().clone();
        let http = configuration
            .http
            .unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let etcd = match configuration.etcd {
            Some(etcd) => etcd,
            None => free_port()?,
        };
        let addresses = Addresses {
            listen: configuration.listen,
            http,
            etcd,
        };
        nodes.push(LocalNode::new(&name, path, &addresses));
    }
    let is_foreign = |entry: &std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        !(name.starts_with('n') || matches!(name.as_str(), "dev.json" | "context.toml"))
    };
    let foreign = std::fs::read_dir(dir)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| is_foreign(&entry))));
    if nodes.is_empty() && foreign {
        return Err(ClusterError::Foreign(dir.to_owned()));
    }
    Ok(nodes)
}

/// A port for a front that the node did not have before.
fn free_port() -> Result<String, ClusterError> {
    let found = ports::free(1, None);
    let found = found.map_err(|(port, source)| ClusterError::Port { port, source })?;
    Ok(found.into_iter().map(|found| found.etcd).collect())
}

fn found(dir: &Path, addresses: &Addresses) -> Result<LocalNode, ClusterError> {
    let options = InitOptions {
        dir: dir.join("n1"),
        name: "n1"
            .parse()
            .map_err(|error| ClusterError::Request(format!("{error}")))?,
        cluster_name: "dev".to_owned(),
        listen: addresses.listen.clone(),
        advertise: None,
        http: Some(addresses.http.clone()),
        etcd: Some(addresses.etcd.clone()),
        key_protector: holdfast_seal::Protector::File,
    };
    drop(init(&options, SystemTime::now())?);
    Ok(LocalNode::new("n1", dir.join("n1"), addresses))
}

async fn ready(node: &mut LocalNode) -> Result<(), ClusterError> {
    match tokio::time::timeout(PATIENCE, node.ready()).await {
        Ok(None) => Ok(()),
        Ok(Some(status)) => Err(ClusterError::Ended {
            name: node.name.clone(),
            how: status.to_string(),
            last_words: node.last_words(),
        }),
        Err(_) => Err(slow(
            &format!("node {} did not get ready", node.name),
            &node.log(),
        )),
    }
}

fn slow(what: &str, logs: &Path) -> ClusterError {
    ClusterError::Slow {
        what: what.to_owned(),
        logs: logs.to_owned(),
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(50);
const STOP: Duration = Duration::from_secs(10);
const TOKEN_LIFETIME: Duration = Duration::from_secs(10 * 60);
