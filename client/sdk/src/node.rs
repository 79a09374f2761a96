//! The nodes a client knows: which answer, which leads, which to ask next.
//!
//! The context names some; the others are learned from the cluster's member list. A node that
//! failed is left alone for a moment that doubles, with jitter, so that clients do not return in
//! step.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use holdfast_proto::v1;
use rand::RngExt as _;
use tonic::{Status, transport::Channel};

use crate::{
    ConnectError,
    connect::{Alert, Dialed, Dialer},
    reason::{self, Verdict},
};

/// One node: its connections and what is known of it.
pub(crate) struct Node {
    address: String,
    lanes: Vec<Channel>,
    alert: Alert,
    turn: AtomicUsize,
    /// Its member id; 0: not known yet.
    member: AtomicU64,
    failures: AtomicU32,
    /// Milliseconds on the clock of [`Nodes`].
    blocked_until_ms: AtomicU64,
    heard_at_ms: AtomicU64,
}

/// All nodes known.
pub(crate) struct Nodes {
    list: ArcSwap<Vec<Arc<Node>>>,
    /// From the context: never dropped.
    named: Vec<String>,
    /// `None`: the channels were given, and no others can be made.
    dialer: Option<Dialer>,
    leader: AtomicU64,
    term: AtomicU64,
    turn: AtomicUsize,
    start: Instant,
}

/// Where a call should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The leader, as far as known; else any.
    Leader,
    /// Any node, in turn.
    Spread,
}

