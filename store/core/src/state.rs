//! The whole replicated state.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{Key, KeyRange, LeaseId, NodeId, Timestamp};

use crate::{
    access::Access,
    audit::{Anchor, Anchors},
    author::Authors,
    authority::Authorities,
    clock::Clock,
    entry::Entry,
    fleet::Fleet,
    hash::{RollingHash, RowBuffer, StateHash},
    keyring::Keyring,
    keyspace::Keyspace,
    lease::{Lease, Leases},
    limits::Limits,
    member::{ClusterInfo, Member, Members},
    recent::{Change, Changes, Recent},
    retention::{Policies, Retention},
    session::Sessions,
    token::{Token, TokenDigest, Tokens},
};

/// The replicated state at one place of the log. A clone is O(1) and shares everything with the
/// original until one of them changes, so a clone is also a read view, a snapshot and a backup.
#[derive(Clone)]
pub struct State {
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    /// Newest; 0: none yet.
    pub(crate) revision: u64,
    /// Reads and watches below it are refused; 0: never compacted.
    pub(crate) compacted: u64,
    /// The key after which the next sweep of old history goes on.
    pub(crate) sweep_from: Bytes,
    pub(crate) keys: Keyspace,
    pub(crate) policies: Policies,
    pub(crate) leases: Leases,
    pub(crate) sessions: Sessions,
    pub(crate) members: Members,
    pub(crate) authorities: Authorities,
    pub(crate) tokens: Tokens,
    pub(crate) anchors: Anchors,
    pub(crate) keyring: Keyring,
    pub(crate) access: Access,
    pub(crate) fleet: Fleet,
    /// Beside the state: what nodes need not agree on.
    pub(crate) recent: Recent,
    pub(crate) authors: Authors,
}

impl State {
    /// Before the first command.
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// With other limits than all clusters have: for tests. Nodes with different limits differ.
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            clock: Clock::default(),
            revision: 0,
            compacted: 0,
            sweep_from: Bytes::new(),
            keys: Keyspace::default(),
            policies: Policies::default(),
            leases: Leases::default(),
            sessions: Sessions::default(),
            members: Members::default(),
            authorities: Authorities::default(),
            tokens: Tokens::default(),
            anchors: Anchors::default(),
            keyring: Keyring::default(),
            access: Access::default(),
            fleet: Fleet::default(),
            recent: Recent::starting_at(1),
            authors: Authors::default(),
        }
    }

    /// The newest revision; 0: there is none yet.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Reads below this revision are refused; 0: it was never compacted.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// The first revision that a watch can begin at, as far as compaction goes. Retention may have
    /// taken away more of a range: [`State::older_changes`] says so.
    pub fn oldest_watchable(&self) -> u64 {
        self.compacted + 1
    }

    /// Cluster time: of the newest command, and never less than before.
    pub fn clock(&self) -> Timestamp {
        self.clock.now
    }

    /// The hash of every replicated row. O(1).
    pub fn hash(&self) -> StateHash {
        let cluster = self.members.cluster.as_ref();
        let head = RowBuffer::new(b'h')
            .number(self.revision)
            .number(self.compacted)
            .number(self.clock.now.as_millis())
            .number(self.clock.steady_ms)
            .bytes(&self.sweep_from)
            .bytes(cluster.map_or("", |cluster| &cluster.id).as_bytes())
            .bytes(cluster.map_or("", |cluster| &cluster.name).as_bytes())
            .number(self.members.next);
        let restored = cluster.filter(|cluster| cluster.lineage != cluster.id);
        let head = match restored {
            Some(cluster) => head.bytes(cluster.lineage.as_bytes()),
            None => head,
        };
        let mut sum = RollingHash::default();
        sum.add(head.finish());
        sum.join(self.keys.hash)
            .join(self.policies.hash)
            .join(self.leases.hash)
            .join(self.sessions.totals.hash)
            .join(self.members.hash)
            .join(self.authorities.hash())
            .join(self.tokens.hash)
            .join(self.anchors.hash)
            .join(self.keyring.hash)
            .join(self.access.hash)
            .join(self.fleet.hash)
            .finish()
    }

    /// The key's current entry.
    pub fn get(&self, key: &[u8]) -> Option<&Arc<Entry>> {
        self.keys.current(key)
    }

    /// Current entries of a range, by key.
    pub fn range<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Entry>)> + use<'a> {
        self.keys.range(range)
    }

    /// The revision of the last change in a range, deletions counted, as far as is known; 0: none.
    pub fn last_change(&self, range: &KeyRange) -> u64 {
        let current = self
            .keys
            .range(range)
            .map(|(_, entry)| entry.meta.revision.get());
        let deleted = self.keys.last_deletion(range);
        current.max().unwrap_or(0).max(deleted)
    }

    /// How many keys a range holds. O(1) for all keys, else O(n) in the range.
    pub fn count(&self, range: &KeyRange) -> u64 {
        if *range == KeyRange::all() {
            return self.keys.count() as u64;
        }
        self.keys.range(range).count() as u64
    }

    /// What changed from revision `from` on; about `max_bytes` of it, at least one revision.
    pub fn changes_since(&self, from: u64, max_bytes: usize) -> Changes {
        if from <= self.compacted {
            return Changes::Compacted {
                oldest: self.oldest_watchable(),
            };
        }
        if !self.recent.holds(from) {
            return Changes::Older {
                below: self.recent.first,
            };
        }
        Changes::Recent(self.recent.since(from, max_bytes))
    }

    /// As [`State::changes_since`], but compacted or not, as long as the changes are in the window:
    /// for a watch that was there before the compaction. `None`: they are not.
    pub fn recent_changes(&self, from: u64, max_bytes: usize) -> Option<Vec<Arc<Change>>> {
        self.recent
            .holds(from)
            .then(|| self.recent.since(from, max_bytes))
    }

    /// All leases, by id.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.leases.all.iter().map(|(id, lease)| (*id, lease))
    }

    /// A lease, while it lives.
    pub fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.all.get(&id)
    }

    /// All members, by id; removed ones too.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.all.values()
    }

    /// A member; a removed one too.
    pub fn member(&self, id: NodeId) -> Option<&Arc<Member>> {
        self.members.all.get(&id)
    }

    /// What names the cluster, once it was founded.
    pub fn cluster(&self) -> Option<&ClusterInfo> {
        self.members.cluster.as_ref()
    }

    /// All unused tokens; some may have run out.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenDigest, &Token)> {
        self.tokens.all.iter()
    }

    /// An unused token.
    pub fn token(&self, digest: TokenDigest) -> Option<&Token> {
        self.tokens.all.get(&digest)
    }

    /// The kept heads of a member's audit log, oldest first.
    pub fn anchors(&self, member: NodeId) -> impl DoubleEndedIterator<Item = &Anchor> {
        self.anchors.of(member)
    }

    /// Who may do what.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The prefixes that have a retention of their own.
    pub fn retentions(&self) -> impl Iterator<Item = (&Bytes, Retention)> {
        self.policies
            .all
            .iter()
            .filter_map(|(prefix, policy)| Some((prefix, policy.retention?)))
    }

    /// How much history a key keeps.
    pub fn retention(&self, key: &[u8]) -> Retention {
        self.policies.of(key)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// Never shows what is stored.
impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("revision", &self.revision)
            .field("keys", &self.keys.count())
            .field("hash", &self.hash())
            .finish_non_exhaustive()
    }
}
