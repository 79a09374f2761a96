//! The two that are compared: three members each, mutual TLS, defaults.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use holdfast_client::Client;
use holdfast_tests::{
    etcd::Endpoints,
    harness::{Cluster, ClusterOptions, Etcd, EtcdOptions, binaries, wait},
};

use crate::ceiling::Ceiling;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Side {
    /// Real etcd.
    Etcd,
    /// kvd and its etcd front.
    Holdfast,
}

/// Both of them, running.
pub(crate) struct Pair {
    etcd: Etcd,
    cluster: Cluster,
    operator: Client,
    ceiling: Option<Ceiling>,
}

/// Who answers in the place of Holdfast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    Kvd,
    /// Members that do nothing; with a datagram for each put to those who watch.
    Ceiling {
        tells: bool,
    },
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
    /// Starts both and waits until all members serve.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with(Rival::Kvd).await
    }

    /// The same, with somebody else in the place of Holdfast, who idles then.
    pub(crate) async fn start_with(rival: Rival) -> anyhow::Result<Self> {
        // First the cluster: it waits for its turn.
        let options = ClusterOptions {
            etcd: true,
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start_with(options).await?;
        let etcd = Etcd::start(EtcdOptions::default()).await?;
        let operator = cluster.client().await?;
        let nodes = std::array::from_fn(|member| cluster.dir(member));
        let ceiling = match rival {
            Rival::Kvd => None,
            Rival::Ceiling { tells } => Some(Ceiling::start(nodes, cluster.etcd()?, tells)?),
        };
        Ok(Self {
            etcd,
            cluster,
            operator,
            ceiling,
        })
    }

    /// The server's program, as a file.
    pub(crate) fn program(side: Side) -> anyhow::Result<std::path::PathBuf> {
        match side {
            Side::Etcd => Ok(Etcd::program()?.to_path_buf()),
            Side::Holdfast => Ok(binaries::kvd()),
        }
    }

    /// Where clients reach a side.
    pub(crate) fn endpoints(&self, side: Side) -> anyhow::Result<Endpoints> {
        match side {
            Side::Etcd => Ok(self.etcd.endpoints()),
            Side::Holdfast => match &self.ceiling {
                Some(ceiling) => Ok(ceiling.endpoints()),
                None => self.cluster.etcd(),
            },
        }
    }

    /// The folder of everything that a side has.
    pub(crate) fn folder(&self, side: Side) -> &Path {
        match side {
            Side::Etcd => self.etcd.folder().path(),
            Side::Holdfast => self.cluster.folder().path(),
        }
    }

    /// The data folders of the members.
    pub(crate) fn dirs(&self, side: Side) -> [&Path; MEMBERS] {
        std::array::from_fn(|member| match side {
            Side::Etcd => self.etcd.dir(member),
            Side::Holdfast => self.cluster.dir(member),
        })
    }

    /// The processes, which must all run.
    pub(crate) fn pids(&mut self, side: Side) -> [u32; MEMBERS] {
        if let (Side::Holdfast, Some(ceiling)) = (side, &self.ceiling) {
            return ceiling.pids();
        }
        std::array::from_fn(|member| match side {
            Side::Etcd => self.etcd.process(member).pid(),
            Side::Holdfast => self.cluster.process(member).pid(),
        })
    }

    /// SIGKILL of the leader; gives which it was, and the moment before.
    pub(crate) async fn kill_leader(&mut self, side: Side) -> anyhow::Result<(usize, Instant)> {
        let leader = match side {
            Side::Etcd => self.etcd.leader().await?,
            Side::Holdfast => self.cluster.leader(&self.operator).await?,
        };
        let before = Instant::now();
        match side {
            Side::Etcd => self.etcd.kill(leader),
            Side::Holdfast => self.cluster.kill(leader),
        }
        Ok((leader, before))
    }

    /// SIGKILL of all members at once.
    pub(crate) fn kill_all(&mut self, side: Side) {
        match side {
            Side::Etcd => self.etcd.kill_all(),
            Side::Holdfast => self.cluster.kill_all(),
        }
    }

    /// Starts a member that does not run.
    pub(crate) fn run(&mut self, side: Side, member: usize) -> anyhow::Result<()> {
        match side {
            Side::Etcd => self.etcd.run(member),
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
