//! What each method of our own API requires. A method that stands here in no row does not pass the
//! tests, and one that does not pass the tests is not there.

use holdfast_core::access::{
    Capabilities,
    Capability::{
        self, AdminAudit, AdminBackup, AdminHistory, AdminKeyring, AdminMembers, AdminPolicy,
        Delete, List, Lock, Read, Reveal, Write,
    },
};

/// What a caller must show to use a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    /// Nothing: health, reflection, and what brings a credential of its own.
    Open,
    /// A certificate of the cluster.
    Certificate,
    /// One of these, on any keys; its service looks which.
    Keys(Capabilities),
    /// This, of the cluster.
    Cluster(Capability),
    /// To be a node of the cluster.
    Node,
}

impl Required {
    /// Whether the policy has a say: what is for nodes is not, nor what is for everybody.
    pub(crate) fn is_of_the_policy(self) -> bool {
        !matches!(self, Self::Open | Self::Node)
    }
}

/// One of these, on the keys that the request is about.
pub(crate) const fn keys(any: &[Capability]) -> Required {
    Required::Keys(Capabilities::of(any))
}

/// This, of the cluster.
pub(crate) const fn cluster(capability: Capability) -> Required {
    Required::Cluster(capability)
}

/// Every method, by its full name.
pub(crate) const METHODS: &[(&str, Required)] = &[
    ("holdfast.v1.Kv/Range", keys(&[List, Read])),
    ("holdfast.v1.Kv/Put", keys(&[Write])),
    ("holdfast.v1.Kv/Delete", keys(&[Delete])),
    (
        "holdfast.v1.Kv/Transact",
        keys(&[List, Read, Write, Delete]),
    ),
    ("holdfast.v1.Kv/History", keys(&[List, Read])),
    ("holdfast.v1.Kv/Diff", keys(&[Read])),
    ("holdfast.v1.Kv/Rollback", keys(&[Write])),
    ("holdfast.v1.Kv/Compact", cluster(AdminHistory)),
    ("holdfast.v1.Kv/SetRetention", cluster(AdminHistory)),
    ("holdfast.v1.Watch/Watch", keys(&[Read])),
    ("holdfast.v1.Lease/Grant", keys(&[Write, Lock])),
    ("holdfast.v1.Lease/Revoke", keys(&[Write, Delete, Lock])),
    ("holdfast.v1.Lease/KeepAlive", keys(&[Write, Lock])),
    ("holdfast.v1.Lease/TimeToLive", keys(&[List, Write, Lock])),
    ("holdfast.v1.Lease/List", keys(&[List])),
    ("holdfast.v1.Lock/Acquire", keys(&[Lock])),
    ("holdfast.v1.Lock/Release", keys(&[Lock])),
    ("holdfast.v1.Lock/Campaign", keys(&[Lock])),
    ("holdfast.v1.Lock/Proclaim", keys(&[Lock])),
    ("holdfast.v1.Lock/Resign", keys(&[Lock])),
    ("holdfast.v1.Lock/Leader", keys(&[Lock, Read])),
    ("holdfast.v1.Lock/Observe", keys(&[Lock, Read])),
    ("holdfast.v1.Cluster/Status", Required::Certificate),
    ("holdfast.v1.Cluster/MemberList", Required::Certificate),
    ("holdfast.v1.Cluster/CreateToken", cluster(AdminMembers)),
    // By a token.
    ("holdfast.v1.Cluster/Join", Required::Open),
    ("holdfast.v1.Cluster/Promote", cluster(AdminMembers)),
    ("holdfast.v1.Cluster/Remove", cluster(AdminMembers)),
    ("holdfast.v1.Cluster/TransferLeader", cluster(AdminMembers)),
    ("holdfast.v1.Cluster/RetireAuthority", cluster(AdminMembers)),
    ("holdfast.v1.Keyring/Status", cluster(AdminKeyring)),
    ("holdfast.v1.Keyring/InitRecovery", cluster(AdminKeyring)),
    (
        "holdfast.v1.Keyring/ChallengeRecovery",
        cluster(AdminKeyring),
    ),
    ("holdfast.v1.Keyring/VerifyRecovery", cluster(AdminKeyring)),
    ("holdfast.v1.Keyring/Rotate", cluster(AdminKeyring)),
    ("holdfast.v1.Secrets/Put", keys(&[Write])),
    ("holdfast.v1.Secrets/Reveal", keys(&[Reveal])),
    ("holdfast.v1.Secrets/Destroy", keys(&[Delete])),
    ("holdfast.v1.Audit/Tail", cluster(AdminAudit)),
    ("holdfast.v1.Audit/Verify", cluster(AdminAudit)),
    ("holdfast.v1.Backup/Create", cluster(AdminBackup)),
    ("holdfast.v1.Backup/List", cluster(AdminBackup)),
    ("holdfast.v1.Backup/Verify", cluster(AdminBackup)),
    ("holdfast.v1.Backup/Fetch", cluster(AdminBackup)),
    ("holdfast.v1.Access/RoleSet", cluster(AdminPolicy)),
    ("holdfast.v1.Access/RoleRemove", cluster(AdminPolicy)),
    ("holdfast.v1.Access/RoleList", cluster(AdminPolicy)),
    ("holdfast.v1.Access/GrantChange", cluster(AdminPolicy)),
    ("holdfast.v1.Access/GrantList", cluster(AdminPolicy)),
    ("holdfast.v1.Access/IdentityIssue", cluster(AdminPolicy)),
    ("holdfast.v1.Access/IdentityRevoke", cluster(AdminPolicy)),
    ("holdfast.v1.Access/IdentityList", cluster(AdminPolicy)),
    // About himself; its service asks for more where it is about others.
    ("holdfast.v1.Access/Can", Required::Certificate),
    ("holdfast.v1.Fleet/Report", keys(&[Read])),
    ("holdfast.v1.Fleet/List", keys(&[List])),
    // One's own as well; its service asks for more where it is about others'.
    ("holdfast.v1.Fleet/Forget", keys(&[Read, Delete])),
    // Whose overrides count matters to who has a configuration.
    ("holdfast.v1.Fleet/Administrators", keys(&[Read])),
    ("holdfast.peer.v1.Node/RenewLeases", Required::Node),
    ("holdfast.peer.v1.Node/LeaseRemaining", Required::Node),
    ("holdfast.peer.v1.Node/StateHash", Required::Node),
    ("holdfast.peer.v1.Node/AuthorityKey", Required::Node),
    ("holdfast.peer.v1.Node/RenewCertificate", Required::Node),
    ("holdfast.peer.v1.Node/Clock", Required::Node),
    ("holdfast.peer.v1.Node/Status", Required::Node),
    ("holdfast.peer.v1.Node/ChangeMembership", Required::Node),
    ("holdfast.peer.v1.Node/AuditTail", Required::Node),
    ("holdfast.peer.v1.Node/AuditChain", Required::Node),
    ("holdfast.peer.v1.Node/CreateBackup", Required::Node),
    ("holdfast.peer.v1.Node/ListBackups", Required::Node),
    ("holdfast.peer.v1.Node/VerifyBackup", Required::Node),
    ("holdfast.peer.v1.Node/FetchBackup", Required::Node),
];

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::described;

    /// Consensus traffic stands for itself: it is for nodes alone, and counted by consensus.
    const CONSENSUS: &str = "holdfast.peer.v1.Raft/";

    #[test]
    fn every_method_of_the_api_has_its_row() {
        let mut named = described::methods(holdfast_proto::DESCRIPTORS);
        named.retain(|name| !name.starts_with(CONSENSUS));
        let mut listed: Vec<String> = METHODS.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(named, listed);
    }

    #[test]
    fn only_joining_is_open_and_only_nodes_use_what_nodes_tell_each_other() {
        for (name, required) in METHODS {
            let is_peer = name.starts_with("holdfast.peer.");
            assert_eq!(is_peer, *required == Required::Node, "{name}");
            let is_open = *required == Required::Open;
            assert_eq!(is_open, *name == "holdfast.v1.Cluster/Join", "{name}");
        }
    }

    #[test]
    fn what_is_recorded_as_an_act_of_an_administrator_takes_one() {
        for (name, required) in METHODS {
            if let crate::audit::Class::Admin(_) = crate::audit::Class::of(&format!("/{name}")) {
                assert!(matches!(required, Required::Cluster(_)), "{name}");
            }
        }
    }
}
