//! The table of what is recorded: every method of the API stands in one of its lists, and a test
//! says which does not.

use bytes::Bytes;
use holdfast_proto::{access::Rule, etcd::etcdserverpb as etcd, v1};
use prost::Message;

use super::Entry;

/// What becomes of a call to a method.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    /// Recorded before it is let through, and refused if that cannot be.
    Admin(Act),
    /// Recorded if that can be done: it must be possible while the log cannot be written.
    Noted(&'static str),
    /// Not recorded here: the raft log has it, it changes nothing, or its service records it with
    /// what it alone knows.
    Other,
}

/// An admin act, and how its request is told in a record.
#[derive(Clone, Copy)]
pub(crate) struct Act {
    /// The method's full name.
    pub(crate) name: &'static str,
    tell: fn(Entry, Bytes) -> Entry,
}

impl Class {
    /// Of the method at an HTTP path.
    pub(crate) fn of(path: &str) -> Self {
        let Some(name) = path.strip_prefix('/') else {
            return Self::Other;
        };
        if let Some(act) = ADMIN.iter().find(|act| act.name == name) {
            return Self::Admin(*act);
        }
        match NOTED.iter().find(|noted| **noted == name) {
            Some(noted) => Self::Noted(noted),
            None => Self::Other,
        }
    }
}

impl Act {
    /// The entry with what the request (one gRPC message) says it is about.
    pub(super) fn tell(&self, entry: Entry, message: Bytes) -> Entry {
        (self.tell)(entry, message)
    }
}

/// An act whose request is this message. What cannot be decoded is told without.
macro_rules! act {
    ($name:literal, $message:ty, |$entry:ident, $request:ident| $told:expr) => {
        Act {
            name: $name,
            tell: |$entry, message| match <$message>::decode(message) {
                Ok($request) => $told,
                Err(_) => $entry,
            },
        }
    };
}

/// Recorded at the edge before they are let through.
const ADMIN: &[Act] = &[
    act!("holdfast.v1.Kv/Compact", v1::CompactRequest, |entry, it| {
        entry
            .target("history before it")
            .revision(it.revision)
            .request(it.request.as_ref())
    }),
    act!(
        "holdfast.v1.Kv/SetRetention",
        v1::SetRetentionRequest,
        |entry, it| entry.target(it.prefix).request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Cluster/CreateToken",
        v1::CreateTokenRequest,
        |entry, it| {
            let name = match it.name.as_str() {
                "" => "any name",
                name => name,
            };
            entry
                .target(format!("a token for a new node of {name}"))
                .request(it.request.as_ref())
        }
    ),
    act!(
        "holdfast.v1.Cluster/Promote",
        v1::PromoteRequest,
        |entry, it| entry
            .target(format!("member {}", it.id))
            .request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Cluster/Remove",
        v1::RemoveRequest,
        |entry, it| {
            let why = match it.compromised {
                true => ", which counts as compromised",
                false => "",
            };
            entry
                .target(format!("member {}{why}", it.id))
                .request(it.request.as_ref())
        }
    ),
    act!(
        "holdfast.v1.Cluster/TransferLeader",
        v1::TransferLeaderRequest,
        |entry, it| match it.to {
            0 => entry.target("to whoever is most up to date"),
            to => entry.target(format!("to member {to}")),
        }
    ),
    act!(
        "holdfast.v1.Cluster/RetireAuthority",
        v1::RetireAuthorityRequest,
        |entry, it| entry
            .target(format!("the authority before {}", it.generation))
            .request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Keyring/InitRecovery",
        v1::InitRecoveryRequest,
        |entry, it| entry
            .target(format!("{} of {} shares", it.threshold, it.shares))
            .request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Keyring/ChallengeRecovery",
        v1::ChallengeRecoveryRequest,
        |entry, _it| entry
    ),
    act!(
        "holdfast.v1.Keyring/VerifyRecovery",
        v1::VerifyRecoveryRequest,
        |entry, it| entry.request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Keyring/Rotate",
        v1::RotateRequest,
        |entry, it| { entry.request(it.request.as_ref()).reason(it.reason) }
    ),
    act!(
        "holdfast.v1.Backup/Create",
        v1::CreateBackupRequest,
        |entry, it| match it.member {
            0 => entry.target("a backup, here"),
            member => entry.target(format!("a backup, at member {member}")),
        }
    ),
    act!(
        "holdfast.v1.Backup/Verify",
        v1::VerifyBackupRequest,
        |entry, it| match it.drill {
            true => entry.target(format!("{}, as a drill", it.name)),
            false => entry.target(it.name),
        }
    ),
    act!(
        "holdfast.v1.Backup/Fetch",
        v1::FetchBackupRequest,
        |entry, it| entry.target(it.name)
    ),
    act!(
        "holdfast.v1.Access/RoleSet",
        v1::RoleSetRequest,
        |entry, it| entry
            .target(it.role.as_ref().map_or_else(String::new, told_role))
            .request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Access/RoleRemove",
        v1::RoleRemoveRequest,
        |entry, it| entry
            .target(format!("role {}", it.name))
            .request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Access/GrantChange",
        v1::GrantChangeRequest,
        |entry, it| entry.target(told_grant(&it)).request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Access/IdentityIssue",
        v1::IdentityIssueRequest,
        |entry, it| entry
            .target(format!("a certificate for client/{}", it.name))
            .request(it.request.as_ref())
    ),
    act!(
        "holdfast.v1.Access/IdentityRevoke",
        v1::IdentityRevokeRequest,
        |entry, it| entry.target(it.identity).request(it.request.as_ref())
    ),
    act!(
        "etcdserverpb.KV/Compact",
        etcd::CompactionRequest,
        |entry, it| entry.target(format!("history before revision {}", it.revision))
    ),
    act!(
        "etcdserverpb.Maintenance/MoveLeader",
        etcd::MoveLeaderRequest,
        |entry, it| entry.target(format!("to member {}", it.target_id))
    ),
    act!(
        "etcdserverpb.Maintenance/Snapshot",
        etcd::SnapshotRequest,
        |entry, _it| entry.target("the whole state, secrets sealed")
    ),
];

