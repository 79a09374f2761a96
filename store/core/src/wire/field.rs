//! Fields that commands, and rows of an archive, have in common.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{LeaseId, NodeId, Timestamp, limits, log::v1 as wire, v1};

use crate::{
    access::{PolicyError, check_identity},
    audit::AnchorHash,
    command::{CommandError, most},
    lease::Expiry,
    member::Role,
    token::TokenDigest,
};

pub(super) fn parse_expiries(
    leases: Vec<u64>,
    granted_at_ms: &[u64],
) -> Result<Vec<Expiry>, CommandError> {
    if !granted_at_ms.is_empty() && granted_at_ms.len() != leases.len() {
        return Err(CommandError::Invalid(
            "not every lease that ends says when it was granted",
        ));
    }
    let mut granted = granted_at_ms.iter().copied().map(Timestamp::from_millis);
    let expiry = |lease| {
        Ok(Expiry {
            lease: parse_lease(lease)?,
            granted_at: granted.next(),
        })
    };
    leases.into_iter().map(expiry).collect()
}

pub(super) fn parse_lease(number: u64) -> Result<LeaseId, CommandError> {
    LeaseId::new(number).ok_or(CommandError::Missing("the lease is not set"))
}

pub(super) fn parse_digest(bytes: &[u8]) -> Result<TokenDigest, CommandError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| CommandError::Invalid("a token's digest has 32 bytes"))?;
    Ok(TokenDigest::from_bytes(bytes))
}

pub(crate) fn parse_identity(identity: String) -> Result<Arc<str>, CommandError> {
    check_identity(&identity)?;
    Ok(identity.into())
}

/// A grant, from an archive.
pub(crate) fn parse_grant(
    grant: v1::AccessGrant,
) -> Result<(Arc<str>, Vec<Arc<str>>), CommandError> {
    Ok((parse_identity(grant.identity)?, parse_roles(grant.roles)?))
}

pub(super) fn parse_roles(roles: Vec<String>) -> Result<Vec<Arc<str>>, CommandError> {
    if roles.len() > limits::GRANT_ROLES {
        return Err(PolicyError::TooManyRoles.into());
    }
    Ok(roles.into_iter().map(Into::into).collect())
}

/// An anchor without its time, from a command or from an archive.
pub(crate) fn parse_anchor(
    wire: &wire::AuditAnchor,
) -> Result<(NodeId, u64, AnchorHash), CommandError> {
    let hash = wire.hash[..]
        .try_into()
        .map_err(|_| CommandError::Invalid("the hash of an audit log has 32 bytes"))?;
    if wire.member == 0 || wire.sequence == 0 {
        return Err(CommandError::Missing(
            "the anchor of an audit log names no member or no record",
        ));
    }
    Ok((
        NodeId(wire.member),
        wire.sequence,
        AnchorHash::from_bytes(hash),
    ))
}

/// `None`: not set.
pub(super) fn parse_role(number: i32) -> Result<Option<Role>, CommandError> {
    match v1::Role::try_from(number) {
        Ok(role) => Ok(Role::from_wire(role)),
        Err(_) => Err(CommandError::Missing("the role is not known here")),
    }
}

pub(super) fn parse_address(address: String) -> Result<Arc<str>, CommandError> {
    most(
        "the address",
        "address bytes",
        address.len(),
        limits::ADDRESS_BYTES,
    )?;
    if address.is_empty() {
        return Err(CommandError::Missing("the address is not set"));
    }
    Ok(address.into())
}

/// A certificate's DER, which a command never brings without.
pub(super) fn parse_certificate(bytes: &Bytes) -> Result<Bytes, CommandError> {
    most(
        "the certificate",
        "certificate bytes",
        bytes.len(),
        limits::CERTIFICATE_BYTES,
    )?;
    if bytes.is_empty() {
        return Err(CommandError::Missing("the certificate is not set"));
    }
    Ok(Bytes::copy_from_slice(bytes))
}

pub(super) fn parse_public_key(bytes: &Bytes) -> Result<Bytes, CommandError> {
    most(
        "the public key",
        "public key bytes",
        bytes.len(),
        limits::PUBLIC_KEY_BYTES,
    )?;
    Ok(Bytes::copy_from_slice(bytes))
}

/// As [`parse_anchor`] takes it.
pub(crate) fn anchor_to_wire(
    member: NodeId,
    sequence: u64,
    hash: &AnchorHash,
) -> wire::AuditAnchor {
    wire::AuditAnchor {
        member: member.0,
        sequence,
        hash: Bytes::copy_from_slice(hash.as_bytes()),
    }
}
