//! What each method of the interface takes, and how it is passed on. A method that stands here in no row
//! is not served.

use super::check::{self, Check};

/// How a method is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As it is, to any server; changes nothing.
    Read,
    /// As it is, to any server, which answers by itself.
    Look,
    /// As it is, to the leader.
    Write,
    /// As it is, to the leader, which answers when it is time.
    Wait,
    /// A read that the agent's mirrors may answer.
    Range,
    /// A secret that the agent's mirrors may have open.
    Reveal,
    /// A watch of the agent's own for each.
    Watch,
    /// As it is, message by message, over one connection.
    Stream,
}

/// One method.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// `package.Service/Method`.
    pub(super) method: &'static str,
    pub(super) way: Way,
    pub(super) check: Check,
}

const fn row(method: &'static str, way: Way, check: Check) -> Row {
    Row { method, way, check }
}

/// The row of a path (`/package.Service/Method`).
pub(super) fn find(path: &str) -> Option<&'static Row> {
    let method = path.strip_prefix('/')?;
    METHODS.iter().find(|row| row.method == method)
}

/// For everybody who is named.
const ANYBODY: Check = Check::Anybody;

/// For operators only, with what it is about.
const fn operators(what: &'static str) -> Check {
    Check::Operators(what)
}

/// By the keys that the message is about.
const fn keys(look: check::Look) -> Check {
    Check::Message(look)
}

const LEASES: Check = operators("leases");
const LOCKS: Check = operators("locks and elections");
const MEMBERS: Check = operators("the cluster's members");
const KEYRING: Check = operators("the keyring");
const AUDIT: Check = operators("the audit log");
const BACKUPS: Check = operators("backups");
const POLICY: Check = operators("roles and identities");
const RETENTION: Check = operators("compaction and retention");

