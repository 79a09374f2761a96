//! Real etcd, of the version that `etcd-bin-vendored` brings: what our etcd front is held against.
//!
//! It is given the papers of a Holdfast cluster: an authority, a node's certificate, a client's. So
//! both sides of a comparison speak TLS with the same kind of keys, and a client needs only one
//! way to connect. etcd takes no [turn](super::Turn): it runs beside a cluster that has one.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use holdfast_client::Context;
use rustix::process::Signal;

use super::{Folder, Process, binaries, cluster::succeed, ports, wait};
use crate::etcd::Endpoints;

/// What kind of etcd.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// How many members.
    pub nodes: usize,
    /// Mutual TLS, for clients and between members; or none at all.
    pub tls: bool,
    /// More of its arguments, like `--max-txn-ops=512`. Without any it runs with its defaults.
    pub arguments: Vec<String>,
    /// Where its folder is made; none: where temporary folders are.
    pub parent: Option<PathBuf>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            nodes: 3,
            tls: true,
            arguments: Vec::new(),
            parent: None,
        }
    }
}

/// etcd processes and their folder; everything ends when it is dropped.
pub struct Etcd {
    nodes: Vec<Node>,
    options: EtcdOptions,
    papers: Option<Papers>,
    // Dropped last: the folder is removed when the processes are gone.
    folder: Folder,
}

struct Node {
    name: String,
    dir: PathBuf,
    client_port: u16,
    peer_port: u16,
    process: Option<Process>,
}

/// The files of mutual TLS.
struct Papers {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    operator: Context,
}

impl Etcd {
    /// Starts it and waits until every member serves linearizable reads.
    pub async fn start(options: EtcdOptions) -> anyhow::Result<Self> {
        let folder = match &options.parent {
            Some(parent) => Folder::new_in(parent)?,
            None => Folder::new()?,
        };
        let papers = match options.tls {
            true => Some(Papers::make(&folder.join("papers"))?),
            false => None,
        };
        let node = |place: usize| {
            let name = format!("e{}", place + 1);
            let [client_port, peer_port] = ports::free();
            Node {
                dir: folder.join(&name),
                name,
                client_port,
                peer_port,
                process: None,
            }
        };
        let nodes = (0..options.nodes).map(node).collect();
        let mut etcd = Self {
            nodes,
            options,
            papers,
            folder,
        };
        for place in 0..etcd.len() {
            etcd.run(place)?;
        }
        etcd.wait_until_whole().await?;
        Ok(etcd)
    }

