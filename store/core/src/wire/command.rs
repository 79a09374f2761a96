//! Commands.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{
    NodeId, NodeName, RequestId, Revision, Timestamp, limits,
    log::v1::{self as wire, command::Body as Wire},
    v1,
};

use crate::{
    access::GrantChange,
    authority::{AuthorityBegin, AuthorityTaken, AuthorityWanted},
    command::{Body, Command, CommandError, Delete, Expected, Founding, Put, most, parse_key},
    keyring::row as keyring,
    member::Role,
    retention::Retention,
    wire::{
        field::{
            anchor_to_wire, parse_address, parse_anchor, parse_certificate, parse_digest,
            parse_expiries, parse_identity, parse_lease, parse_public_key, parse_role, parse_roles,
        },
        fleet,
    },
};

impl TryFrom<wire::Command> for Command {
    type Error = CommandError;

    fn try_from(wire: wire::Command) -> Result<Self, CommandError> {
        most(
            "the note",
            "note bytes",
            wire.note.len(),
            limits::NOTE_BYTES,
        )?;
        most(
            "the author",
            "author bytes",
            wire.author.len(),
            limits::AUTHOR_BYTES,
        )?;
        Ok(Self {
            request: wire.request.as_ref().map(RequestId::try_from).transpose()?,
            author: wire.author.into(),
            note: text(wire.note),
            body: parse_body(
                wire.body
                    .ok_or(CommandError::Missing("the command is empty"))?,
            )?,
        })
    }
}

/// Most notes are empty: those share one allocation.
fn text(text: String) -> Arc<str> {
    if text.is_empty() {
        Arc::default()
    } else {
        text.into()
    }
}

fn parse_body(body: Wire) -> Result<Body, CommandError> {
    Ok(match body {
        Wire::Transact(transaction) => Body::Transact(transaction.try_into()?),
        Wire::Put(put) => Body::Put(Put {
            put: put
                .put
                .ok_or(CommandError::Missing("the put is empty"))?
                .try_into()?,
            expected: put.expected.map(Expected::from_number),
        }),
        Wire::Delete(delete) => Body::Delete(parse_delete(delete)?),
        Wire::Compact(compact) => Body::Compact(compact.revision),
        Wire::SetRetention(set) => {
            most(
                "the prefix",
                "key bytes",
                set.prefix.len(),
                limits::KEY_BYTES,
            )?;
            Body::SetRetention {
                prefix: Bytes::copy_from_slice(&set.prefix),
                retention: set.retention.map(Retention::from),
            }
        }
        Wire::LeaseGrant(grant) => Body::LeaseGrant {
            lease: parse_lease(grant.lease)?,
            ttl_ms: grant.ttl_ms,
        },
        Wire::LeaseRevoke(revoke) => Body::LeaseRevoke(parse_lease(revoke.lease)?),
        Wire::LeaseExpire(expire) => Body::LeaseExpire {
            term: expire.term,
            leases: parse_expiries(expire.leases, &expire.granted_at_ms)?,
        },
        Wire::TokenCreate(create) => Body::TokenCreate {
            digest: parse_digest(&create.digest)?,
            role: parse_role(create.role)?.ok_or(CommandError::Missing("the role is not set"))?,
            expires: Timestamp::from_millis(create.expires_at_ms),
            name: (!create.name.is_empty())
                .then(|| create.name.parse())
                .transpose()?,
        },
        Wire::MemberAdmit(admit) => Body::MemberAdmit {
            token: parse_digest(&admit.token_digest)?,
            name: admit.name.parse()?,
            address: parse_address(admit.address)?,
            public_key: parse_public_key(&admit.public_key)?,
        },
        Wire::MemberUpdate(update) => Body::MemberUpdate {
            id: NodeId(update.id),
            address: (!update.address.is_empty())
                .then(|| parse_address(update.address))
                .transpose()?,
            role: parse_role(update.role)?,
        },
        Wire::MemberRemove(remove) => Body::MemberRemove {
            id: NodeId(remove.id),
            heard: (remove.heard_at_ms != 0).then(|| Timestamp::from_millis(remove.heard_at_ms)),
        },
        Wire::AuthorityWanted(wanted) => Body::AuthorityWanted(AuthorityWanted {
            member: NodeId(wanted.member),
            replaces: parse_certificate(&wanted.replaces)?,
            public_key: parse_public_key(&wanted.public_key)?,
        }),
        Wire::AuthorityBegin(begin) => Body::AuthorityBegin(AuthorityBegin {
            generation: begin.generation,
            certificate: parse_certificate(&begin.certificate)?,
            replaces: Bytes::copy_from_slice(&begin.replaces),
        }),
        Wire::AuthorityTaken(taken) => Body::AuthorityTaken(AuthorityTaken {
            generation: taken.generation,
            certificate: parse_certificate(&taken.certificate)?,
            member: NodeId(taken.member),
        }),
        Wire::AuthorityRetire(retire) => Body::AuthorityRetire(retire.generation),
        Wire::ClusterInit(init) => Body::ClusterInit(Box::new(parse_founding(init)?)),
        Wire::RoleSet(role) => Body::RoleSet(role.try_into()?),
        Wire::RoleRemove(remove) => Body::RoleRemove(remove.name.into()),
        Wire::GrantChange(grant) => Body::GrantChange(GrantChange {
            identity: parse_identity(grant.identity)?,
            add: parse_roles(grant.add)?,
            remove: parse_roles(grant.remove)?,
        }),
        Wire::IdentityIssued(issued) => Body::IdentityIssued {
            identity: parse_identity(issued.identity)?,
            expires: Timestamp::from_millis(issued.expires_at_ms),
        },
        Wire::IdentityRevoke(revoke) => Body::IdentityRevoke(parse_identity(revoke.identity)?),
        Wire::AuditAnchor(anchor) => {
            let (member, sequence, hash) = parse_anchor(&anchor)?;
            Body::AuditAnchor {
                member,
                sequence,
                hash,
            }
        }
        Wire::FleetReports(reports) => Body::FleetReports(fleet::parse_reports(reports)?),
        Wire::FleetForget(forget) => Body::FleetForget(fleet::parse_keys(forget)?),
        Wire::Tick(wire::Tick {}) => Body::Tick,
        Wire::NodeKeySet(set) => Body::NodeKeySet {
            member: NodeId(set.member),
            key: keyring::parse_node_key(&set.public_key, set.protector)?,
        },
        Wire::RecoverySet(set) => Body::RecoverySet(Box::new(keyring::parse_recovery_set(set)?)),
        Wire::RecoveryVerified(verified) => {
            Body::RecoveryVerified(keyring::parse_set(&verified.set)?)
        }
        Wire::EpochBegin(begin) => Body::EpochBegin(Box::new(keyring::parse_epoch(begin, true)?)),
        Wire::EpochWrap(wrap) => Body::EpochWrap(keyring::parse_epoch_wrap(&wrap, true)?),
        Wire::Rewrap(rewrap) => {
            let (epoch, wraps) = keyring::parse_rewrap(rewrap)?;
            Body::Rewrap { epoch, wraps }
        }
        Wire::SecretDestroy(destroy) => Body::SecretDestroy {
            key: parse_key(&destroy.key)?,
            revision: Revision::new(destroy.revision),
        },
    })
}

