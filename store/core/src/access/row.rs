//! Roles, grants and identities as rows: to the archive and back, and into the state's hash.

use std::sync::Arc;

use holdfast_proto::{Timestamp, v1};
use prost::Message as _;

use super::{Access, Known, Role};
use crate::hash::{RowBuffer, RowHash};

impl Access {
    pub(crate) fn role_rows(&self) -> impl Iterator<Item = v1::AccessRole> {
        self.roles.values().map(|role| role.to_wire())
    }

    pub(crate) fn grant_rows(&self) -> impl Iterator<Item = v1::AccessGrant> {
        let grants = self.grants.iter();
        grants.map(|(identity, roles)| v1::AccessGrant {
            identity: identity.to_string(),
            roles: roles.iter().map(ToString::to_string).collect(),
        })
    }

    pub(crate) fn identity_rows(&self) -> impl Iterator<Item = v1::AccessIdentity> {
        self.identities
            .iter()
            .map(|(identity, known)| known.to_wire(identity))
    }

    pub(crate) fn insert_role(&mut self, role: Role) {
        self.hash.add(role_hash(&role));
        if let Some(before) = self.roles.insert(role.name().clone(), Arc::new(role)) {
            self.hash.remove(role_hash(&before));
        }
    }

    pub(super) fn drop_role(&mut self, name: &str) {
        if let Some(role) = self.roles.remove(name) {
            self.hash.remove(role_hash(&role));
        }
    }

    /// No roles: no row.
    pub(crate) fn insert_grant(&mut self, identity: Arc<str>, roles: Arc<[Arc<str>]>) {
        let before = if roles.is_empty() {
            self.grants.remove(&identity)
        } else {
            self.hash.add(grant_hash(&identity, &roles));
            self.grants.insert(identity.clone(), roles)
        };
        if let Some(before) = before {
            self.hash.remove(grant_hash(&identity, &before));
        }
    }

    pub(crate) fn insert_identity(&mut self, identity: Arc<str>, known: Known) {
        self.hash.add(identity_hash(&identity, &known));
        if let Some(before) = self.identities.insert(identity.clone(), known) {
            self.hash.remove(identity_hash(&identity, &before));
        }
    }
}

impl Known {
    /// As it stands on the wire.
    pub fn to_wire(&self, identity: &str) -> v1::AccessIdentity {
        let millis = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_millis);
        v1::AccessIdentity {
            identity: identity.to_owned(),
            issued_at_ms: millis(self.issued),
            expires_at_ms: millis(self.expires),
            revoked_at_ms: millis(self.revoked),
        }
    }

    pub(crate) fn from_wire(wire: &v1::AccessIdentity) -> Self {
        let time = |ms: u64| (ms != 0).then(|| Timestamp::from_millis(ms));
        Self {
            issued: time(wire.issued_at_ms),
            expires: time(wire.expires_at_ms),
            revoked: time(wire.revoked_at_ms),
        }
    }
}

fn role_hash(role: &Role) -> RowHash {
    let row = RowBuffer::new(b'o').bytes(role.name().as_bytes());
    role.rules()
        .iter()
        .fold(row, |row, rule| {
            let capabilities = rule.capabilities().iter().map(|one| one.as_str());
            let capabilities: Vec<&str> = capabilities.collect();
            row.number(u64::from(rule.is_deny()))
                .number(u64::from(rule.is_reason_required()))
                .bytes(capabilities.join(",").as_bytes())
                .bytes(rule.prefix())
        })
        .finish()
}

fn grant_hash(identity: &str, roles: &[Arc<str>]) -> RowHash {
    let row = RowBuffer::new(b'g').bytes(identity.as_bytes());
    roles
        .iter()
        .fold(row, |row, role| row.bytes(role.as_bytes()))
        .finish()
}

fn identity_hash(identity: &str, known: &Known) -> RowHash {
    RowBuffer::new(b'i')
        .bytes(&known.to_wire(identity).encode_to_vec())
        .finish()
}