/// Every method.
pub(super) const METHODS: &[Row] = &[
    row("holdfast.v1.Kv/Range", Way::Range, keys(check::range)),
    row("holdfast.v1.Kv/Put", Way::Write, keys(check::put)),
    row("holdfast.v1.Kv/Delete", Way::Write, keys(check::delete)),
    row("holdfast.v1.Kv/Transact", Way::Write, keys(check::transact)),
    row("holdfast.v1.Kv/History", Way::Read, keys(check::history)),
    row("holdfast.v1.Kv/Diff", Way::Read, keys(check::diff)),
    row("holdfast.v1.Kv/Rollback", Way::Write, keys(check::rollback)),
    row("holdfast.v1.Kv/Compact", Way::Write, RETENTION),
    row("holdfast.v1.Kv/SetRetention", Way::Write, RETENTION),
    row("holdfast.v1.Watch/Watch", Way::Watch, keys(check::watch)),
    row("holdfast.v1.Lease/Grant", Way::Write, LEASES),
    row("holdfast.v1.Lease/Revoke", Way::Write, LEASES),
    row("holdfast.v1.Lease/KeepAlive", Way::Stream, LEASES),
    row("holdfast.v1.Lease/TimeToLive", Way::Read, LEASES),
    row("holdfast.v1.Lease/List", Way::Read, LEASES),
    row("holdfast.v1.Lock/Acquire", Way::Wait, LOCKS),
    row("holdfast.v1.Lock/Release", Way::Write, LOCKS),
    row("holdfast.v1.Lock/Campaign", Way::Wait, LOCKS),
    row("holdfast.v1.Lock/Proclaim", Way::Write, LOCKS),
    row("holdfast.v1.Lock/Resign", Way::Write, LOCKS),
    row("holdfast.v1.Lock/Leader", Way::Read, LOCKS),
    row("holdfast.v1.Lock/Observe", Way::Stream, LOCKS),
    row("holdfast.v1.Cluster/Status", Way::Look, ANYBODY),
    row("holdfast.v1.Cluster/MemberList", Way::Look, ANYBODY),
    row("holdfast.v1.Cluster/CreateToken", Way::Write, MEMBERS),
    row("holdfast.v1.Cluster/Promote", Way::Write, MEMBERS),
    row("holdfast.v1.Cluster/Remove", Way::Wait, MEMBERS),
    row("holdfast.v1.Cluster/TransferLeader", Way::Wait, MEMBERS),
    row("holdfast.v1.Cluster/RetireAuthority", Way::Write, MEMBERS),
    row("holdfast.v1.Keyring/Status", Way::Read, KEYRING),
    row("holdfast.v1.Keyring/InitRecovery", Way::Write, KEYRING),
    row("holdfast.v1.Keyring/ChallengeRecovery", Way::Write, KEYRING),
    row("holdfast.v1.Keyring/VerifyRecovery", Way::Write, KEYRING),
    row("holdfast.v1.Keyring/Rotate", Way::Wait, KEYRING),
    row(
        "holdfast.v1.Secrets/Put",
        Way::Write,
        keys(check::secret_put),
    ),
    row(
        "holdfast.v1.Secrets/Reveal",
        Way::Reveal,
        keys(check::reveal),
    ),
    row(
        "holdfast.v1.Secrets/Destroy",
        Way::Write,
        keys(check::secret_destroy),
    ),
    row("holdfast.v1.Audit/Tail", Way::Stream, AUDIT),
    row("holdfast.v1.Audit/Verify", Way::Wait, AUDIT),
    row("holdfast.v1.Backup/Create", Way::Wait, BACKUPS),
    row("holdfast.v1.Backup/List", Way::Read, BACKUPS),
    row("holdfast.v1.Backup/Verify", Way::Wait, BACKUPS),
    row("holdfast.v1.Backup/Fetch", Way::Stream, BACKUPS),
    row("holdfast.v1.Access/RoleSet", Way::Write, POLICY),
    row("holdfast.v1.Access/RoleRemove", Way::Write, POLICY),
    row("holdfast.v1.Access/RoleList", Way::Read, POLICY),
    row("holdfast.v1.Access/GrantChange", Way::Write, POLICY),
    row("holdfast.v1.Access/GrantList", Way::Read, POLICY),
    row("holdfast.v1.Access/IdentityIssue", Way::Write, POLICY),
    row("holdfast.v1.Access/IdentityRevoke", Way::Write, POLICY),
    row("holdfast.v1.Access/IdentityList", Way::Read, POLICY),
    row("holdfast.v1.Access/Can", Way::Read, POLICY),
    row(
        "holdfast.v1.Fleet/Report",
        Way::Write,
        keys(check::fleet_report),
    ),
    row("holdfast.v1.Fleet/List", Way::Read, keys(check::fleet_list)),
    row(
        "holdfast.v1.Fleet/Forget",
        Way::Write,
        keys(check::fleet_forget),
    ),
    row("holdfast.v1.Fleet/Administrators", Way::Read, ANYBODY),
];

/// What is for nodes that join, with a token and a key of their own: never through an agent.
#[cfg(test)]
const NOT_SERVED: &[&str] = &["holdfast.v1.Cluster/Join"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_interface_has_its_row_or_is_refused_on_purpose() {
        let mut named = holdfast_proto::described::methods(holdfast_proto::DESCRIPTORS);
        named.retain(|method| method.starts_with("holdfast.v1."));
        let mut listed: Vec<String> = METHODS.iter().map(|row| row.method.to_owned()).collect();
        listed.extend(NOT_SERVED.iter().map(|&method| method.to_owned()));
        listed.sort();
        assert_eq!(named, listed);
        for method in NOT_SERVED {
            assert!(find(&format!("/{method}")).is_none());
        }
        assert!(find("/holdfast.peer.v1.Node/Status").is_none());
    }

    #[test]
    fn only_what_tells_of_no_key_is_for_everybody() {
        let open: Vec<_> = METHODS
            .iter()
            .filter(|row| matches!(row.check, Check::Anybody))
            .map(|row| row.method)
            .collect();
        assert_eq!(
            open,
            [
                "holdfast.v1.Cluster/Status",
                "holdfast.v1.Cluster/MemberList",
                "holdfast.v1.Fleet/Administrators",
            ]
        );
    }
}
