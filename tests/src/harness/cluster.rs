//! A cluster of `kvd` processes that a test starts, breaks and mends.

mod look;
mod loss;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use holdfast_client::{Client, ClientOptions, Context, Role};
use rustix::process::Signal;

use super::{Fabric, Folder, Process, Turn, binaries, netns::Namespaces, ports, wait};
use crate::etcd::Endpoints;

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many voters that serve.
    pub nodes: usize,
    /// How many witnesses beside them; their places are behind the others'.
    pub witnesses: usize,
    /// How they are joined.
    pub network: Network,
    /// Whether each node serves etcd's clients, too.
    pub etcd: bool,
    /// Settings of `node.toml` that differ from the defaults, as `name = value`.
    pub settings: Vec<(&'static str, String)>,
    /// Environment of every node.
    pub environment: Vec<(&'static str, String)>,
    /// How each node's key is kept on its disk, by place; `file` where nothing is said.
    pub key_protectors: Vec<&'static str>,
    /// For what the network does by chance.
    pub seed: u64,
    /// Where its folder is made; none: where temporary folders are.
    pub parent: Option<PathBuf>,
    /// Another kvd than the one that was built.
    pub program: Option<PathBuf>,
    /// It runs beside another cluster of the same process, in that one's turn.
    pub beside: bool,
}

/// How nodes are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Each listens on a port of 127.0.0.1.
    Loopback,
    /// The same, each behind a proxy that can be told to misbehave.
    Fabric,
    /// Each in a network namespace of its own.
    Namespaces,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            nodes: 3,
            witnesses: 0,
            network: Network::Loopback,
            etcd: false,
            settings: Vec::new(),
            environment: Vec::new(),
            key_protectors: Vec::new(),
            seed: 0,
            parent: None,
            program: None,
            beside: false,
        }
    }
}

/// Processes, their folder and their network; everything ends when it is dropped.
pub struct Cluster {
    nodes: Vec<Node>,
    options: ClusterOptions,
    fabric: Option<Fabric>,
    namespaces: Option<Namespaces>,
    // Dropped last: the folder is removed when the processes are gone, then the next may begin.
    folder: Folder,
    _turn: Option<Turn>,
}

struct Node {
    name: String,
    dir: PathBuf,
    listen: String,
    advertise: String,
    http: String,
    /// Of this node alone, beside the cluster's.
    environment: Vec<(&'static str, String)>,
    /// Where it listens for etcd's clients, and where they reach it.
    etcd: [String; 2],
    process: Option<Process>,
}

impl Cluster {
    /// Three nodes on loopback.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(ClusterOptions::default()).await
    }

    /// So many nodes on loopback.
    pub async fn of(nodes: usize) -> anyhow::Result<Self> {
        Self::start_with(ClusterOptions {
            nodes,
            ..ClusterOptions::default()
        })
        .await
    }

    /// Three nodes on loopback, on another file system.
    pub async fn start_in(parent: PathBuf) -> anyhow::Result<Self> {
        Self::start_with(ClusterOptions {
            parent: Some(parent),
            ..ClusterOptions::default()
        })
        .await
    }

    /// Makes the cluster, node by node, and waits until all of them serve.
    pub async fn start_with(options: ClusterOptions) -> anyhow::Result<Self> {
        let turn = (!options.beside).then(Turn::take).transpose()?;
        let folder = match &options.parent {
            Some(parent) => Folder::new_in(parent)?,
            None => Folder::new()?,
        };
        let fabric = (options.network == Network::Fabric)
            .then(|| Fabric::new(options.seed))
            .transpose()?;
        let namespaces = (options.network == Network::Namespaces)
            .then(|| Namespaces::create(options.nodes + options.witnesses))
            .transpose()?;
        let mut cluster = Self {
            nodes: Vec::new(),
            options,
            fabric,
            namespaces,
            folder,
            _turn: turn,
        };
        let roles = std::iter::repeat_n(Role::Voter, cluster.options.nodes).chain(
            std::iter::repeat_n(Role::Witness, cluster.options.witnesses),
        );
        for (place, role) in roles.enumerate() {
            cluster
                .add(place, role)
                .await
                .with_context(|| format!("making node n{}", place + 1))?;
        }
        cluster.wait_until_whole().await?;
        Ok(cluster)
    }

    /// How many nodes it has, running or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has none; it never is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The server's program, as a file.
    pub fn program(&self) -> PathBuf {
        let program = self.options.program.clone();
        program.unwrap_or_else(binaries::kvd)
    }

    /// The folder of everything: nodes, logs, and what the test puts there.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The folder of a node.
    pub fn dir(&self, node: usize) -> &Path {
        &self.nodes[node].dir
    }

    /// The name of a node.
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// Where everybody reaches a node.
    pub fn address(&self, node: usize) -> &str {
        &self.nodes[node].advertise
    }

