//! A whole node: a replica with everything that speaks for it, on one port.

mod connection;
mod founding;
mod serving;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use holdfast_client::Client;
use holdfast_proto::NodeName;
use holdfast_raft::{Replica, ReplicaOptions, Timing};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Channel;

use self::serving::Serving;
pub(crate) use self::serving::report as report_health;
use crate::{
    audit::{self, Audit},
    backup::{self, Backups},
    caller::Caller,
    clocks::{self, Clocks},
    configuration::NodeConfiguration,
    dir::{DirError, NodeDir},
    divergence, duties, etcd,
    fence::Fence,
    host::Host,
    keyring::{self, Keys},
    membership,
    observe::InFlight,
    papers,
    peers::Peers,
    renewals::Renewals,
    serving::Running,
    session::Session,
    tls::PeerDialer,
};

/// A running node. Dropping it without [`Node::shutdown`] is like losing its power.
pub struct Node {
    host: Arc<Host>,
    dir: Arc<NodeDir>,
    address: SocketAddr,
    in_flight: InFlight,
    serving: Serving,
    etcd: Option<EtcdFront>,
    local: mpsc::Sender<connection::Local>,
    duties: TaskTracker,
    founding: JoinHandle<()>,
}

/// The front for etcd's clients, on a listener of its own.
struct EtcdFront {
    serving: Running,
    address: SocketAddr,
}

