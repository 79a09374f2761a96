//! The nodes a client knows: which answer, which leads, which to ask next.
//!
//! The context names some; the others are learned from the cluster's member list. Each node has two
//! [circuits](Circuit): whether it can be talked to, and whether what needs a majority goes through
//! there. For a node that is cut off from its peers answers what it can answer alone, and lets the
//! rest hang; the one must not speak for the other.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use holdfast_proto::v1;
use parking_lot::Mutex;
use rand::RngExt as _;
use tonic::{Status, transport::Channel};

use crate::{
    ConnectError,
    circuit::{Circuit, Fault},
    connect::{Alert, Dialed, Dialer},
    discovery::service,
    lane::Lanes,
    reason::{self, Verdict},
};

/// One node: its connections and what is known of it.
pub(crate) struct Node {
    address: String,
    pub(crate) lanes: Lanes,
    alert: Alert,
    /// Its member id; 0: not known yet.
    member: AtomicU64,
    /// It takes no clients; only its status can be asked for.
    witness: AtomicBool,
    /// Talking to it.
    reach: Circuit,
    /// Getting a majority's answer through it.
    majority: Circuit,
}

/// All nodes known.
pub(crate) struct Nodes {
    list: ArcSwap<Vec<Arc<Node>>>,
    /// Held while the list is changed.
    listed: Mutex<Listed>,
    /// From the context: never dropped.
    named: Vec<String>,
    /// Why a name of the context that stands for nodes has none yet.
    undiscovered: Mutex<Option<String>>,
    /// `None`: the channels were given, and no others can be made.
    dialer: Option<Dialer>,
    leader: AtomicU64,
    term: AtomicU64,
    /// The members were listed once.
    met: AtomicBool,
    turn: AtomicUsize,
    start: Instant,
}

/// What the list of nodes is made of.
#[derive(Default)]
struct Listed {
    /// When the newest list of members was true.
    term: u64,
    as_of_ms: u64,
    /// Addresses that DNS names.
    discovered: Vec<String>,
}

/// Where a call should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The leader, as far as known; else any.
    Leader,
    /// Any node, in turn.
    Spread,
}

/// What it takes to answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The node that is asked.
    Node,
    /// A majority of the nodes.
    Majority,
}

