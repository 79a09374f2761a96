//! The cluster's members, its name, and ids that are never used again.
//!
//! What is known about members here is for people and for certificates; who votes is for consensus
//! to say. A removed member stays listed, so that its id and certificate stay refused.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{NodeId, NodeName, Timestamp, limits, v1};
use imbl::OrdMap;

use crate::{
    command::Founding,
    hash::{RollingHash, RowBuffer, RowHash},
    reply::{Reason, Refusal},
};

/// What a member does in consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes.
    Voter,
    /// Follows without a vote.
    Learner,
    /// Votes, and was never given a key.
    Witness,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Given out once.
    pub id: NodeId,
    /// No two members at one time share it.
    pub name: NodeName,
    /// HOST:PORT for clients and peers.
    pub address: Arc<str>,
    /// What it is, or is to become.
    pub role: Role,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Bytes,
    /// When it joined.
    pub joined_at: Timestamp,
    /// It was taken out for good.
    pub removed: bool,
    /// How that was. `None`: it was not, or an older version did it.
    pub departure: Option<Departure>,
}

/// What is known of the moment at which a member was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Cluster time.
    pub at: Timestamp,
    /// The newest revision: the member was given nothing that is later.
    pub revision: u64,
    /// When the leader heard it last, in cluster time. `None`: not known.
    pub heard: Option<Timestamp>,
}

/// What names the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Of this cluster; one that was restored from a backup has a new one.
    pub id: Arc<str>,
    /// The id that the first of its line had: what sealed secrets are bound to, through restores.
    pub lineage: Arc<str>,
    /// For people.
    pub name: Arc<str>,
}

#[derive(Clone, Default)]
pub(crate) struct Members {
    pub(crate) cluster: Option<ClusterInfo>,
    pub(crate) all: OrdMap<NodeId, Arc<Member>>,
    /// The next id. Only rises.
    pub(crate) next: u64,
    pub(crate) hash: RollingHash,
}

impl Members {
    /// Founds the cluster with its first member.
    pub(crate) fn found(&mut self, founding: Founding, at: Timestamp) -> Result<(), Refusal> {
        if let Some(cluster) = &self.cluster {
            let message = format!(
                "this cluster was founded as {:?} already; start a new one in an empty folder",
                cluster.name
            );
            return Err(Refusal::new(Reason::NameTaken, message));
        }
        self.cluster = Some(ClusterInfo {
            lineage: Arc::clone(&founding.cluster_id),
            id: founding.cluster_id,
            name: founding.cluster_name,
        });
        self.next = founding.founder.0.saturating_add(1);
        self.set(Member {
            id: founding.founder,
            name: founding.name,
            address: founding.address,
            role: Role::Voter,
            public_key: founding.public_key,
            joined_at: at,
            removed: false,
            departure: None,
        });
        Ok(())
    }

    /// Whether a node of this name may come in.
    pub(crate) fn check_room(&self, name: &NodeName) -> Result<(), Refusal> {
        if let Some(member) = self.present().find(|member| member.name == *name) {
            let message = format!(
                "member {} is called {name} already; take another name, or remove that member first",
                member.id
            );
            return Err(Refusal::new(Reason::NameTaken, message));
        }
        let count = self.present().count();
        if count >= limits::MEMBERS {
            let message =
                format!("the cluster has {count} members, the most there can be; remove one first");
            return Err(Refusal::new(Reason::TooMany, message)
                .numbers(count as u64, limits::MEMBERS as u64)
                .limit("members"));
        }
        Ok(())
    }

    /// Takes a node in under an id that no node ever had.
    pub(crate) fn admit(
        &mut self,
        name: NodeName,
        address: Arc<str>,
        public_key: Bytes,
        role: Role,
        at: Timestamp,
    ) -> NodeId {
        let id = NodeId(self.next.max(1));
        self.next = id.0 + 1;
        self.set(Member {
            id,
            name,
            address,
            role,
            public_key,
            joined_at: at,
            removed: false,
            departure: None,
        });
        id
    }