/// Why a node did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Keys, certificates or settings in the node's folder.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The node key.
    #[error("the node key was not opened")]
    NodeKey(#[from] crate::dir::NodeKeyFileError),
    /// The address is taken, or is not this machine's.
    #[error(
        "cannot listen on {address}: {source}; stop what uses the port, or give this node another \
         address"
    )]
    Listen {
        /// `HOST:PORT`.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The replica.
    #[error("the replica did not start")]
    Replica(#[from] holdfast_raft::StartError),
    /// The services.
    #[error("the services did not start: {0}")]
    Services(String),
}

/// Why a node that runs cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the node had to stop: {why}")]
pub struct Stopped {
    /// What happened and what to do.
    pub why: String,
}

impl Node {
    /// Starts the node of a folder: opens its files, binds its port, begins to serve. A founder
    /// forms its cluster of one on its first start. Returns before there is a leader; see
    /// [`Node::ready`].
    pub async fn start(dir: NodeDir) -> Result<Self, StartError> {
        let configuration = dir.configuration().clone();
        let tls = dir.tls(std::time::SystemTime::now())?;
        let authority = dir.holds_authority().then(|| dir.authority()).transpose()?;
        let keys = Keys::new(match configuration.witness {
            true => None,
            false => Some(dir.open_node_key()?),
        });
        let (listener, address) = bind(&configuration.listen).await?;
        let etcd = match &configuration.etcd {
            Some(listen) => Some(bind(listen).await?),
            None => None,
        };
        let dial = Arc::new(PeerDialer::new(tls.clone()));
        let clocks = Clocks::new();
        let replica = Replica::start(ReplicaOptions {
            fresh: dir.is_first_start(),
            timing: timing(&configuration),
            archive_after_bytes: configuration.archive_after_bytes,
            clock: clocks.clock(),
            ..ReplicaOptions::new(configuration.id, dir.data(), dial.clone())
        })
        .await?;
        let dir = Arc::new(dir);
        let backups = Arc::new(Backups::new(dir.clone()));
        let clock = clocks.clock();
        let audit = Audit::start(dir.audit(), configuration.id, move || clock.wall_ms())
            .map_err(|error| StartError::Services(error.to_string()))?;
        let host = Arc::new(Host {
            replica,
            cluster: configuration.cluster_id.as_str().into(),
            id: configuration.id,
            name: configuration.name.clone(),
            peers: Peers::new(dial),
            session: Session::new(),
            renewals: Renewals::default(),
            fence: Fence::down(),
            clocks,
            keys,
            audit,
            is_witness: configuration.witness,
            authority: ArcSwapOption::new(authority.map(Arc::new)),
            next_authority: ArcSwapOption::empty(),
            trust: tls.trust().clone(),
            old_clients: Mutex::default(),
            backups: backups.clone(),
            etcd: etcd
                .as_ref()
                .map_or_else(String::new, |(_, address)| configuration.etcd_url(*address))
                .into(),
            closing: CancellationToken::new(),
        });
        // Members are known by their keys before the first of them calls.
        host.trust.follow(&host.replica.store().view());
        let in_flight = InFlight::default();
        let (local, locals) = mpsc::channel(LOCAL_CONNECTIONS);
        let connections = connection::all(listener, &tls, locals);
        let serving = Serving::begin(&host, in_flight.clone(), connections);
        let etcd = etcd.map(|(listener, address)| {
            let tls = (!configuration.etcd_plaintext).then_some(&tls);
            let serving = etcd::serve(&host, listener, tls, in_flight.clone());
            EtcdFront { serving, address }
        });
        if let Some(etcd) = &etcd {
            let (url, address) = (&host.etcd, etcd.address);
            tracing::info!(%url, %address, "etcd's clients are served");
            if configuration.etcd_plaintext {
                tracing::warn!(
                    "without TLS: whoever is on this machine may read and write everything there"
                );
            }
        }
        let duties = TaskTracker::new();
        duties.spawn(duties::run(host.clone()));
        duties.spawn(audit::anchor::run(host.clone()));
        duties.spawn(membership::run(host.clone()));
        duties.spawn(clocks::run(host.clone()));
        duties.spawn(keyring::run(host.clone()));
        duties.spawn(backup::run(host.clone(), backups));
        duties.spawn(divergence::run(host.clone(), dir.clone()));
        let founding = tokio::spawn(founding::run(
            host.clone(),
            dir.clone(),
            tls.identity().clone(),
        ));
        duties.spawn(papers::run(host.clone(), dir.clone(), tls));
        duties.close();
        tracing::info!(node = %host.name, id = %host.id, %address, "the node listens");
        Ok(Self {
            host,
            dir,
            address,
            in_flight,
            serving,
            etcd,
            local,
            duties,
            founding,
        })
    }

    /// Where it listens for clients and peers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for etcd's clients; `None`: nowhere.
    pub fn etcd_address(&self) -> Option<SocketAddr> {
        self.etcd.as_ref().map(|etcd| etcd.address)
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.host.name
    }

    /// Its folder.
    pub fn dir(&self) -> &NodeDir {
        &self.dir
    }

    /// Its replica, for tests and tools.
    pub fn replica(&self) -> &Replica {
        &self.host.replica
    }

    /// How it is, for as long as anybody wants to know.
    pub fn health(&self) -> Health {
        Health {
            host: self.host.clone(),
        }
    }

    /// A client of the cluster through this node, without a network between. Signs what it does
    /// as `client/embedded`, who may do everything but reveal secrets until the policy is changed.
    pub fn client(&self) -> Client {
        Client::from_channel(self.channel(), &*self.host.cluster)
    }

    /// As [`Node::client`], for the generated clients of `holdfast_proto::v1`.
    pub fn channel(&self) -> Channel {
        let caller = Caller::embedded(&self.host.cluster);
        connection::channel(self.local.clone(), caller)
    }

    /// Returns when the node serves: it is a known member, and there is a leader.
    pub async fn ready(&self) {
        while self.health().ready().is_err() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Returns when the node cannot go on, and why.
    pub async fn wait(&self) -> Stopped {
        tokio::select! {
            why = self.replica_failed() => Stopped { why },
            () = self.serving.ended() => Stopped {
                why: "its services ended; see the log".to_owned(),
            },
            () = self.etcd_ended() => Stopped {
                why: "its front for etcd's clients ended; see the log".to_owned(),
            },
        }
    }

    /// Returns when the replica stopped by itself, and why. Not of a fenced node, which stopped its
    /// replica on purpose and stays to say so.
    async fn replica_failed(&self) -> String {
        let mut failure = self.host.replica.failure();
        let failed = failure.wait_for(Option::is_some).await;
        let why = failed.ok().and_then(|why| why.clone());
        if self.host.fence.reason().is_some() {
            std::future::pending::<()>().await;
        }
        why.unwrap_or_else(|| "its replica is gone".to_owned())
    }

    /// Stops in order: hands leadership over, answers what was asked, ends watches with a word to
    /// go elsewhere, and leaves the mark of a clean stop.
    pub async fn shutdown(self) {
        tracing::info!(node = %self.host.name, "the node stops");
        self.serving.report_stopping().await;
        self.hand_over().await;
        self.host.closing.cancel();
        self.serving.stop_accepting();
        if let Some(etcd) = &self.etcd {
            etcd.serving.stop_accepting();
        }
        if tokio::time::timeout(DRAIN, self.in_flight.drained())
            .await
            .is_err()
        {
            tracing::warn!("some requests had no answer in time; their clients ask elsewhere");
        }
        self.duties.wait().await;
        self.founding.abort();
        self.host.audit.end().await;
        self.host.replica.shutdown().await;
        if let Some(etcd) = &self.etcd {
            etcd.serving.end(LINGER).await;
        }
        self.serving.end(LINGER).await;
        tracing::info!(node = %self.host.name, "the node has stopped");
    }

    async fn etcd_ended(&self) {
        match &self.etcd {
            Some(etcd) => etcd.serving.ended().await,
            None => std::future::pending().await,
        }
    }

    async fn hand_over(&self) {
        let status = self.host.replica.status();
        if status.leader != Some(self.host.id) || status.voters.len() < 2 {
            return;
        }
        let deadline = std::time::Instant::now() + HAND_OVER;
        // While two sets of voters have to agree, both may need this node.
        if membership::wait_until(&self.host, deadline, |_| true)
            .await
            .is_err()
        {
            tracing::warn!("this node stops while the voters change");
        }
        match self
            .host
            .replica
            .transfer_leader(None, deadline.into())
            .await
        {
            Ok(leader) => tracing::info!(%leader, "leadership was handed over"),
            Err(error) => tracing::warn!(%error, "leadership could not be handed over"),
        }
    }
}

fn timing(configuration: &NodeConfiguration) -> Timing {
    let timing = Timing {
        heartbeat_ms: configuration.timing.heartbeat_ms,
        election_min_ms: configuration.timing.election_min_ms,
        election_max_ms: configuration.timing.election_max_ms,
    };
    match configuration.witness {
        true => timing.last_to_campaign(),
        false => timing,
    }
}

async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let unbound = |source| StartError::Listen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(unbound)?;
    let address = listener.local_addr().map_err(unbound)?;
    Ok((listener, address))
}

/// How a node is.
#[derive(Clone)]
pub struct Health {
    host: Arc<Host>,
}

impl Health {
    /// Whether the process is in order; else why it should be looked at.
    pub fn alive(&self) -> Result<(), String> {
        if let Some(why) = self.host.fence.reason() {
            return Err(why.to_string());
        }
        match &*self.host.replica.failure().borrow() {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// Whether requests should be sent here; else why not.
    pub fn ready(&self) -> Result<(), String> {
        self.alive()?;
        if self.host.closing.is_cancelled() {
            return Err("the node is stopping".to_owned());
        }
        let (id, is_member) = (self.host.id, |id| {
            self.host
                .read(|state| state.member(id).is_some_and(|member| !member.removed))
        });
        if !is_member(id) {
            return Err("the node has not learned yet that it is a member".to_owned());
        }
        match self.host.leadership() {
            leadership if leadership.leader == Some(id) && !leadership.is_self_ready => {
                Err("the node leads, but is not ready yet".to_owned())
            }
            leadership if leadership.leader.is_none() => Err("no leader is known".to_owned()),
            _ => Ok(()),
        }
    }
}

const LOCAL_CONNECTIONS: usize = 16;
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const HAND_OVER: Duration = Duration::from_millis(1_500);
/// How long requests may take to end.
const DRAIN: Duration = Duration::from_secs(5);
/// How long connections may take to close once every request has its answer.
const LINGER: Duration = Duration::from_millis(300);