impl Node {
    fn new(address: String, dialed: Dialed) -> Arc<Self> {
        Arc::new(Self {
            address,
            lanes: dialed.lanes,
            alert: dialed.alert,
            member: AtomicU64::new(0),
            witness: AtomicBool::new(false),
            reach: Circuit::default(),
            majority: Circuit::default(),
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What a failed attempt at this node means.
    pub(crate) fn judge(&self, status: &Status) -> Verdict {
        match reason::judge(status) {
            // The transport only says that the connection broke.
            Verdict::RetryUnknown | Verdict::RetryUntouched if self.alert.is_raised() => {
                Verdict::Untrusted
            }
            verdict => verdict,
        }
    }

    fn circuit(&self, needs: Needs) -> &Circuit {
        match needs {
            Needs::Node => &self.reach,
            Needs::Majority => &self.majority,
        }
    }

    /// Notes that it takes no clients.
    pub(crate) fn note_witness(&self, is_witness: bool) {
        self.witness.store(is_witness, Relaxed);
    }

    fn is_witness(&self) -> bool {
        self.witness.load(Relaxed)
    }

    /// Lets a call pass to it, unless that would only cost the call time.
    fn pass(&self, needs: Needs, now_ms: u64) -> bool {
        match needs {
            Needs::Node => self.reach.pass(now_ms),
            // A trial of one circuit is not wasted on what the other would stop.
            Needs::Majority => {
                self.reach.is_passable(now_ms)
                    && self.majority.is_passable(now_ms)
                    && self.reach.pass(now_ms)
                    && self.majority.pass(now_ms)
            }
        }
    }

    /// When it will be tried again.
    fn passable_at_ms(&self, needs: Needs) -> u64 {
        let at = |needs| self.circuit(needs).broken_until_ms();
        at(Needs::Node).max(at(needs))
    }
}

impl Nodes {
    /// The nodes of a context. Those that DNS is to name come later.
    pub(crate) fn dialed(endpoints: &[String], dialer: Dialer) -> Result<Self, ConnectError> {
        if endpoints.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        let mut list = Vec::with_capacity(endpoints.len());
        for address in endpoints.iter().filter(|it| service(it).is_none()) {
            list.push(Node::new(address.clone(), dialer.dial(address)?));
        }
        Ok(Self::new(list, Some(dialer)))
    }

    /// Nodes behind channels that somebody else made.
    pub(crate) fn given(channels: Vec<Channel>) -> Result<Self, ConnectError> {
        let list: Vec<_> = channels
            .into_iter()
            .enumerate()
            .map(|(place, channel)| {
                let alert = Alert::default();
                let lanes = Lanes::new([channel]);
                Node::new(format!("channel-{place}"), Dialed { lanes, alert })
            })
            .collect();
        if list.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        Ok(Self::new(list, None))
    }

    /// The agent of this node, which stands for all of them: no others are ever learned.
    pub(crate) fn agent(socket: &Path, lanes: Lanes) -> Self {
        let alert = Alert::default();
        let address = socket.display().to_string();
        Self::new(vec![Node::new(address, Dialed { lanes, alert })], None)
    }

    fn new(list: Vec<Arc<Node>>, dialer: Option<Dialer>) -> Self {
        Self {
            named: list.iter().map(|node| node.address.clone()).collect(),
            // Clients that start together do not all begin with the same node.
            turn: AtomicUsize::new(rand::rng().random_range(0..list.len().max(1))),
            list: ArcSwap::from_pointee(list),
            listed: Mutex::default(),
            undiscovered: Mutex::default(),
            dialer,
            leader: AtomicU64::new(0),
            term: AtomicU64::new(0),
            met: AtomicBool::new(false),
            start: Instant::now(),
        }
    }

    pub(crate) fn all(&self) -> Arc<Vec<Arc<Node>>> {
        self.list.load_full()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.load().len()
    }

    /// The node to ask next, not the `busy` one. `None`: there is no other.
    pub(crate) fn pick(
        &self,
        route: Route,
        needs: Needs,
        busy: Option<&Arc<Node>>,
    ) -> Option<Arc<Node>> {
        let list = self.list.load();
        if list.is_empty() {
            return None;
        }
        let now = self.now_ms();
        let free = |node: &Arc<Node>| busy.is_none_or(|busy| !Arc::ptr_eq(node, busy));

        if route == Route::Leader {
            let leader = self.leader.load(Relaxed);
            let found = list
                .iter()
                .find(|node| leader != 0 && node.member.load(Relaxed) == leader)
                .filter(|node| !node.is_witness());
            if let Some(node) = found.filter(|node| free(node) && node.pass(needs, now)) {
                return Some(Arc::clone(node));
            }
        }
        let turn = self.turn.fetch_add(1, Relaxed) % list.len();
        let in_turn = || list[turn..].iter().chain(&list[..turn]).filter(|n| free(n));
        let serving = || in_turn().filter(|node| !node.is_witness());
        serving()
            .find(|node| node.pass(needs, now))
            .or_else(|| serving().min_by_key(|node| node.passable_at_ms(needs)))
            // Of one that is known for a witness only the word where the others are is to be had.
            .or_else(|| {
                in_turn()
                    .next()
                    .filter(|_| list.iter().all(|node| node.is_witness()))
            })
            .cloned()
    }

    /// The node answered what needs this: nothing is held against it any more.
    pub(crate) fn answered(&self, node: &Node, needs: Needs) {
        let now = self.now_ms();
        if needs == Needs::Majority {
            node.majority.answered(now);
        }
        if node.reach.answered(now) {
            node.alert.clear();
        }
    }

    /// Whether the node answered anything that needs this since then.
    pub(crate) fn answered_since(&self, node: &Node, needs: Needs, then: Instant) -> bool {
        node.circuit(needs).answered_since(self.ms(then))
    }

    /// The node could not be reached: leave it alone for a while.
    pub(crate) fn unreachable(&self, node: &Node, since: Instant) {
        node.reach
            .fault(Fault::Refused, self.ms(since), self.now_ms());
    }

    /// The node has been silent since then: prefer others for what needs this.
    pub(crate) fn silent(&self, node: &Node, needs: Needs, since: Instant) {
        node.circuit(needs)
            .fault(Fault::Silent, self.ms(since), self.now_ms());
    }

    /// Takes in an answer's header. Returns whether the leader and the members are to be looked up.
    pub(crate) fn learn(&self, node: &Node, header: &v1::Header, leader: Option<u64>) -> bool {
        if node.member.load(Relaxed) != header.member && header.member != 0 {
            node.member.store(header.member, Relaxed);
        }
        let known = self.term.load(Relaxed);
        if header.term < known {
            return false;
        }
        match leader {
            Some(leader) if leader != 0 => {
                let before = self.leader.swap(leader, Relaxed);
                self.term.fetch_max(header.term, Relaxed);
                // Where others may be met: who they are is asked once, and when they chose another.
                self.dialer.is_some() && (before != leader || !self.met.load(Relaxed))
            }
            _ => header.term > known,
        }
    }

    /// Adds addresses that were known to an earlier process. The next list of members drops those that
    /// are none any more.
    pub(crate) fn remember(&self, addresses: &[String]) {
        let Some(dialer) = &self.dialer else { return };
        let _changing = self.listed.lock();
        let mut list = Vec::clone(&self.list.load());
        for address in addresses {
            let is_known = list.iter().any(|node| node.address == *address);
            if !is_known && let Ok(dialed) = dialer.dial(address) {
                list.push(Node::new(address.clone(), dialed));
            }
        }
        self.list.store(Arc::new(list));
    }

    /// Takes in all addresses that DNS names now. One that it names no more is dropped with the next
    /// list of members, unless it is a member's.
    pub(crate) fn discovered(&self, addresses: &[String], problem: Option<String>) {
        *self.undiscovered.lock() = problem;
        self.listed.lock().discovered = addresses.to_vec();
        self.remember(addresses);
    }

    /// Why there is no node to ask, where there is none.
    pub(crate) fn why_none(&self) -> String {
        let problem = self.undiscovered.lock();
        problem
            .as_deref()
            .unwrap_or("no node answered at all")
            .to_owned()
    }

    /// Takes in the member list that a node gave, unless a newer one came before it: a list that was
    /// overtaken would drop a member again, or bring back one that was removed.
    pub(crate) fn learn_members(&self, answer: &v1::MemberListResponse) {
        let term = answer.header.as_ref().map_or(0, |header| header.term);
        self.met.store(true, Relaxed);
        if answer.leader != 0 && self.term.fetch_max(term, Relaxed) <= term {
            self.leader.store(answer.leader, Relaxed);
        }
        let Some(dialer) = &self.dialer else { return };
        let mut listed = self.listed.lock();
        // A new term counts more than a clock that was ahead in the one before.
        if term <= listed.term && answer.as_of_ms < listed.as_of_ms {
            return;
        }
        listed.term = term.max(listed.term);
        listed.as_of_ms = answer.as_of_ms;
        let known = self.list.load();
        let mut list: Vec<Arc<Node>> = known
            .iter()
            .filter(|node| {
                self.named.contains(&node.address)
                    || listed.discovered.contains(&node.address)
                    || answer.members.iter().any(|m| m.address == node.address)
            })
            .cloned()
            .collect();
        let mut changed = list.len() != known.len();
        for member in &answer.members {
            let node = list.iter().find(|node| node.address == member.address);
            let is_witness = member.role() == v1::Role::Witness;
            if let Some(node) = node {
                node.member.store(member.id, Relaxed);
                node.note_witness(is_witness);
            } else if list.iter().any(|n| n.member.load(Relaxed) == member.id) {
                // The context knows it under another name.
            } else if let Ok(dialed) = dialer.dial(&member.address) {
                let node = Node::new(member.address.clone(), dialed);
                node.member.store(member.id, Relaxed);
                node.note_witness(is_witness);
                list.push(node);
                changed = true;
            }
        }
        if changed {
            self.list.store(Arc::new(list));
        }
    }

    fn now_ms(&self) -> u64 {
        self.ms(Instant::now())
    }

    fn ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_millis() as u64
    }
}

#[cfg(test)]
mod tests;
