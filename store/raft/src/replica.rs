//! One member's share of the cluster.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use holdfast_disk::{Log, LogOptions, Store, StoreOptions};
use holdfast_proto::{
    NodeId,
    limits::MESSAGE_BYTES,
    peer::v1::raft_server::{Raft as RaftService, RaftServer},
};
use openraft::{Config, SnapshotPolicy, async_runtime::watch::WatchReceiver as _};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinSet, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    archivist::{self, Archivist},
    barrier::Barrier,
    errors::{ArchiveError, BarrierError, InitializeError, ProposeError, StartError},
    failure_detector::FailureDetector,
    forward::Forward,
    gather::Gather,
    leadership,
    log::LogStore,
    machine::{self, Machine},
    network::Network,
    options::{PeerNode, ReplicaOptions, Timing},
    peer::{channels::Channels, service::PeerService},
    progress::Progress,
    propose::{Applied, Local, Proposer},
    room::Room,
    status::{Leadership, ReplicaStatus},
    types::{FoundError, Raft},
};

/// Between two checks that the channels to all peers are open.
const WARM_EVERY: Duration = Duration::from_secs(1);
/// Entries in one replication message, unless they are large.
const MESSAGE_ENTRIES: u64 = 1024;

/// A running replica; clones share it. It runs until [`Replica::shutdown`].
#[derive(Clone)]
pub struct Replica(Arc<Inner>);

struct Inner {
    id: NodeId,
    raft: Raft,
    store: Store,
    log: Log,
    progress: Arc<Progress>,
    proposer: Proposer,
    barrier: Barrier,
    archives: mpsc::Sender<archivist::Request>,
    leadership: watch::Sender<Leadership>,
    failure: watch::Sender<Option<String>>,
    detector: FailureDetector,
    tasks: Mutex<JoinSet<()>>,
}

impl Replica {
    /// Opens the files, applies what was committed, and takes part.
    pub async fn start(options: ReplicaOptions) -> Result<Self, StartError> {
        let config = Arc::new(config(&options.timing)?);
        let (log, store, meta) = open(&options).await?;
        let progress = Arc::new(Progress::new(
            options.archive_after_bytes,
            options.keep_log_bytes,
        ));
        let machine = Machine::new(store.clone(), progress.clone(), meta)
            .map_err(|error| StartError::Open(Box::new(error)))?;
        let log_again = LogStore::new(log.clone());
        store.replay_from(Box::new(move |range| log_again.commands(range)));
        let channels = Arc::new(Channels::new(options.dial.clone()));
        let network = Network::new(options.id.0, channels.clone());
        let raft = Raft::new(
            options.id.0,
            config,
            network,
            LogStore::new(log.clone()),
            machine,
        )
        .await
        .map_err(|error| StartError::Consensus(error.to_string()))?;

        let mut tasks = JoinSet::new();
        let room = Room::new(options.dir.clone(), options.reserve_bytes);
        tasks.spawn(room.clone().keep_looking());
        tasks.spawn(machine::announce(store.clone(), progress.applied()));
        let leadership = watch::Sender::new(Leadership::default());
        let failure = watch::Sender::new(None);
        tasks.spawn(leadership::follow(
            raft.clone(),
            progress.clone(),
            leadership.clone(),
            failure.clone(),
        ));
        let (forward, forwarder) = Forward::new(
            channels.clone(),
            leader_of(raft.clone()),
            leadership.subscribe(),
        );
        tasks.spawn(forwarder);
        let (barrier, rounds, questions) = Barrier::new(
            options.id,
            raft.clone(),
            channels.clone(),
            leader_of(raft.clone()),
        );
        tasks.spawn(rounds);
        tasks.spawn(questions);
        let (archives, requests) = mpsc::channel(1);
        let archivist = Archivist {
            raft: raft.clone(),
            progress: progress.clone(),
            room: room.clone(),
            after_bytes: options.archive_after_bytes,
            requests,
        };
        tasks.spawn(archivist.run());
        tasks.spawn(keep_warm(raft.clone(), channels.clone()));
        let detector = FailureDetector::new(raft.clone(), store.clone(), channels);
        tasks.spawn(detector.clone().run());
        let (gather, gathering) = Gather::new({
            let raft = raft.clone();
            move |record, responder| {
                let raft = raft.clone();
                async move {
                    // A core that has stopped drops the responder, which answers for it.
                    if let Err(fatal) = raft.client_write_ff(record, Some(responder)).await {
                        tracing::debug!("a proposal found consensus stopped: {fatal}");
                    }
                }
            }
        });
        tasks.spawn(gathering);
        let proposer = Proposer {
            id: options.id,
            local: Local::new(gather, room, options.clock, store.clone()),
            forward,
            leadership: leadership.subscribe(),
            failure: failure.subscribe(),
        };
        Ok(Self(Arc::new(Inner {
            id: options.id,
            raft,
            store,
            log,
            progress,
            proposer,
            barrier,
            archives,
            leadership,
            failure,
            detector,
            tasks: Mutex::new(tasks),
        })))
    }