/// A role with its rules, as they are written.
fn told_role(role: &v1::AccessRole) -> String {
    let rules = role.rules.iter().map(|rule| {
        let rule = Rule::try_from(rule.clone());
        rule.map_or_else(|_| "no rule".to_owned(), |rule| rule.to_string())
    });
    let rules: Vec<String> = rules.collect();
    format!("role {}: {}", role.name, rules.join("; "))
}

fn told_grant(change: &v1::GrantChangeRequest) -> String {
    let add = change.add.iter().map(|role| format!(" +{role}"));
    let remove = change.remove.iter().map(|role| format!(" -{role}"));
    let changes: String = add.chain(remove).collect();
    format!("{}:{changes}", change.identity)
}

/// Recorded as well as can be.
const NOTED: &[&str] = &[
    "holdfast.v1.Audit/Tail",
    "holdfast.v1.Audit/Verify",
    "holdfast.peer.v1.Node/AuthorityKey",
];

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::described;

    /// What the services themselves record, with what they alone know.
    const BY_THEIR_SERVICE: &[&str] = &["holdfast.v1.Cluster/Join", "holdfast.v1.Secrets/Reveal"];

    /// Reads of what is no secret, writes that the raft log has, and what nodes tell each other.
    const NOT_RECORDED: &[&str] = &[
        "holdfast.v1.Kv/Range",
        "holdfast.v1.Kv/Put",
        "holdfast.v1.Kv/Delete",
        "holdfast.v1.Kv/Transact",
        "holdfast.v1.Kv/History",
        "holdfast.v1.Kv/Diff",
        "holdfast.v1.Kv/Rollback",
        "holdfast.v1.Watch/",
        "holdfast.v1.Lease/",
        "holdfast.v1.Lock/",
        "holdfast.v1.Cluster/Status",
        "holdfast.v1.Cluster/MemberList",
        "holdfast.v1.Keyring/Status",
        "holdfast.v1.Backup/List",
        "holdfast.v1.Secrets/Put",
        "holdfast.v1.Secrets/Destroy",
        "holdfast.v1.Access/RoleList",
        "holdfast.v1.Access/GrantList",
        "holdfast.v1.Access/IdentityList",
        "holdfast.v1.Access/Can",
        "holdfast.v1.Fleet/",
        "holdfast.peer.v1.",
    ];

    #[test]
    fn every_method_of_the_api_is_recorded_or_listed_as_one_that_is_not() {
        for name in described::methods(holdfast_proto::DESCRIPTORS) {
            let is_recorded = !matches!(Class::of(&format!("/{name}")), Class::Other);
            let stands_in = |list: &[&str]| list.iter().any(|listed| name.starts_with(listed));
            assert!(
                is_recorded || stands_in(BY_THEIR_SERVICE) || stands_in(NOT_RECORDED),
                "{name} stands in no list of audit/acts.rs: is it an admin act?"
            );
        }
    }

    #[test]
    fn nothing_is_listed_that_is_no_method() {
        let ours = described::methods(holdfast_proto::DESCRIPTORS);
        let etcds = described::methods(holdfast_proto::etcd::DESCRIPTORS);
        let all = || ours.iter().chain(&etcds);
        let listed = ADMIN.iter().map(|act| act.name);
        for name in listed.chain(NOTED.iter().copied()) {
            assert!(all().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn a_request_tells_what_it_is_about() {
        let request = v1::RemoveRequest {
            id: 3,
            compromised: false,
            request: Some(v1::RequestId {
                session: vec![7; 16].into(),
                sequence: 9,
                first_incomplete: 1,
            }),
        };
        let Class::Admin(act) = Class::of("/holdfast.v1.Cluster/Remove") else {
            panic!("removing a member is an admin act");
        };
        let message = Bytes::from(request.encode_to_vec());
        let told = act.tell(Entry::by("client/admin", act.name), message);
        let record = told.into_record(5, 77);
        assert_eq!(&record.target[..], b"member 3");
        assert_eq!(record.request, format!("{}:9", "07".repeat(16)));
        assert_eq!((record.sequence, record.at_ms), (5, 77));
    }
}