    pub(crate) fn update(
        &mut self,
        id: NodeId,
        address: Option<Arc<str>>,
        role: Option<Role>,
    ) -> Result<(), Refusal> {
        let mut member = self.find(id)?.clone();
        // A witness was never trusted with a key, and whoever was cannot unlearn it.
        if role
            .is_some_and(|role| role != member.role && [role, member.role].contains(&Role::Witness))
        {
            let message = format!(
                "a member cannot become a witness, nor a witness anything else; remove {} and join \
                 it anew",
                member.name
            );
            return Err(Refusal::new(Reason::NotAllowed, message));
        }
        member.address = address.unwrap_or(member.address);
        member.role = role.unwrap_or(member.role);
        self.set(member);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: NodeId, departure: Departure) -> Result<(), Refusal> {
        let mut member = self.find(id)?.clone();
        if self.present().count() == 1 {
            return Err(Refusal::new(
                Reason::Invalid,
                "the last member cannot be removed; stop the node instead",
            ));
        }
        let serves = |other: &&Arc<Member>| other.id != id && other.role != Role::Witness;
        if !self.present().any(|other| serves(&other)) {
            return Err(Refusal::new(
                Reason::Invalid,
                "witnesses alone would be left; let another node in first",
            ));
        }
        member.removed = true;
        member.departure = Some(departure);
        self.set(member);
        Ok(())
    }

    /// Adds or replaces a row.
    pub(crate) fn set(&mut self, member: Member) {
        self.hash.add(row_hash(&member));
        if let Some(before) = self.all.insert(member.id, Arc::new(member)) {
            self.hash.remove(row_hash(&before));
        }
    }

    pub(crate) fn present(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.all.values().filter(|member| !member.removed)
    }

    /// Whether there is such a member now.
    pub(crate) fn check_known(&self, id: NodeId) -> Result<(), Refusal> {
        self.find(id).map(drop)
    }

    pub(crate) fn find(&self, id: NodeId) -> Result<&Member, Refusal> {
        match self.all.get(&id) {
            Some(member) if !member.removed => Ok(member),
            Some(_) => Err(Refusal::new(
                Reason::MemberMissing,
                format!("member {id} was removed; its id is never used again"),
            )),
            None => Err(Refusal::new(
                Reason::MemberMissing,
                format!("there is no member {id}; list the members to see who there is"),
            )),
        }
    }
}

fn row_hash(member: &Member) -> RowHash {
    let row = RowBuffer::new(b'm')
        .number(member.id.0)
        .bytes(member.name.as_str().as_bytes())
        .bytes(member.address.as_bytes())
        .number(member.role.number())
        .bytes(&member.public_key)
        .number(member.joined_at.as_millis())
        .number(u64::from(member.removed));
    match member.departure {
        // As it was before departures were noted.
        None => row.finish(),
        Some(Departure {
            at,
            revision,
            heard,
        }) => row
            .number(at.as_millis())
            .number(revision)
            .number(heard.map_or(0, Timestamp::as_millis))
            .finish(),
    }
}

impl Role {
    /// As on the wire.
    pub fn to_wire(self) -> v1::Role {
        match self {
            Self::Voter => v1::Role::Voter,
            Self::Learner => v1::Role::Learner,
            Self::Witness => v1::Role::Witness,
        }
    }

    /// `None`: not set.
    pub fn from_wire(role: v1::Role) -> Option<Self> {
        match role {
            v1::Role::Unspecified => None,
            v1::Role::Voter => Some(Self::Voter),
            v1::Role::Learner => Some(Self::Learner),
            v1::Role::Witness => Some(Self::Witness),
        }
    }

    /// Whether a member of this role may hold the keyring.
    pub fn holds_keys(self) -> bool {
        matches!(self, Self::Voter | Self::Learner)
    }

    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Voter => 1,
            Self::Learner => 2,
            Self::Witness => 3,
        }
    }
}

impl Member {
    /// As on the wire.
    pub fn to_wire(&self) -> v1::Member {
        v1::Member {
            id: self.id.0,
            name: self.name.to_string(),
            address: self.address.to_string(),
            role: self.role.to_wire().into(),
            joined_at_ms: self.joined_at.as_millis(),
        }
    }
}