    /// Founds a cluster of one.
    pub async fn initialize(&self, founder: PeerNode) -> Result<(), InitializeError> {
        let members = BTreeMap::from([(founder.id.0, founder.place())]);
        self.0
            .raft
            .initialize(members)
            .await
            .map_err(|error| match error {
                FoundError::APIError(_) => InitializeError::AlreadyInitialized,
                FoundError::Fatal(fatal) => InitializeError::Stopped {
                    why: fatal.to_string(),
                },
            })
    }

    /// Whether this node belongs to a cluster.
    pub fn is_initialized(&self) -> bool {
        !self.status().nodes.is_empty()
    }

    /// Has an encoded command applied, wherever the leader is, and returns what it answered.
    ///
    /// Until `deadline` it waits for a leader, and tries again what was certainly not taken. A
    /// command with a request id is also tried again when nobody knows whether it was taken: it
    /// is applied once all the same.
    pub async fn propose(
        &self,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied, ProposeError> {
        self.0.proposer.propose(command, deadline).await
    }

    /// When it returns, reads of [`Replica::store`] are linearizable.
    pub async fn barrier(&self, deadline: Instant) -> Result<(), BarrierError> {
        let inner = &self.0;
        #[cfg(feature = "faults")]
        if crate::faults::reads_locally() {
            return Ok(());
        }
        inner
            .barrier
            .pass(
                &inner.proposer.leadership,
                &inner.proposer.failure,
                &inner.progress,
                deadline,
            )
            .await
    }

    /// The state, for reads and watches.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// This node's number.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// The time as the cluster has it: this node's wall clock as far as it can be believed,
    /// milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.0.proposer.local.now_ms()
    }

    /// Everything at one moment.
    pub fn status(&self) -> ReplicaStatus {
        ReplicaStatus::of(&self.0.raft.metrics().borrow_watched())
    }

    /// Bytes of the log on disk.
    pub fn log_bytes(&self) -> u64 {
        self.0.log.bytes()
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.subscribe()
    }

    /// Set once, with the reason, when this node had to stop.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.0.failure.subscribe()
    }

    /// Writes an archive now, and returns the log index at which it ends.
    pub async fn archive_now(&self) -> Result<u64, ArchiveError> {
        let ended = || ArchiveError::Stopped {
            why: "the replica was shut down".to_owned(),
        };
        let (request, outcome) = oneshot::channel();
        self.0.archives.send(request).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }

    /// The service that peers call, to be mounted beside the others. Whoever mounts it lets
    /// members only pass.
    pub fn service(&self) -> RaftServer<impl RaftService> {
        let service = PeerService {
            raft: self.0.raft.clone(),
            local: self.0.proposer.local.clone(),
            barrier: self.0.barrier.clone(),
            store: self.0.store.clone(),
            detector: self.0.detector.clone(),
        };
        RaftServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    /// Takes no part any more, and leaves the files as a clean stop does. What is being proposed
    /// answers *unknown*.
    pub async fn shutdown(&self) {
        leadership::stop(
            &self.0.leadership,
            &self.0.failure,
            "the replica was shut down",
        );
        // The error type is the runtime's for a task that was cancelled, which is what we want.
        drop(self.0.raft.shutdown().await);
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        tasks.shutdown().await;
        let store = self.0.store.clone();
        drop(spawn_blocking(move || store.close()).await);
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.0.raft
    }
}