    /// Where a node serves metrics and its health.
    pub fn http(&self, node: usize) -> &str {
        &self.nodes[node].http
    }

    /// How etcd's clients reach it, as its operator.
    pub fn etcd(&self) -> anyhow::Result<Endpoints> {
        ensure!(self.options.etcd, "the test asked for no etcd front");
        let url = |node: &Node| format!("https://{}", node.etcd[1]);
        Ok(Endpoints {
            urls: self.nodes.iter().map(url).collect(),
            papers: Some(self.context()?),
        })
    }

    /// The output of a node.
    pub fn log(&self, node: usize) -> PathBuf {
        self.folder.join(format!("{}.log", self.nodes[node].name))
    }

    /// The proxies, if that is its network.
    pub fn fabric(&self) -> &Fabric {
        self.fabric.as_ref().expect("the test asked for a fabric")
    }

    /// The namespaces, if that is its network.
    pub fn namespaces(&self) -> &Namespaces {
        self.namespaces
            .as_ref()
            .expect("the test asked for namespaces")
    }

    /// The process of a node that runs.
    pub fn process(&mut self, node: usize) -> &mut Process {
        self.nodes[node].process.as_mut().expect("the node runs")
    }

    /// The operator's context file.
    pub fn context_file(&self) -> PathBuf {
        self.nodes[0].dir.join("context/admin.toml")
    }

    /// A context file that knows one node alone.
    pub fn context_file_through(&self, node: usize) -> anyhow::Result<PathBuf> {
        let own = self.context_file();
        let text = fs::read_to_string(&own)?;
        let path = own.with_file_name(format!("through-{}.toml", self.name(node)));
        fs::write(&path, text.replace(self.address(0), self.address(node)))?;
        Ok(path)
    }

    /// The operator's context, with all nodes as endpoints.
    pub fn context(&self) -> anyhow::Result<Context> {
        let mut context = Context::load(self.context_file())?;
        context.endpoints = self
            .nodes
            .iter()
            .map(|node| node.advertise.clone())
            .collect();
        Ok(context)
    }

