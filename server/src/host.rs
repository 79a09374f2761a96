//! The node as its services see it: what each of them proposes, reads and answers through.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use holdfast_core::{Command, Reply, State};
use holdfast_proto::{NodeId, NodeName, limits, log, v1};
use holdfast_raft::{Leadership, PeerNode, Replica};
use parking_lot::Mutex;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    access::{Denied, Permit},
    audit::Audit,
    authority::Next,
    backup::Backups,
    caller::Caller,
    clocks::Clocks,
    deadline,
    fence::Fence,
    identity::CertificateAuthority,
    keyring::Keys,
    peers::Peers,
    renewals::Renewals,
    session::Session,
    status::{self, Reason, invalid},
    tls::Trust,
};

/// Shared by all services of one node.
pub(crate) struct Host {
    pub(crate) replica: Replica,
    pub(crate) cluster: Arc<str>,
    pub(crate) id: NodeId,
    pub(crate) name: NodeName,
    pub(crate) peers: Peers,
    pub(crate) session: Session,
    pub(crate) renewals: Renewals,
    pub(crate) fence: Fence,
    pub(crate) clocks: Clocks,
    /// What its node key opens.
    pub(crate) keys: Keys,
    /// Where reveals and admin acts are recorded before they are done.
    pub(crate) audit: Audit,
    pub(crate) backups: Arc<Backups>,
    /// Empty on a learner, until it is promoted, and on a witness: they are not trusted with it.
    pub(crate) authority: ArcSwapOption<CertificateAuthority>,
    /// The one that is to follow it, with its key.
    pub(crate) next_authority: ArcSwapOption<Next>,
    /// Whom it trusts.
    pub(crate) trust: Arc<Trust>,
    /// Clients that were seen, since the rotation that is under way began, with certificates of the
    /// authority that leaves.
    pub(crate) old_clients: Mutex<BTreeSet<String>>,
    /// Whether it only votes: it holds no keys and serves no clients.
    pub(crate) is_witness: bool,
    /// Where its etcd front is, as a URL; empty: it has none.
    pub(crate) etcd: Arc<str>,
    /// Cancelled when the node begins to stop: what waits on purpose gives up then.
    pub(crate) closing: CancellationToken,
}

/// Who proposes what, and why.
pub(crate) struct Proposal {
    pub(crate) request: Option<v1::RequestId>,
    pub(crate) author: String,
    pub(crate) note: String,
    pub(crate) body: log::v1::command::Body,
}

impl Host {
    /// The head of an answer made at `revision`.
    pub(crate) fn header(&self, revision: u64) -> Option<v1::Header> {
        Some(v1::Header {
            cluster: self.cluster.to_string(),
            member: self.id.0,
            term: self.leadership().term,
            revision,
            ..v1::Header::default()
        })
    }

    /// The head of an answer made now.
    pub(crate) fn header_now(&self) -> Option<v1::Header> {
        self.header(self.read(State::revision))
    }

    /// The cluster's authority, if this node holds its key.
    pub(crate) fn authority(&self) -> Option<Arc<CertificateAuthority>> {
        self.authority.load_full()
    }

    /// The node holds the authority's key from now on.
    pub(crate) fn set_authority(&self, authority: CertificateAuthority) {
        self.authority.store(Some(Arc::new(authority)));
    }

    /// The authority of this number, if it is the next one and this node holds its key.
    pub(crate) fn next_authority(&self, generation: u64) -> Option<Arc<Next>> {
        let next = self.next_authority.load_full();
        next.filter(|next| next.generation == generation)
    }

    /// The node holds the key of the next authority from now on.
    pub(crate) fn set_next_authority(
        &self,
        generation: u64,
        authority: CertificateAuthority,
    ) -> Arc<Next> {
        let next = Arc::new(Next {
            generation,
            authority: Arc::new(authority),
        });
        self.next_authority.store(Some(next.clone()));
        next
    }

    /// The next authority is the one in use from now on.
    pub(crate) fn settle_authority(&self) {
        let next = self.next_authority.swap(None);
        self.authority
            .store(next.map(|next| next.authority.clone()));
        self.old_clients.lock().clear();
    }

    /// A client that has to renew its certificate before the rotation ends.
    pub(crate) fn note_old_client(&self, name: &str) {
        let mut clients = self.old_clients.lock();
        if clients.len() < OLD_CLIENTS && !clients.contains(name) {
            clients.insert(name.to_owned());
        }
    }

