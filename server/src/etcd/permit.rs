//! Who may do what here: the same rights as on our own front, asked in etcd's terms.

use std::time::Instant;

use bytes::Bytes;
use holdfast_core::{
    State,
    access::Capability::{
        AdminBackup, AdminHistory, AdminMembers, Delete, List, Lock, Read, Write,
    },
};
use holdfast_proto::{
    KeyRange,
    etcd::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest, compare::CompareTarget,
        request_op::Request,
    },
    v1,
};
use tonic::Status;

use super::{Front, convert, error, transaction::put as converted};
use crate::{
    access::{
        Denied, Permit, Required,
        table::{cluster, keys},
    },
    caller::Caller,
};

impl Front {
    /// As [`Host::permit`](crate::host::Host::permit), in etcd's words.
    pub(super) async fn permit(
        &self,
        caller: &Caller,
        deadline: Instant,
        check: impl Fn(&State, &Permit) -> Result<(), Denied>,
    ) -> Result<(), Status> {
        let looked = || self.host.read(|state| check(state, &caller.permit(state)));
        if looked().is_ok() {
            return Ok(());
        }
        self.barrier(deadline).await?;
        looked().map_err(|denied| error::denied(&denied))
    }
}

/// A read: now or at an older revision, the right is today's.
pub(super) fn range(permit: &Permit, request: &RangeRequest) -> Result<(), Denied> {
    let range = convert::range(&request.key, &request.range_end);
    let shows_values = !(request.keys_only || request.count_only);
    // What is sorted by, or left out by, is told by the order or by the count.
    match shows_values || super::range::needs_values(request) && !request.count_only {
        true => permit.read(&range),
        false => permit.list(&range),
    }
}

pub(super) fn put(state: &State, permit: &Permit, request: &PutRequest) -> Result<(), Denied> {
    // Without the value, which has no say.
    let request = PutRequest {
        value: Bytes::new(),
        ..request.clone()
    };
    permit.put(state, &converted(request))
}

pub(super) fn delete(permit: &Permit, request: &DeleteRangeRequest) -> Result<(), Denied> {
    permit.deletion(&v1::DeleteOperation {
        range: Some(convert::wire_range(
            request.key.clone(),
            request.range_end.clone(),
        )),
        previous: request.prev_kv,
    })
}

/// Every part of a transaction, as [`Permit::transaction`].
pub(super) fn transaction(
    state: &State,
    permit: &Permit,
    request: &TxnRequest,
) -> Result<(), Denied> {
    for compare in &request.compare {
        let compared = convert::range(&compare.key, &compare.range_end);
        match compare.target() {
            CompareTarget::Value => permit.read(&compared)?,
            _ => permit.compare_presence(&compared)?,
        }
    }
    for step in request.success.iter().chain(&request.failure) {
        match &step.request {
            Some(Request::RequestRange(read)) => range(permit, read)?,
            Some(Request::RequestPut(write)) => put(state, permit, write)?,
            Some(Request::RequestDeleteRange(deletion)) => delete(permit, deletion)?,
            Some(Request::RequestTxn(inner)) => transaction(state, permit, inner)?,
            None => {}
        }
    }
    Ok(())
}

/// The places before a lock, or in an election.
pub(super) fn contenders(name: &[u8]) -> KeyRange {
    KeyRange::prefix(super::contest::prefix(name))
}

