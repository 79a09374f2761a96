//! The two that are compared: three members each, mutual TLS, defaults.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use holdfast_client::Client;
use holdfast_tests::{
    etcd::Endpoints,
    harness::{Cluster, ClusterOptions, Etcd, EtcdOptions, wait},
};

use crate::ceiling::Ceiling;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Side {
    /// Real etcd, or who stands in its place.
    Etcd,
    /// kvd and its etcd front.
    Holdfast,
}

/// Both of them, running.
pub(crate) struct Pair {
    theirs: Theirs,
    cluster: Cluster,
    operator: Client,
    ceiling: Option<Ceiling>,
}

/// Who is compared with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match<'a> {
    /// etcd and Holdfast.
    Usual,
    /// In place of Holdfast, members that do nothing; with a datagram for each put to those who watch.
    Ceiling { tells: bool },
    /// In place of etcd, members of another kvd.
    Against(&'a Path),
}

/// The side that is not ours.
enum Theirs {
    Etcd(Etcd),
    Kvd(Box<Cluster>, Client),
}

impl Theirs {
    async fn start(with: Match<'_>) -> anyhow::Result<Self> {
        let Match::Against(program) = with else {
            return Ok(Self::Etcd(Etcd::start(EtcdOptions::default()).await?));
        };
        let options = ClusterOptions {
            etcd: true,
            program: Some(program.to_owned()),
            beside: true,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start_with(options).await?;
        let operator = cluster.client().await?;
        Ok(Self::Kvd(Box::new(cluster), operator))
    }

    fn program(&self) -> anyhow::Result<PathBuf> {
        match self {
            Self::Etcd(_) => Ok(Etcd::program()?.to_path_buf()),
            Self::Kvd(cluster, _) => Ok(cluster.program()),
        }
    }

    fn endpoints(&self) -> anyhow::Result<Endpoints> {
        match self {
            Self::Etcd(etcd) => Ok(etcd.endpoints()),
            Self::Kvd(cluster, _) => cluster.etcd(),
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Etcd(etcd) => etcd.folder().path(),
            Self::Kvd(cluster, _) => cluster.folder().path(),
        }
    }

    fn dir(&self, member: usize) -> &Path {
        match self {
            Self::Etcd(etcd) => etcd.dir(member),
            Self::Kvd(cluster, _) => cluster.dir(member),
        }
    }

    fn pid(&mut self, member: usize) -> u32 {
        match self {
            Self::Etcd(etcd) => etcd.process(member).pid(),
            Self::Kvd(cluster, _) => cluster.process(member).pid(),
        }
    }

    async fn leader(&self) -> anyhow::Result<usize> {
        match self {
            Self::Etcd(etcd) => etcd.leader().await,
            Self::Kvd(cluster, operator) => cluster.leader(operator).await,
        }
    }

    fn kill(&mut self, member: usize) {
        match self {
            Self::Etcd(etcd) => etcd.kill(member),
            Self::Kvd(cluster, _) => cluster.kill(member),
        }
    }

    fn kill_all(&mut self) {
        match self {
            Self::Etcd(etcd) => etcd.kill_all(),
            Self::Kvd(cluster, _) => cluster.kill_all(),
        }
    }

    fn run(&mut self, member: usize) -> anyhow::Result<()> {
        match self {
            Self::Etcd(etcd) => etcd.run(member),
            Self::Kvd(cluster, _) => cluster.run(member),
        }
    }
}

impl Side {
    /// Both, in the order in which they are measured in a round. They change places each time, so
    /// that none always follows the other.
    pub(crate) fn in_round(round: usize) -> [Self; 2] {
        match round % 2 {
            0 => [Self::Etcd, Self::Holdfast],
            _ => [Self::Holdfast, Self::Etcd],
        }
    }
}

impl Pair {
    /// Starts both and waits until all members serve. Without Holdfast, its cluster idles.
    pub(crate) async fn start(with: Match<'_>) -> anyhow::Result<Self> {
        // First the cluster: it waits for its turn.
        let options = ClusterOptions {
            etcd: true,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start_with(options).await?;
        let theirs = Theirs::start(with).await?;
        let operator = cluster.client().await?;
        let nodes = std::array::from_fn(|member| cluster.dir(member));
        let ceiling = match with {
            Match::Ceiling { tells } => Some(Ceiling::start(nodes, cluster.etcd()?, tells)?),
            Match::Usual | Match::Against(_) => None,
        };
        Ok(Self {
            theirs,
            cluster,
            operator,
            ceiling,
        })
    }

    /// The server's program, as a file.
    pub(crate) fn program(&self, side: Side) -> anyhow::Result<PathBuf> {
        match side {
            Side::Etcd => self.theirs.program(),
            Side::Holdfast => Ok(self.cluster.program()),
        }
    }

    /// Where clients reach a side.
    pub(crate) fn endpoints(&self, side: Side) -> anyhow::Result<Endpoints> {
        match side {
            Side::Etcd => self.theirs.endpoints(),
            Side::Holdfast => match &self.ceiling {
                Some(ceiling) => Ok(ceiling.endpoints()),
                None => self.cluster.etcd(),
            },
        }
    }

    /// The folder of everything that a side has.
    pub(crate) fn folder(&self, side: Side) -> &Path {
        match side {
            Side::Etcd => self.theirs.folder(),
            Side::Holdfast => self.cluster.folder().path(),
        }
    }

    /// The data folders of the members.
    pub(crate) fn dirs(&self, side: Side) -> [&Path; MEMBERS] {
        std::array::from_fn(|member| match side {
            Side::Etcd => self.theirs.dir(member),
            Side::Holdfast => self.cluster.dir(member),
        })
    }

    /// The processes, which must all run.
    pub(crate) fn pids(&mut self, side: Side) -> [u32; MEMBERS] {
        if let (Side::Holdfast, Some(ceiling)) = (side, &self.ceiling) {
            return ceiling.pids();
        }
        std::array::from_fn(|member| match side {
            Side::Etcd => self.theirs.pid(member),
            Side::Holdfast => self.cluster.process(member).pid(),
        })
    }

    /// SIGKILL of the leader; gives which it was, and the moment before.
    pub(crate) async fn kill_leader(&mut self, side: Side) -> anyhow::Result<(usize, Instant)> {
        let leader = match side {
            Side::Etcd => self.theirs.leader().await?,
            Side::Holdfast => self.cluster.leader(&self.operator).await?,
        };
        let before = Instant::now();
        match side {
            Side::Etcd => self.theirs.kill(leader),
            Side::Holdfast => self.cluster.kill(leader),
        }
        Ok((leader, before))
    }

    /// SIGKILL of all members at once.
    pub(crate) fn kill_all(&mut self, side: Side) {
        match side {
            Side::Etcd => self.theirs.kill_all(),
            Side::Holdfast => self.cluster.kill_all(),
        }
    }

    /// Starts a member that does not run.
    pub(crate) fn run(&mut self, side: Side, member: usize) -> anyhow::Result<()> {
        match side {
            Side::Etcd => self.theirs.run(member),
            Side::Holdfast => self.cluster.run(member),
        }
    }

    /// Waits until each member answers a linearizable read, so knows the leader and has all that
    /// was written before.
    pub(crate) async fn wait_until_whole(&self, side: Side) -> anyhow::Result<()> {
        let endpoints = self.endpoints(side)?;
        for member in 0..MEMBERS {
            let reads = || async {
                let mut client = endpoints.client_of(member).await.ok()?;
                client.get("whole", None).await.ok()
            };
            wait::until(format!("member {member} of {side:?}"), SETTLE, reads).await?;
        }
        Ok(())
    }
}

/// How many there are on each side.
pub(crate) const MEMBERS: usize = 3;
const SETTLE: Duration = Duration::from_secs(30);
