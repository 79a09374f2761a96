//! What became of a member that was removed, and what it could read.

use holdfast_proto::{Key, Timestamp, v1};

use crate::Member;

/// What an operator must know of a removed member: whoever has its disk now may know all of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Who it was.
    pub member: Member,
    /// When it was removed, in cluster time. `None`: an older version did it and noted nothing.
    pub at: Option<Timestamp>,
    /// The newest revision then: it was given nothing that is later.
    pub revision: u64,
    /// When the leader had heard it last, in cluster time. `None`: not known.
    pub heard: Option<Timestamp>,
    /// It holds the key of the cluster's authority, so it can make certificates for anybody.
    pub held_authority: bool,
    /// The newest epoch of the keyring that it can open, and with it all before. `None`: none.
    pub newest_held: Option<u64>,
    /// The newest epoch now; `None`: nothing is told of the keyring.
    pub epoch: Option<u64>,
    /// The secrets it could read, by key.
    pub secrets: Vec<ReadableSecret>,
    /// The secrets of which it may know versions that were destroyed since, by key: nobody in the
    /// cluster reads them any more, but what opens them may still lie on its disk.
    pub destroyed: Vec<DestroyedSecret>,
    /// Versions of secrets there are.
    pub versions: u64,
    /// How many of them older epochs still wrap. They are rewrapped in the background.
    pub to_rewrap: u64,
}

/// A secret that a removed member could read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadableSecret {
    /// Its key.
    pub key: Key,
    /// Its versions, newest first.
    pub revisions: Vec<u64>,
    /// It has a newer value, which the member never saw.
    pub changed_since: bool,
}

/// A secret of which a removed member may know versions that were destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestroyedSecret {
    /// Its key.
    pub key: Key,
    /// The destroyed versions, newest first.
    pub revisions: Vec<u64>,
}

impl Removal {
    /// Of a member that held nothing, removed at a time.
    pub fn new(member: Member, at: Option<Timestamp>) -> Self {
        Self {
            member,
            at,
            revision: 0,
            heard: None,
            held_authority: false,
            newest_held: None,
            epoch: None,
            secrets: Vec::new(),
            destroyed: Vec::new(),
            versions: 0,
            to_rewrap: 0,
        }
    }

    pub(crate) fn from_wire(wire: v1::Removal) -> Self {
        let time = |ms| (ms != 0).then(|| Timestamp::from_millis(ms));
        let epoch = |epoch| (epoch != 0).then_some(epoch);
        Self {
            member: Member::from_wire(wire.member.unwrap_or_default()),
            at: time(wire.at_ms),
            revision: wire.revision,
            heard: time(wire.heard_at_ms),
            held_authority: wire.held_authority,
            newest_held: epoch(wire.newest_held),
            epoch: epoch(wire.epoch),
            secrets: wire.secrets.into_iter().filter_map(readable).collect(),
            destroyed: wire.destroyed.into_iter().filter_map(destroyed).collect(),
            versions: wire.versions,
            to_rewrap: wire.to_rewrap,
        }
    }
}

impl ReadableSecret {
    /// One with these versions.
    pub fn new(key: Key, revisions: Vec<u64>, changed_since: bool) -> Self {
        Self {
            key,
            revisions,
            changed_since,
        }
    }
}

impl DestroyedSecret {
    /// One of which these versions are destroyed.
    pub fn new(key: Key, revisions: Vec<u64>) -> Self {
        Self { key, revisions }
    }
}

fn destroyed(wire: v1::DestroyedSecret) -> Option<DestroyedSecret> {
    Some(DestroyedSecret {
        key: Key::new(wire.key).ok()?,
        revisions: wire.revisions,
    })
}

fn readable(wire: v1::ReadableSecret) -> Option<ReadableSecret> {
    Some(ReadableSecret {
        key: Key::new(wire.key).ok()?,
        revisions: wire.revisions,
        changed_since: wire.changed_since,
    })
}