    /// A new client with the default options.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.context()?).await?)
    }

    /// A new client that waits at most so long for an answer.
    pub async fn client_waiting(&self, request_timeout: Duration) -> anyhow::Result<Client> {
        let options = ClientOptions {
            request_timeout,
            ..ClientOptions::default()
        };
        Ok(Client::with_options(&self.context()?, options).await?)
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        self.process(node).kill();
        self.nodes[node].process = None;
    }

    /// SIGKILL of all that run, at the same moment.
    pub fn kill_all(&mut self) {
        for node in self.running() {
            self.process(node).signal(Signal::KILL);
        }
        for node in self.running() {
            self.kill(node);
        }
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self, node: usize) -> anyhow::Result<()> {
        let process = self.process(node);
        process.signal(Signal::TERM);
        let status = process.wait(STOP)?;
        ensure!(
            status.success(),
            "{} ended with {status}",
            self.nodes[node].name
        );
        self.nodes[node].process = None;
        Ok(())
    }

    /// SIGSTOP: it stands still, its connections stay.
    pub fn freeze(&mut self, node: usize) {
        self.process(node).signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self, node: usize) {
        self.process(node).signal(Signal::CONT);
    }

    /// Sets something in the environment of one node, from its next start on.
    pub fn afflict(&mut self, node: usize, name: &'static str, value: impl Into<String>) {
        self.nodes[node].environment.push((name, value.into()));
    }

    /// Starts a node that does not run.
    pub fn run(&mut self, place: usize) -> anyhow::Result<()> {
        let log = self.log(place);
        let mut command = self.kvd(place);
        let node = &mut self.nodes[place];
        ensure!(node.process.is_none(), "{} runs already", node.name);
        let process = Process::spawn(command.arg("run").arg("--dir").arg(&node.dir), &log)?;
        if let Some(fabric) = &self.fabric {
            fabric.identify(process.pid(), place);
        }
        node.process = Some(process);
        Ok(())
    }

    /// Makes one more node, joins it and waits until it votes.
    pub async fn grow(&mut self) -> anyhow::Result<usize> {
        self.grow_by(Role::Voter).await
    }

    /// Makes one more node, joins it in this role and waits until it serves in it.
    pub async fn grow_by(&mut self, role: Role) -> anyhow::Result<usize> {
        let place = self.nodes.len();
        self.add(place, role).await?;
        Ok(place)
    }

    /// Forgets the last node: it was removed from the cluster, or never to return.
    pub fn forget_last(&mut self) {
        self.nodes.pop();
    }

    /// Undoes what was done: the network is whole, and all nodes run.
    pub fn mend(&mut self) -> anyhow::Result<()> {
        if let Some(fabric) = &self.fabric {
            fabric.heal();
        }
        if let Some(namespaces) = &self.namespaces {
            namespaces.heal()?;
        }
        for node in 0..self.nodes.len() {
            match &mut self.nodes[node].process {
                Some(process) => process.signal(Signal::CONT),
                None => self.run(node)?,
            }
        }
        Ok(())
    }

    /// Which nodes run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| self.nodes[*node].process.is_some())
            .collect()
    }

    async fn add(&mut self, place: usize, role: Role) -> anyhow::Result<()> {
        let name = format!("n{}", place + 1);
        let [inner, outer, http, etcd_inner, etcd_outer] = ports::free();
        let (listen, advertise, http, etcd) = match &self.namespaces {
            Some(namespaces) => {
                let address = namespaces.address(place);
                (
                    format!("{address}:7101"),
                    format!("{address}:7101"),
                    format!("{address}:7201"),
                    [format!("{address}:7301"), format!("{address}:7301")],
                )
            }
            None => {
                let proxied = |outer, inner| match self.fabric {
                    Some(_) => outer,
                    None => inner,
                };
                let at = |port: u16| format!("127.0.0.1:{port}");
                let etcd = [at(etcd_inner), at(proxied(etcd_outer, etcd_inner))];
                (at(inner), at(proxied(outer, inner)), at(http), etcd)
            }
        };
        if let Some(fabric) = &self.fabric {
            fabric.serve(place, outer, inner)?;
            fabric.serve(place, etcd_outer, etcd_inner)?;
        }
        let dir = self.folder.join(&name);
        let node = Node {
            name,
            dir,
            listen,
            advertise,
            http,
            environment: Vec::new(),
            etcd,
            process: None,
        };
        self.nodes.push(node);

        let mut command = self.kvd(place);
        if place == 0 {
            command.args(["init", "--cluster", "test"]);
        } else {
            let client = Client::connect(&self.context()?).await?;
            let cluster = client.cluster();
            let token = cluster.create_token(role, Duration::ZERO, None).await?;
            command.args(["join", "--token", &token.token]);
        }
        let node = &self.nodes[place];
        command
            .arg("--dir")
            .arg(&node.dir)
            .args(["--name", &node.name, "--listen", &node.listen])
            .args(["--advertise", &node.advertise, "--http", &node.http]);
        if let Some(protector) = self.options.key_protectors.get(place) {
            command.args(["--key-protector", protector]);
        }
        if self.options.etcd {
            command.args(["--etcd-listen", &node.etcd[0]]);
        }
        succeed(&mut command)?;
        self.begin(place, role).await
    }

    /// Runs a node for the first time and waits until it serves in this role.
    async fn begin(&mut self, place: usize, role: Role) -> anyhow::Result<()> {
        self.configure(place)?;
        self.run(place)?;
        // Each joins a cluster that serves; the next needs its vote.
        let client = Client::lazy(&self.context()?, ClientOptions::default())?;
        wait::until("the node to serve", SETTLE, || async {
            let status = client
                .cluster()
                .status_local(self.address(place))
                .await
                .ok()?;
            let is_in = look::own(&status)?.member.role == role;
            (status.leader.is_some() && is_in).then_some(())
        })
        .await
    }

    fn configure(&self, place: usize) -> anyhow::Result<()> {
        let path = self.nodes[place].dir.join("node.toml");
        let mut table: toml::Table = toml::from_str(&fs::read_to_string(&path)?)?;
        for (setting, value) in &self.options.settings {
            let value: toml::Value = toml::from_str::<toml::Table>(&format!("value = {value}"))?
                .remove("value")
                .context("a value")?;
            table.insert((*setting).to_owned(), value);
        }
        if !self.options.settings.is_empty() {
            fs::write(&path, toml::to_string(&table)?)?;
        }
        Ok(())
    }

    fn kvd(&self, place: usize) -> Command {
        let program = self.program();
        let mut command = match &self.namespaces {
            Some(namespaces) => namespaces.command(place, &program),
            None => Command::new(program),
        };
        let everywhere = self.options.environment.iter();
        let here = self.nodes[place].environment.iter();
        command.envs(everywhere.chain(here).map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A program that counts what runs (.ci/profile) writes its counts when it ends by itself.
        if std::env::var_os("LLVM_PROFILE_FILE").is_some() {
            for node in self.running() {
                // Who does not end in time is killed below; its counts are lost, the others' are not.
                let _ = self.stop(node);
            }
        }
        // All at once, so that nobody elects anybody meanwhile.
        self.kill_all();
    }
}

/// Runs a command to its end; its output is in the error if it fails.
pub fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} ended with {}: {said}",
            command.get_program().display(),
            output.status
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Generous: debug builds on a busy machine.
const SETTLE: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);
