//! The rotation of the cluster's authority, as every node takes part in it and as the leader leads it.
//!
//! It begins with `kvctl member remove NODE --compromised`. What is done stands in the replicated state
//! (`holdfast_core::authority`); what is left is found there by whoever leads:
//!
//! * *wanted*: the leader makes the next authority, keeps its key in its folder, and records the
//!   certificate. If it is lost with its key before any member took it, the next leader makes another.
//! * *begun*: each node takes it: a voter asks for the key, over the connection on which both sides have
//!   shown who they are; it certifies itself, and others ask a voter. From then on the node has a
//!   certificate of each authority (`crate::tls` says who is shown which), and records that it took it.
//! * *retired*, when an operator who shows a certificate of the next authority says so: what the old
//!   authority vouches for is refused, connections that it opened are closed, and the new papers take
//!   the places of the old ones in the node's folder.
//!
//! Nodes know each other by their keys all the while (`crate::tls::trust`), so no step has to wait for a
//! node that is away: it finds the rotation in the log when it comes back, and takes the authority then.
//! It is let in by the key that the cluster knows of it. If a node joined while it was away and leads
//! now, the one that comes back cannot know it; leadership has to be handed to one that it knows, once.
//!
//! What a client has to do is in [`door`].

pub(crate) mod door;
mod make;
mod take;

use std::sync::Arc;

use holdfast_core::{Authority, Member, State};

pub(crate) use self::take::by_number;
use crate::{dir::NodeDir, host::Host, identity::CertificateAuthority, tls::NodeTls};

/// The next authority, on a node that has taken it or takes it.
pub(crate) struct Next {
    /// Its number.
    pub(crate) generation: u64,
    /// With its key; every voter has it.
    pub(crate) authority: Arc<CertificateAuthority>,
}

/// One node's part in rotations.
pub(crate) struct Rotation {
    host: Arc<Host>,
    dir: Arc<NodeDir>,
    tls: NodeTls,
    followed: Followed,
    lost: make::Lost,
}

/// What trust was taken from.
#[derive(Default, PartialEq)]
struct Followed {
    authorities: Vec<Arc<Authority>>,
    members: Vec<Arc<Member>>,
}

impl Followed {
    fn of(state: &State) -> Self {
        Self {
            authorities: state.authorities().cloned().collect(),
            members: state.members().cloned().collect(),
        }
    }
}

impl Rotation {
    pub(crate) fn new(host: Arc<Host>, dir: Arc<NodeDir>, tls: NodeTls) -> Self {
        Self {
            host,
            dir,
            tls,
            followed: Followed::default(),
            lost: make::Lost::default(),
        }
    }

    /// Does what is due. What does not succeed is due again with the next look.
    pub(crate) async fn look(&mut self) {
        let state = self.host.replica.store().view();
        let now = Followed::of(&state);
        if now != self.followed {
            self.host.trust.follow(&state);
            self.followed = now;
        }
        let Some(newest) = state.authorities().next_back().cloned() else {
            return;
        };
        let went = match newest.certificate.is_empty() {
            true => self.make(&newest).await,
            false if self.host.trust.own()[..] == newest.certificate[..] => Ok(()),
            false => self.take(&state, &newest).await,
        };
        if let Err(why) = went {
            let generation = newest.generation;
            tracing::debug!(generation, %why, "the next authority is not taken yet");
        }
    }
}