impl Node {
    fn new(address: String, dialed: Dialed) -> Arc<Self> {
        Arc::new(Self {
            address,
            lanes: dialed.lanes,
            alert: dialed.alert,
            turn: AtomicUsize::new(0),
            member: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            blocked_until_ms: AtomicU64::new(0),
            heard_at_ms: AtomicU64::new(0),
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

    /// A connection of it, in turn.
    pub(crate) fn channel(&self) -> Channel {
        let turn = match self.lanes.len() {
            1 => 0,
            lanes => self.turn.fetch_add(1, Relaxed) % lanes,
        };
        self.lanes[turn].clone()
    }
}

impl Nodes {
    /// The nodes of a context.
    pub(crate) fn dialed(addresses: &[String], dialer: Dialer) -> Result<Self, ConnectError> {
        let mut list = Vec::with_capacity(addresses.len());
        for address in addresses {
            list.push(Node::new(address.clone(), dialer.dial(address)?));
        }
        if list.is_empty() {
            return Err(ConnectError::NoEndpoints);
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
                let lanes = vec![channel];
                Node::new(format!("channel-{place}"), Dialed { lanes, alert })
            })
            .collect();
        if list.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        Ok(Self::new(list, None))
    }

    fn new(list: Vec<Arc<Node>>, dialer: Option<Dialer>) -> Self {
        Self {
            named: list.iter().map(|node| node.address.clone()).collect(),
            // Clients that start together do not all begin with the same node.
            turn: AtomicUsize::new(rand::rng().random_range(0..list.len())),
            list: ArcSwap::from_pointee(list),
            dialer,
            leader: AtomicU64::new(0),
            term: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    pub(crate) fn all(&self) -> Arc<Vec<Arc<Node>>> {
        self.list.load_full()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.load().len()
    }

    /// The node to ask next, none of `busy`. `None`: all are busy.
    pub(crate) fn pick(&self, route: Route, busy: &[Arc<Node>]) -> Option<Arc<Node>> {
        let list = self.list.load();
        let now = self.now_ms();
        let free = |node: &Arc<Node>| !busy.iter().any(|other| Arc::ptr_eq(node, other));
        let open = |node: &Arc<Node>| node.blocked_until_ms.load(Relaxed) <= now;

        if route == Route::Leader {
            let leader = self.leader.load(Relaxed);
            let found = list
                .iter()
                .find(|node| leader != 0 && node.member.load(Relaxed) == leader);
            if let Some(node) = found.filter(|node| free(node) && open(node)) {
                return Some(Arc::clone(node));
            }
        }
        let turn = self.turn.fetch_add(1, Relaxed) % list.len();
        let in_turn = || list[turn..].iter().chain(&list[..turn]).filter(|n| free(n));
        in_turn()
            .find(|node| open(node))
            .or_else(|| in_turn().min_by_key(|node| node.blocked_until_ms.load(Relaxed)))
            .cloned()
    }

    /// The node answered: nothing is held against it any more.
    pub(crate) fn heard(&self, node: &Node) {
        node.heard_at_ms.store(self.now_ms(), Relaxed);
        if node.failures.load(Relaxed) != 0 || node.blocked_until_ms.load(Relaxed) != 0 {
            node.alert.clear();
            node.failures.store(0, Relaxed);
            node.blocked_until_ms.store(0, Relaxed);
        }
    }

    /// Whether the node said anything since then.
    pub(crate) fn heard_since(&self, node: &Node, then: Instant) -> bool {
        let then_ms = then.duration_since(self.start).as_millis() as u64;
        node.heard_at_ms.load(Relaxed) > then_ms
    }

    /// The node could not be reached: leave it alone for a while.
    pub(crate) fn failed(&self, node: &Node) {
        let failures = node.failures.fetch_add(1, Relaxed).min(8);
        self.block(
            node,
            jittered(FIRST_BLOCK * 2u32.pow(failures), LONGEST_BLOCK),
        );
    }

    /// The node is silent, perhaps frozen: prefer others until it speaks.
    pub(crate) fn suspect(&self, node: &Node) {
        self.block(node, SUSPECT_BLOCK);
    }

    fn block(&self, node: &Node, pause: Duration) {
        let until = self.now_ms() + pause.as_millis() as u64;
        node.blocked_until_ms.fetch_max(until, Relaxed);
    }

    /// Takes in an answer's header. Returns whether it tells of a newer term, so that the leader
    /// is to be looked up.
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
                self.leader.store(leader, Relaxed);
                self.term.fetch_max(header.term, Relaxed);
                false
            }
            _ => header.term > known,
        }
    }

    /// Takes in the member list that a node gave.
    pub(crate) fn learn_members(&self, answer: &v1::MemberListResponse) {
        let term = answer.header.as_ref().map_or(0, |header| header.term);
        if answer.leader != 0 && self.term.fetch_max(term, Relaxed) <= term {
            self.leader.store(answer.leader, Relaxed);
        }
        let Some(dialer) = &self.dialer else { return };
        let known = self.list.load();
        let mut list: Vec<Arc<Node>> = known
            .iter()
            .filter(|node| {
                self.named.contains(&node.address)
                    || answer.members.iter().any(|m| m.address == node.address)
            })
            .cloned()
            .collect();
        let mut changed = list.len() != known.len();
        for member in &answer.members {
            let node = list.iter().find(|node| node.address == member.address);
            if let Some(node) = node {
                node.member.store(member.id, Relaxed);
            } else if list.iter().any(|n| n.member.load(Relaxed) == member.id) {
                // The context knows it under another name.
            } else if let Ok(dialed) = dialer.dial(&member.address) {
                let node = Node::new(member.address.clone(), dialed);
                node.member.store(member.id, Relaxed);
                list.push(node);
                changed = true;
            }
        }
        if changed {
            self.list.store(Arc::new(list));
        }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

/// Between half of `pause` and all of it, at most `longest`.
pub(crate) fn jittered(pause: Duration, longest: Duration) -> Duration {
    pause
        .min(longest)
        .mul_f64(rand::rng().random_range(0.5..1.0))
}

const FIRST_BLOCK: Duration = Duration::from_millis(50);
const LONGEST_BLOCK: Duration = Duration::from_secs(2);
const SUSPECT_BLOCK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    fn three() -> Nodes {
        let channel = || Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let nodes = Nodes::given(vec![channel(), channel(), channel()]).unwrap();
        for (place, node) in nodes.all().iter().enumerate() {
            node.member.store(place as u64 + 1, Relaxed);
        }
        nodes
    }

    fn header(member: u64, term: u64) -> v1::Header {
        v1::Header {
            member,
            term,
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn writes_follow_the_leader_and_reads_go_round() {
        let nodes = three();
        let all = nodes.all();
        assert!(!nodes.learn(&all[0], &header(1, 5), Some(3)));
        for _ in 0..4 {
            let node = nodes.pick(Route::Leader, &[]).unwrap();
            assert!(Arc::ptr_eq(&node, &all[2]));
        }
        let mut seen: Vec<_> = (0..3)
            .map(|_| nodes.pick(Route::Spread, &[]).unwrap().address.clone())
            .collect();
        seen.sort();
        assert_eq!(seen, ["channel-0", "channel-1", "channel-2"]);
    }

    #[tokio::test]
    async fn a_node_that_failed_is_avoided_until_it_answers() {
        let nodes = three();
        let all = nodes.all();
        nodes.failed(&all[1]);
        for _ in 0..6 {
            let node = nodes.pick(Route::Spread, &[]).unwrap();
            assert!(!Arc::ptr_eq(&node, &all[1]));
        }
        let busy = [Arc::clone(&all[0]), Arc::clone(&all[2])];
        let last = nodes.pick(Route::Spread, &busy).unwrap();
        assert!(
            Arc::ptr_eq(&last, &all[1]),
            "better a failed node than none"
        );
        nodes.heard(&all[1]);
        assert_eq!(all[1].blocked_until_ms.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn an_older_term_never_moves_the_leader() {
        let nodes = three();
        let all = nodes.all();
        nodes.learn(&all[0], &header(1, 7), Some(1));
        assert!(!nodes.learn(&all[1], &header(2, 6), Some(2)));
        let node = nodes.pick(Route::Leader, &[]).unwrap();
        assert!(Arc::ptr_eq(&node, &all[0]));
        assert!(
            nodes.learn(&all[1], &header(2, 8), None),
            "a new term is looked up"
        );
    }
}