    /// The program, as a file.
    pub fn program() -> anyhow::Result<&'static Path> {
        etcd_bin_vendored::etcd_bin_path().map_err(|error| anyhow!("{error}"))
    }

    /// How many members it has, running or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has none; it never is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The folder of everything.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The data folder of a member.
    pub fn dir(&self, node: usize) -> &Path {
        &self.nodes[node].dir
    }

    /// The output of a member.
    pub fn log(&self, node: usize) -> PathBuf {
        self.folder.join(format!("{}.log", self.nodes[node].name))
    }

    /// How clients reach it.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            urls: (0..self.len()).map(|node| self.client_url(node)).collect(),
            papers: self.papers.as_ref().map(|papers| papers.operator.clone()),
        }
    }

    /// The process of a member that runs.
    pub fn process(&mut self, node: usize) -> &mut Process {
        self.nodes[node].process.as_mut().expect("the member runs")
    }

    /// Which members run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.len())
            .filter(|node| self.nodes[*node].process.is_some())
            .collect()
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

    /// Starts a member that does not run.
    pub fn run(&mut self, place: usize) -> anyhow::Result<()> {
        let log = self.log(place);
        let mut command = self.command(place)?;
        let node = &mut self.nodes[place];
        ensure!(node.process.is_none(), "{} runs already", node.name);
        node.process = Some(Process::spawn(&mut command, &log)?);
        Ok(())
    }

    /// Waits until every member that runs answers a linearizable read.
    pub async fn wait_until_whole(&self) -> anyhow::Result<()> {
        let endpoints = self.endpoints();
        for node in self.running() {
            let reads = || async {
                let mut client = endpoints.client_of(node).await.ok()?;
                client.get("health", None).await.ok()
            };
            wait::until(&self.nodes[node].name, SETTLE, reads).await?;
        }
        Ok(())
    }

    /// The place of the leader.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let endpoints = self.endpoints();
        let says_so = || async {
            for node in self.running() {
                let Ok(mut client) = endpoints.client_of(node).await else {
                    continue;
                };
                let Ok(status) = client.status().await else {
                    continue;
                };
                if status
                    .header()
                    .is_some_and(|it| it.member_id() == status.leader())
                {
                    return Some(node);
                }
            }
            None
        };
        wait::until("a leader of etcd", SETTLE, says_so).await
    }

    fn client_url(&self, node: usize) -> String {
        self.url(self.nodes[node].client_port)
    }

    fn peer_url(&self, node: usize) -> String {
        self.url(self.nodes[node].peer_port)
    }

    fn url(&self, port: u16) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{port}")
    }

    fn command(&self, place: usize) -> anyhow::Result<Command> {
        let node = &self.nodes[place];
        let members: Vec<String> = (0..self.len())
            .map(|other| format!("{}={}", self.nodes[other].name, self.peer_url(other)))
            .collect();
        let mut command = Command::new(Self::program()?);
        command
            .args(["--name", &node.name])
            .arg("--data-dir")
            .arg(&node.dir)
            .args(["--listen-client-urls", &self.client_url(place)])
            .args(["--advertise-client-urls", &self.client_url(place)])
            .args(["--listen-peer-urls", &self.peer_url(place)])
            .args(["--initial-advertise-peer-urls", &self.peer_url(place)])
            .args(["--initial-cluster", &members.join(",")])
            .args(["--log-level", "warn"]);
        if let Some(papers) = &self.papers {
            command.args(["--client-cert-auth", "--peer-client-cert-auth"]);
            for (argument, file) in [
                ("--trusted-ca-file", &papers.authority),
                ("--cert-file", &papers.certificate),
                ("--key-file", &papers.key),
                ("--peer-trusted-ca-file", &papers.authority),
                ("--peer-cert-file", &papers.certificate),
                ("--peer-key-file", &papers.key),
            ] {
                command.arg(argument).arg(file);
            }
        }
        command.args(&self.options.arguments);
        Ok(command)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // All at once, so that nobody elects anybody meanwhile.
        self.kill_all();
    }
}

impl Papers {
    /// Those of a new cluster that never runs. Its node's certificate is good for any port of
    /// this machine, to serve and to connect with, so all members of an etcd can share it.
    fn make(dir: &Path) -> anyhow::Result<Self> {
        let [port] = ports::free();
        let mut command = Command::new(binaries::kvd());
        command
            .args(["init", "--cluster", "etcd", "--name", "n1", "--dir"])
            .arg(dir)
            .args(["--listen", &format!("127.0.0.1:{port}")]);
        succeed(&mut command).context("making certificates for etcd")?;
        Ok(Self {
            authority: dir.join("tls/ca.crt"),
            certificate: dir.join("tls/node.crt"),
            key: dir.join("tls/node.key"),
            operator: Context::load(dir.join("context/admin.toml"))?,
        })
    }
}

/// Generous: a busy machine.
const SETTLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::process::is_running;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn three_members_replace_a_killed_leader_and_leave_nothing_behind() {
        let mut etcd = Etcd::start(EtcdOptions::default()).await.unwrap();
        let mut client = etcd.endpoints().client().await.unwrap();
        client.put("a", "1", None).await.unwrap();

        let leader = etcd.leader().await.unwrap();
        etcd.kill(leader);
        let next = etcd.leader().await.unwrap();
        assert_ne!(next, leader);
        let mut client = etcd.endpoints().client_of(next).await.unwrap();
        let got = client.get("a", None).await.unwrap();
        assert_eq!(got.kvs()[0].value(), b"1");
        etcd.run(leader).unwrap();
        etcd.wait_until_whole().await.unwrap();

        let stranger = Endpoints {
            papers: None,
            ..etcd.endpoints()
        };
        let refused = async { stranger.client().await?.get("a", None).await };
        refused
            .await
            .expect_err("nobody is let in without a certificate");

        let pids: Vec<u32> = (0..etcd.len())
            .map(|node| etcd.process(node).pid())
            .collect();
        drop(etcd);
        assert!(pids.into_iter().all(|pid| !is_running(pid)));
    }
}