async fn open(options: &ReplicaOptions) -> Result<(Log, Store, Option<Bytes>), StartError> {
    let dir = options.dir.clone();
    let opened = spawn_blocking(move || {
        let log = Log::open(&dir, LogOptions::default())?;
        let (store, recovered) = Store::open(&dir, StoreOptions::default())?;
        recovered.check(&dir, &log.state())?;
        Ok::<_, holdfast_disk::OpenError>((log, store, recovered))
    })
    .await
    .map_err(|error| StartError::Open(Box::new(error)))?;
    let (log, store, recovered) = opened.map_err(|error| StartError::Open(Box::new(error)))?;
    if !options.fresh && log.state().vote.is_none() {
        return Err(StartError::Wiped { id: options.id });
    }
    Ok((log, store, recovered.meta))
}

fn config(timing: &Timing) -> Result<Config, StartError> {
    let config = Config {
        cluster_name: "holdfast".to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        max_payload_entries: MESSAGE_ENTRIES,
        // The archivist decides when, and cuts the log itself.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        broadcast_submitted_on_append: Some(true),
        enable_pre_vote: Some(true),
        // A leader without a quorum goes quiet, so that the others may elect one they all reach.
        quorum_loss_probe_interval: Some(2 * timing.election_max_ms),
        // A restarted leader asks for votes like everybody.
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..Config::default()
    };
    config
        .validate()
        .map_err(|error| StartError::Timing(error.to_string()))
}

/// Who leads, as consensus can reach it; `None` if nobody does, or this node.
fn leader_of(raft: Raft) -> impl Fn() -> Option<PeerNode> + Send + Sync + 'static {
    move || {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader.filter(|id| *id != metrics.id)?;
        let place = metrics.membership_config.get_node(&leader)?;
        Some(PeerNode::at(leader, place))
    }
}

async fn keep_warm(raft: Raft, channels: Arc<Channels>) {
    let mut ticks = interval(WARM_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let peers: Vec<PeerNode> = {
            let metrics = raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let nodes = metrics.membership_config.nodes();
            nodes
                .filter(|(id, _)| **id != metrics.id)
                .map(|(id, place)| PeerNode::at(*id, place))
                .collect()
        };
        channels.warm(&peers).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_timing_that_works() {
        let config = config(&Timing::default()).unwrap();
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.snapshot_policy, SnapshotPolicy::Never);
    }

    #[test]
    fn a_leader_goes_quiet_for_two_longest_elections_at_least() {
        for election_max_ms in [240, 400, 1_000] {
            let timing = Timing {
                election_max_ms,
                ..Timing::default()
            };
            let quiet = config(&timing).unwrap().quorum_loss_probe_interval.unwrap();
            assert!(quiet >= 2 * election_max_ms);
        }
    }

    #[test]
    fn who_campaigns_last_lets_others_have_its_vote_as_soon_as_anybody() {
        let (usual, last) = (Timing::default(), Timing::default().last_to_campaign());
        assert!(config(&last).is_ok());
        assert_eq!(last.election_min_ms, usual.election_max_ms - 1);
        assert_eq!(last.lease(), usual.lease());
    }

    #[test]
    fn a_timing_that_cannot_work_is_refused_with_the_reason() {
        let timing = Timing {
            heartbeat_ms: 500,
            ..Timing::default()
        };
        assert!(matches!(config(&timing), Err(StartError::Timing(_))));
    }
}
