//! The rotation of the cluster's authority, as the removal of a compromised member begins it.

use holdfast_proto::{NodeId, Timestamp, v1};

use crate::Removal;

/// What the removal of a compromised member answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Removed {
    /// What the member takes along.
    pub removal: Option<Removal>,
    /// How far the cluster is with its next authority.
    pub rotation: Rotation,
}

/// How far the cluster is with its next authority.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The number of the next authority.
    pub generation: u64,
    /// Its certificate, PEM.
    pub ca: String,
    /// The caller's new certificate, PEM, for the key that it has. `None`: somebody else began the
    /// rotation, and only that key is certified.
    pub cert: Option<String>,
    /// Who asked first.
    pub asked_by: String,
    /// When, in cluster time.
    pub asked_at: Timestamp,
    /// When the old authority stopped being trusted; `None`: it is trusted beside the new one.
    pub retired_at: Option<Timestamp>,
    /// The members that have a certificate of the next authority.
    pub taken: Vec<NodeId>,
    /// The members that do not answer. They take it when they come back.
    pub away: Vec<NodeId>,
    /// Clients that were seen with certificates of the old authority since the rotation began.
    pub clients_to_renew: Vec<String>,
}

impl Rotation {
    pub(crate) fn from_wire(wire: v1::AuthorityRotation) -> Self {
        let ids = |ids: Vec<u64>| ids.into_iter().map(NodeId).collect();
        Self {
            generation: wire.generation,
            ca: wire.ca_certificate,
            cert: Some(wire.client_certificate).filter(|cert| !cert.is_empty()),
            asked_by: wire.asked_by,
            asked_at: Timestamp::from_millis(wire.asked_at_ms),
            retired_at: (wire.retired_at_ms != 0)
                .then(|| Timestamp::from_millis(wire.retired_at_ms)),
            taken: ids(wire.taken),
            away: ids(wire.away),
            clients_to_renew: wire.clients_to_renew,
        }
    }
}
