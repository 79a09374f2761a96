//! Roles: rules under a name. Four are built in, have no rows and cannot be changed.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{
    access::{Capability, Rule},
    limits, v1,
};

use super::PolicyError;

/// Rules under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    name: Arc<str>,
    rules: Vec<Rule>,
}

impl Role {
    /// A checked role.
    pub fn new(name: &str, rules: Vec<Rule>) -> Result<Self, PolicyError> {
        if !is_role_name(name) {
            return Err(PolicyError::RoleName);
        }
        if rules.len() > limits::ROLE_RULES {
            return Err(PolicyError::TooManyRules);
        }
        Ok(Self {
            name: name.into(),
            rules,
        })
    }

    /// 1 to 63 of `a-z`, `0-9`, `.`, `_` and `-`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// In the order they were given; it means nothing.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// As it stands on the wire.
    pub fn to_wire(&self) -> v1::AccessRole {
        v1::AccessRole {
            name: self.name.to_string(),
            rules: self.rules.iter().map(Rule::to_wire).collect(),
            built_in: is_built_in(&self.name),
        }
    }
}

impl TryFrom<v1::AccessRole> for Role {
    type Error = PolicyError;

    fn try_from(wire: v1::AccessRole) -> Result<Self, PolicyError> {
        let rules = wire.rules.into_iter().map(Rule::try_from);
        Self::new(&wire.name, rules.collect::<Result<_, _>>()?)
    }
}

/// The role of this name that every cluster has.
pub fn built_in(name: &str) -> Option<Role> {
    use Capability as C;
    let capabilities: &[Capability] = match name {
        ADMIN => &[
            C::AdminMembers,
            C::AdminPolicy,
            C::AdminKeyring,
            C::AdminBackup,
            C::AdminAudit,
            C::AdminHistory,
        ],
        OPERATOR => &[C::List, C::Read, C::Write, C::Delete, C::Lock],
        READER => &[C::List, C::Read],
        REVEALER => &[C::Reveal],
        _ => return None,
    };
    let rule = Rule::new(
        false,
        capabilities.iter().copied().collect(),
        Bytes::new(),
        false,
    );
    Role::new(name, vec![rule.ok()?]).ok()
}

/// Whether a role of this name is built in.
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.contains(&name)
}

fn is_role_name(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=63).contains(&name.len()) && name.bytes().all(known)
}

/// The names of the roles that are built in.
pub const BUILT_IN: [&str; 4] = [ADMIN, OPERATOR, READER, REVEALER];
/// Everything about the cluster, and nothing about keys.
pub const ADMIN: &str = "admin";
/// Everything about keys but secrets in the clear.
pub const OPERATOR: &str = "operator";
/// Lists and reads everything but secrets in the clear.
pub const READER: &str = "reader";
/// Secrets in the clear, everywhere.
pub const REVEALER: &str = "revealer";