/// Every method there is a service for, the commonest first, and what it requires.
pub(super) const METHODS: &[(&str, Required)] = &[
    ("/etcdserverpb.KV/Range", keys(&[List, Read])),
    ("/etcdserverpb.KV/Put", keys(&[Write])),
    ("/etcdserverpb.KV/Txn", keys(&[List, Read, Write, Delete])),
    ("/etcdserverpb.KV/DeleteRange", keys(&[Delete])),
    ("/etcdserverpb.Watch/Watch", keys(&[Read])),
    ("/etcdserverpb.Lease/LeaseKeepAlive", keys(&[Write, Lock])),
    ("/etcdserverpb.Lease/LeaseGrant", keys(&[Write, Lock])),
    (
        "/etcdserverpb.Lease/LeaseRevoke",
        keys(&[Write, Delete, Lock]),
    ),
    (
        "/etcdserverpb.Lease/LeaseTimeToLive",
        keys(&[List, Write, Lock]),
    ),
    ("/etcdserverpb.Lease/LeaseLeases", keys(&[List])),
    ("/etcdserverpb.KV/Compact", cluster(AdminHistory)),
    ("/v3lockpb.Lock/Lock", keys(&[Lock])),
    ("/v3lockpb.Lock/Unlock", keys(&[Lock, Delete])),
    ("/v3electionpb.Election/Campaign", keys(&[Lock])),
    ("/v3electionpb.Election/Proclaim", keys(&[Lock, Write])),
    ("/v3electionpb.Election/Leader", keys(&[Lock, Read])),
    ("/v3electionpb.Election/Observe", keys(&[Lock, Read])),
    ("/v3electionpb.Election/Resign", keys(&[Lock, Delete])),
    ("/etcdserverpb.Cluster/MemberList", Required::Certificate),
    ("/etcdserverpb.Cluster/MemberAdd", cluster(AdminMembers)),
    ("/etcdserverpb.Cluster/MemberRemove", cluster(AdminMembers)),
    ("/etcdserverpb.Cluster/MemberUpdate", cluster(AdminMembers)),
    ("/etcdserverpb.Cluster/MemberPromote", cluster(AdminMembers)),
    ("/etcdserverpb.Maintenance/Alarm", Required::Certificate),
    ("/etcdserverpb.Maintenance/Status", Required::Certificate),
    (
        "/etcdserverpb.Maintenance/Defragment",
        cluster(AdminHistory),
    ),
    ("/etcdserverpb.Maintenance/Hash", Required::Certificate),
    ("/etcdserverpb.Maintenance/HashKV", Required::Certificate),
    ("/etcdserverpb.Maintenance/Snapshot", cluster(AdminBackup)),
    (
        "/etcdserverpb.Maintenance/MoveLeader",
        cluster(AdminMembers),
    ),
    ("/etcdserverpb.Maintenance/Downgrade", cluster(AdminMembers)),
    // The status alone is served; the others say what to use instead.
    ("/etcdserverpb.Auth/AuthEnable", Required::Certificate),
    ("/etcdserverpb.Auth/AuthDisable", Required::Certificate),
    ("/etcdserverpb.Auth/AuthStatus", Required::Certificate),
    ("/etcdserverpb.Auth/Authenticate", Required::Certificate),
    ("/etcdserverpb.Auth/UserAdd", Required::Certificate),
    ("/etcdserverpb.Auth/UserGet", Required::Certificate),
    ("/etcdserverpb.Auth/UserList", Required::Certificate),
    ("/etcdserverpb.Auth/UserDelete", Required::Certificate),
    (
        "/etcdserverpb.Auth/UserChangePassword",
        Required::Certificate,
    ),
    ("/etcdserverpb.Auth/UserGrantRole", Required::Certificate),
    ("/etcdserverpb.Auth/UserRevokeRole", Required::Certificate),
    ("/etcdserverpb.Auth/RoleAdd", Required::Certificate),
    ("/etcdserverpb.Auth/RoleGet", Required::Certificate),
    ("/etcdserverpb.Auth/RoleList", Required::Certificate),
    ("/etcdserverpb.Auth/RoleDelete", Required::Certificate),
    (
        "/etcdserverpb.Auth/RoleGrantPermission",
        Required::Certificate,
    ),
    (
        "/etcdserverpb.Auth/RoleRevokePermission",
        Required::Certificate,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_has_a_service_has_its_row() {
        let mut listed: Vec<&str> = METHODS
            .iter()
            .map(|(path, _)| path.trim_start_matches('/'))
            .collect();
        listed.sort_unstable();
        assert_eq!(
            holdfast_proto::described::methods(holdfast_proto::etcd::DESCRIPTORS),
            listed
        );
    }

    #[test]
    fn nothing_is_open_here_to_who_shows_no_certificate() {
        for (path, required) in METHODS {
            assert!(
                !matches!(required, Required::Open | Required::Node),
                "{path}"
            );
        }
    }
}