fn parse_delete(wire: wire::Delete) -> Result<Delete, CommandError> {
    let delete: crate::operation::DeleteOperation = wire
        .delete
        .ok_or(CommandError::Missing("the deletion is empty"))?
        .try_into()?;
    if wire.expected.is_some() && delete.range.as_single().is_none() {
        return Err(CommandError::Invalid(
            "an expected revision goes with one key; delete a range without it",
        ));
    }
    Ok(Delete {
        delete,
        expected: wire.expected.map(Expected::from_number),
    })
}

fn parse_founding(wire: wire::ClusterInit) -> Result<Founding, CommandError> {
    let founder = wire
        .founder
        .ok_or(CommandError::Missing("the founder is not set"))?;
    if wire.cluster_id.is_empty() || founder.id == 0 {
        return Err(CommandError::Missing(
            "the cluster's id or its founder's is not set",
        ));
    }
    most(
        "the cluster's id",
        "name bytes",
        wire.cluster_id.len(),
        limits::AUTHOR_BYTES,
    )?;
    most(
        "the cluster's name",
        "name bytes",
        wire.cluster_name.len(),
        limits::AUTHOR_BYTES,
    )?;
    Ok(Founding {
        cluster_id: wire.cluster_id.into(),
        cluster_name: wire.cluster_name.into(),
        founder: NodeId(founder.id),
        name: founder.name.parse()?,
        address: parse_address(founder.address)?,
        public_key: parse_public_key(&wire.public_key)?,
    })
}

impl From<Command> for wire::Command {
    fn from(command: Command) -> Self {
        Self {
            request: command.request.map(v1::RequestId::from),
            author: command.author.to_string(),
            note: command.note.to_string(),
            body: Some(body_to_wire(command.body)),
        }
    }
}