    /// The time, as far as this node's clock can be believed.
    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.replica.now_ms())
    }

    pub(crate) fn leadership(&self) -> Leadership {
        *self.replica.leadership().borrow()
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        self.replica.store().read(read)
    }

    /// Whether the holder of a public key was a member and is one no more.
    pub(crate) fn is_removed(&self, public_key: &[u8]) -> bool {
        self.read(|state| {
            let mut members = state.members();
            members.any(|member| member.removed && member.public_key[..] == *public_key)
        })
    }

    /// Proposes a caller's write and returns what it answered.
    pub(crate) async fn propose(
        &self,
        proposal: Proposal,
        deadline: Instant,
    ) -> Result<Reply, Status> {
        let command = log::v1::Command {
            request: proposal.request,
            author: proposal.author,
            note: proposal.note,
            body: Some(proposal.body),
        };
        let bytes = Bytes::from(command.encode_to_vec());
        if bytes.len() > limits::REQUEST_BYTES {
            return Err(Reason::TooLarge.status(format!(
                "the request has {} bytes; at most {} are allowed; split it",
                bytes.len(),
                limits::REQUEST_BYTES
            )));
        }
        let founds = matches!(command.body, Some(log::v1::command::Body::ClusterInit(_)));
        Command::try_from(command).map_err(|error| status::refused(&error.to_refusal()))?;
        if !founds {
            self.founded()?;
        }
        let applied = self
            .replica
            .propose(bytes, deadline.into())
            .await
            .map_err(|error| status::not_proposed(&error))?;
        match applied.reply.refusal() {
            Some(refusal) => Err(status::refused(refusal)),
            None => Ok(applied.reply),
        }
    }

    /// Proposes something that the node itself wants; applied once even if its outcome is lost.
    pub(crate) async fn propose_own(
        &self,
        author: String,
        note: String,
        body: log::v1::command::Body,
        deadline: Instant,
    ) -> Result<Reply, Status> {
        let request = self.session.request();
        let proposal = Proposal {
            request: Some(request.id().into()),
            author,
            note,
            body,
        };
        self.propose(proposal, deadline).await
    }

    /// How the node signs what it does for the cluster.
    pub(crate) fn author(&self) -> String {
        format!("node/{}", self.name)
    }

    /// Returns once the local state is no older than anything acknowledged before the call.
    pub(crate) async fn barrier(&self, deadline: Instant) -> Result<(), Status> {
        self.replica
            .barrier(deadline.into())
            .await
            .map_err(|error| status::not_confirmed(&error))?;
        self.founded()
    }

    /// A leader may be there a moment before the cluster is: until then there are no members to
    /// tell anybody of, and nothing may come before the command that founds it.
    pub(crate) fn founded(&self) -> Result<(), Status> {
        if self.read(|state| state.cluster().is_some()) {
            return Ok(());
        }
        Err(Reason::NoQuorum
            .status("the cluster is being formed; nothing was changed, ask again in a moment"))
    }

    /// Makes a read as fresh as `consistency` (as it stands on the wire) asks.
    pub(crate) async fn freshen(&self, consistency: i32, deadline: Instant) -> Result<(), Status> {
        match v1::Consistency::try_from(consistency) {
            Ok(v1::Consistency::Linearizable) => self.barrier(deadline).await,
            Ok(v1::Consistency::Local) => Ok(()),
            Err(_) => Err(invalid(
                "the consistency asked for is not known; use linearizable or local",
            )),
        }
    }

    /// Refuses what the caller may not do. A refusal counts only once this node is known to have the
    /// newest policy: one that lags would refuse who was just let in.
    pub(crate) async fn permit(
        &self,
        caller: &Caller,
        deadline: Instant,
        check: impl Fn(&State, &Permit) -> Result<(), Denied>,
    ) -> Result<(), Status> {
        let looked = || self.read(|state| check(state, &caller.permit(state)));
        if looked().is_ok() {
            return Ok(());
        }
        self.barrier(deadline).await?;
        Ok(looked()?)
    }

    /// A member as consensus reaches it.
    pub(crate) fn peer(&self, id: NodeId) -> Option<PeerNode> {
        self.replica
            .status()
            .nodes
            .into_iter()
            .find(|node| node.id == id)
    }

    /// Waits until `found` finds something in the state, looking again after each change.
    /// Ends early when the node stops, is fenced, or `deadline` passes.
    pub(crate) async fn wait_for<R>(
        &self,
        deadline: Option<Instant>,
        mut found: impl FnMut(&State) -> Option<R>,
    ) -> Result<R, Status> {
        let mut revisions = self.replica.store().revisions();
        loop {
            revisions.mark_unchanged();
            if let Some(found) = self.read(&mut found) {
                return Ok(found);
            }
            tokio::select! {
                changed = revisions.changed() => changed.map_err(|_| stopped())?,
                () = self.closing.cancelled() => return Err(closing()),
                why = self.fence.raised() => return Err(Reason::Fenced.status(why.to_string())),
                () = deadline::passed(deadline) => return Err(deadline::too_late()),
            }
        }
    }
}

/// What a wait gets when the node stops.
pub(crate) fn closing() -> Status {
    Reason::ShuttingDown.status("this node is stopping; go on at another node of the cluster")
}

fn stopped() -> Status {
    Reason::Stopped
        .status("the store of this node has stopped; go on at another node of the cluster")
}

/// So many names are enough to tell what is to be done.
const OLD_CLIENTS: usize = 1_000;
