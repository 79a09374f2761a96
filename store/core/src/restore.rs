//! A cluster that begins with the state of another: what a restore from a backup changes in it.
//!
//! Kept: every key with its history, retention, leases (their holders are gone, so they run out after
//! one more time to live, and with them the locks), the heads of audit logs, roles and grants, with
//! the first operator as an administrator again. Taken away: tokens, and the
//! sessions of clients that cannot come back. The old members stay listed as removed, so that their
//! ids are never used again, and hold no keys any more.
//!
//! Invariants: (1) no revision that the old cluster may have given out is given out again:
//! [`REVISIONS_LEFT_OUT`] lie between. (2) Everything up to the new revision is compacted, so a
//! watcher of the old cluster is told that it missed something, and is given a snapshot. (3) What
//! sealed secrets are bound to stays.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{NodeId, NodeName};

use crate::{
    State,
    authority::Authorities,
    member::{ClusterInfo, Member, Role},
    recent::Recent,
    session::Sessions,
    token::Tokens,
};

/// So many revisions are passed over. The old cluster may have gone on after the backup was made: at
/// 10,000 writes a second it takes five days to give out as many.
pub const REVISIONS_LEFT_OUT: u64 = 1 << 32;

/// What a restored cluster begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restoring {
    /// Its id, which no cluster had before.
    pub cluster_id: Arc<str>,
    /// The name of its only node.
    pub name: NodeName,
    /// That node's HOST:PORT.
    pub address: Arc<str>,
    /// That node's SubjectPublicKeyInfo, DER.
    pub public_key: Bytes,
}

impl State {
    /// The id that the only node of a restored cluster will have.
    pub fn restored_founder(&self) -> NodeId {
        let newest = self.members.all.keys().next_back().map_or(0, |id| id.0);
        NodeId(self.members.next.max(newest + 1).max(1))
    }

    /// The state that a restored cluster begins with. `None`: this is the state of no cluster, or there
    /// is no revision left.
    pub fn restored(mut self, restoring: Restoring) -> Option<Self> {
        let founder = self.restored_founder();
        let old = self.members.cluster.take()?;
        self.members.cluster = Some(ClusterInfo {
            id: restoring.cluster_id,
            lineage: old.lineage,
            name: old.name,
        });
        let present: Vec<Member> = self
            .members
            .present()
            .map(|member| Member::clone(member))
            .collect();
        for member in present {
            self.keyring.drop_member(member.id);
            self.members.set(Member {
                removed: true,
                ..member
            });
        }
        self.members.set(Member {
            id: founder,
            name: restoring.name,
            address: restoring.address,
            role: Role::Voter,
            public_key: restoring.public_key,
            joined_at: self.clock.now,
            removed: false,
            departure: None,
        });
        self.members.next = founder.0.checked_add(1)?;
        // Its authority is a new one, and the first.
        self.authorities = Authorities::default();
        self.tokens = Tokens::default();
        self.sessions = Sessions::default();
        self.access.restored();
        self.revision = self.revision.checked_add(REVISIONS_LEFT_OUT)?;
        self.compacted = self.revision;
        self.recent = Recent::starting_at(self.revision + 1);
        Some(self)
    }
}