fn body_to_wire(body: Body) -> Wire {
    match body {
        Body::Transact(transaction) => Wire::Transact(transaction.into()),
        Body::Put(put) => Wire::Put(wire::Put {
            put: Some(put.put.into()),
            expected: put.expected.map(Expected::number),
        }),
        Body::Delete(delete) => Wire::Delete(wire::Delete {
            delete: Some(delete.delete.into()),
            expected: delete.expected.map(Expected::number),
        }),
        Body::Compact(revision) => Wire::Compact(wire::Compact { revision }),
        Body::SetRetention { prefix, retention } => Wire::SetRetention(wire::SetRetention {
            prefix,
            retention: retention.map(Into::into),
        }),
        Body::LeaseGrant { lease, ttl_ms } => Wire::LeaseGrant(wire::LeaseGrant {
            lease: lease.get(),
            ttl_ms,
        }),
        Body::LeaseRevoke(lease) => Wire::LeaseRevoke(wire::LeaseRevoke { lease: lease.get() }),
        Body::LeaseExpire { term, leases } => Wire::LeaseExpire(wire::LeaseExpire {
            term,
            granted_at_ms: leases
                .iter()
                .filter_map(|expiry| Some(expiry.granted_at?.as_millis()))
                .collect(),
            leases: leases
                .into_iter()
                .map(|expiry| expiry.lease.get())
                .collect(),
        }),
        Body::TokenCreate {
            digest,
            role,
            expires,
            name,
        } => Wire::TokenCreate(wire::TokenCreate {
            digest: Bytes::copy_from_slice(digest.as_bytes()),
            role: role.to_wire().into(),
            expires_at_ms: expires.as_millis(),
            name: name.as_ref().map_or_else(String::new, NodeName::to_string),
        }),
        Body::MemberAdmit {
            token,
            name,
            address,
            public_key,
        } => Wire::MemberAdmit(wire::MemberAdmit {
            token_digest: Bytes::copy_from_slice(token.as_bytes()),
            name: name.to_string(),
            address: address.to_string(),
            public_key,
        }),
        Body::MemberUpdate { id, address, role } => Wire::MemberUpdate(wire::MemberUpdate {
            id: id.0,
            address: address.map_or_else(String::new, |address| address.to_string()),
            role: role.map_or(v1::Role::Unspecified, Role::to_wire).into(),
        }),
        Body::MemberRemove { id, heard } => Wire::MemberRemove(wire::MemberRemove {
            id: id.0,
            heard_at_ms: heard.map_or(0, Timestamp::as_millis),
        }),
        Body::AuthorityWanted(wanted) => Wire::AuthorityWanted(wire::AuthorityWanted {
            member: wanted.member.0,
            replaces: wanted.replaces,
            public_key: wanted.public_key,
        }),
        Body::AuthorityBegin(begin) => Wire::AuthorityBegin(wire::AuthorityBegin {
            generation: begin.generation,
            certificate: begin.certificate,
            replaces: begin.replaces,
        }),
        Body::AuthorityTaken(taken) => Wire::AuthorityTaken(wire::AuthorityTaken {
            generation: taken.generation,
            certificate: taken.certificate,
            member: taken.member.0,
        }),
        Body::AuthorityRetire(generation) => {
            Wire::AuthorityRetire(wire::AuthorityRetire { generation })
        }
        Body::ClusterInit(founding) => Wire::ClusterInit(wire::ClusterInit {
            cluster_id: founding.cluster_id.to_string(),
            cluster_name: founding.cluster_name.to_string(),
            founder: Some(v1::Member {
                id: founding.founder.0,
                name: founding.name.to_string(),
                address: founding.address.to_string(),
                role: v1::Role::Voter.into(),
                joined_at_ms: 0,
            }),
            public_key: founding.public_key,
        }),
        Body::RoleSet(role) => Wire::RoleSet(role.to_wire()),
        Body::RoleRemove(name) => Wire::RoleRemove(wire::RoleRemove {
            name: name.to_string(),
        }),
        Body::GrantChange(grant) => Wire::GrantChange(wire::GrantChange {
            identity: grant.identity.to_string(),
            add: grant.add.iter().map(ToString::to_string).collect(),
            remove: grant.remove.iter().map(ToString::to_string).collect(),
        }),
        Body::IdentityIssued { identity, expires } => Wire::IdentityIssued(wire::IdentityIssued {
            identity: identity.to_string(),
            expires_at_ms: expires.as_millis(),
        }),
        Body::IdentityRevoke(identity) => Wire::IdentityRevoke(wire::IdentityRevoke {
            identity: identity.to_string(),
        }),
        Body::AuditAnchor {
            member,
            sequence,
            hash,
        } => Wire::AuditAnchor(anchor_to_wire(member, sequence, &hash)),
        Body::NodeKeySet { member, key } => Wire::NodeKeySet(wire::NodeKeySet {
            member: member.0,
            public_key: key.public_key,
            protector: key.protector.to_string(),
        }),
        Body::RecoverySet(set) => Wire::RecoverySet(keyring::recovery_set_to_wire(*set)),
        Body::RecoveryVerified(set) => Wire::RecoveryVerified(wire::RecoveryVerified { set }),
        Body::EpochBegin(begin) => Wire::EpochBegin(keyring::begin_to_wire(*begin)),
        Body::EpochWrap(wrap) => Wire::EpochWrap(keyring::epoch_wrap_to_wire(&wrap)),
        Body::Rewrap { epoch, wraps } => {
            let wraps = wraps.into_iter();
            Wire::Rewrap(wire::Rewrap {
                epoch,
                wraps: wraps
                    .map(|(id, wrap)| keyring::wrap_to_wire(&id, epoch, wrap))
                    .collect(),
            })
        }
        Body::SecretDestroy { key, revision } => Wire::SecretDestroy(wire::SecretDestroy {
            key: key.to_bytes(),
            revision: revision.map_or(0, Revision::get),
        }),
        Body::FleetReports(reports) => Wire::FleetReports(fleet::reports_to_wire(reports)),
        Body::FleetForget(keys) => Wire::FleetForget(fleet::keys_to_wire(keys)),
        Body::Tick => Wire::Tick(wire::Tick {}),
    }
}
