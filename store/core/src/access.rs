//! Who may do what: roles, who is granted them, and who is let in no more.
//!
//! What no rule allows is refused; what one rule denies, no other allows. Administration implies
//! neither reading nor revealing; reading implies listing. A cluster whose grants nobody ever
//! changed has the founding policy, [`FOUNDING`], without a row for it: so does one of a version
//! that knew no policy. The first change of a grant, or a revocation, writes it down.
//!
//! Invariants: (1) somebody who can come in over the network may change the policy, whatever command
//! was applied: a change is made on a copy, which takes the place of the state's only if that still
//! holds. (2) A grant names roles that are there. (3) An identity that was revoked stays so; a
//! restored cluster alone, whose authority is a new one, takes its first operator back.

mod rights;
mod role;
mod row;

use std::sync::Arc;

pub use holdfast_proto::access::{Capabilities, Capability, Rule};
use holdfast_proto::{Timestamp, access::RuleError, limits};
use imbl::OrdMap;

pub use self::{
    rights::{Decision, Granted, Rights, Target},
    role::{ADMIN, BUILT_IN, OPERATOR, READER, REVEALER, Role, built_in, is_built_in},
};
use crate::{
    hash::RollingHash,
    reply::{Reason, Refusal},
};

/// Why a policy is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A rule makes no sense.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// Not the name of a role.
    #[error("a role is called by 1 to 63 of a-z, 0-9, '.', '_' and '-'")]
    RoleName,
    /// Too many rules in one role.
    #[error("a role has at most {} rules; make two of it", limits::ROLE_RULES)]
    TooManyRules,
    /// Not the name of a client.
    #[error(
        "an identity is called client/NAME, with a name of 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-'"
    )]
    Identity,
    /// Too many roles for one identity.
    #[error(
        "an identity has at most {} roles; put their rules into fewer",
        limits::GRANT_ROLES
    )]
    TooManyRoles,
}

/// A state of the policy: equal where roles, grants and identities are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyVersion(RollingHash);

/// What is known of an identity beside its grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When its newest certificate was given out; `None`: not by the cluster's service.
    pub issued: Option<Timestamp>,
    /// When that certificate ends.
    pub expires: Option<Timestamp>,
    /// Since when it is let in no more.
    pub revoked: Option<Timestamp>,
}

/// Roles that an identity is given, and roles that are taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantChange {
    /// `client/NAME`.
    pub identity: Arc<str>,
    /// Those it has from then on, too.
    pub add: Vec<Arc<str>>,
    /// Those it has no more.
    pub remove: Vec<Arc<str>>,
}

/// Roles, grants and identities.
#[derive(Clone, Default)]
pub struct Access {
    roles: OrdMap<Arc<str>, Arc<Role>>,
    grants: OrdMap<Arc<str>, Arc<[Arc<str>]>>,
    identities: OrdMap<Arc<str>, Known>,
    pub(crate) hash: RollingHash,
}

impl Access {
    /// What an identity may do now. Looked up once, kept until [`Access::version`] changes.
    pub fn rights(&self, identity: &str) -> Rights {
        if self.is_revoked(identity) {
            return Rights::revoked();
        }
        let roles = self.roles_of(identity);
        let roles: Vec<Role> = roles.iter().filter_map(|name| self.role(name)).collect();
        Rights::of(&roles)
    }

    /// The names of the roles that an identity is granted.
    pub fn roles_of(&self, identity: &str) -> Vec<Arc<str>> {
        if let Some(names) = self.grants.get(identity) {
            return names.to_vec();
        }
        let founding = FOUNDING.iter().find(|(name, _)| *name == identity);
        match founding {
            Some((_, roles)) if self.is_founding() => shared(roles),
            _ => Vec::new(),
        }
    }

    /// Which policy this is.
    pub fn version(&self) -> PolicyVersion {
        PolicyVersion(self.hash)
    }

    /// Whether an identity is let in no more.
    pub fn is_revoked(&self, identity: &str) -> bool {
        let known = self.identities.get(identity);
        known.is_some_and(|known| known.revoked.is_some())
    }

    /// A role, built in or not.
    pub fn role(&self, name: &str) -> Option<Role> {
        built_in(name).or_else(|| self.roles.get(name).map(|role| Role::clone(role)))
    }

    /// All roles, those that are built in first.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        let built_in = BUILT_IN.iter().filter_map(|name| built_in(name));
        built_in.chain(self.roles.values().map(|role| Role::clone(role)))
    }

    /// Who is granted what, by identity.
    pub fn grants(&self) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
        if self.is_founding() {
            let founding = FOUNDING.iter();
            return founding
                .map(|(identity, roles)| (Arc::from(*identity), shared(roles)))
                .collect();
        }
        let grants = self.grants.iter();
        grants
            .map(|(identity, roles)| (identity.clone(), roles.to_vec()))
            .collect()
    }

    /// Who may change the policy and has a certificate to come in with.
    pub fn administrators(&self) -> Vec<Arc<str>> {
        let identities = self.grants().into_iter().map(|(identity, _)| identity);
        let may = |identity: &Arc<str>| {
            let rights = self.rights(identity);
            rights.allow(Capability::AdminPolicy, Target::Cluster)
        };
        identities
            .filter(|identity| !is_local(identity) && may(identity))
            .collect()
    }

    /// Whether grants are as a cluster begins with them.
    fn is_founding(&self) -> bool {
        self.grants.is_empty()
    }

    /// The identities that certificates were given to, and those that were revoked.
    pub fn identities(&self) -> impl Iterator<Item = (&Arc<str>, &Known)> {
        self.identities.iter()
    }

    /// Makes a role, or changes one.
    pub(crate) fn set_role(&mut self, role: Role, now: Timestamp) -> Result<(), Refusal> {
        check_not_built_in(role.name())?;
        let new = !self.roles.contains_key(role.name());
        if new && self.roles.len() >= limits::ROLES {
            return Err(too_many("roles", limits::ROLES));
        }
        self.change(now, |access| access.insert_role(role))
    }

    /// Removes a role that nobody has.
    pub(crate) fn remove_role(&mut self, name: &str, now: Timestamp) -> Result<(), Refusal> {
        check_not_built_in(name)?;
        if !self.roles.contains_key(name) {
            return Err(Refusal::new(Reason::Invalid, no_role(name)));
        }
        let holder = self.grants.iter().find(|(_, roles)| has(roles, name));
        if let Some((identity, _)) = holder {
            let message = format!(
                "{identity} is granted {name}; nothing was changed; take it away first with \
                 `kvctl grant remove {} {name}`",
                short_name(identity)
            );
            return Err(Refusal::new(Reason::Invalid, message));
        }
        self.change(now, |access| access.drop_role(name))
    }

    /// Gives an identity roles and takes others from it.
    pub(crate) fn change_grant(
        &mut self,
        grant: GrantChange,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let GrantChange {
            identity,
            add,
            remove,
        } = grant;
        if self.is_revoked(&identity) && !add.is_empty() {
            let message = format!(
                "{identity} was revoked, and stays so; nothing was granted; issue another name"
            );
            return Err(Refusal::new(Reason::Invalid, message));
        }
        let named = add.iter().chain(&remove);
        if let Some(missing) = named.into_iter().find(|name| self.role(name).is_none()) {
            return Err(Refusal::new(Reason::Invalid, no_role(missing)));
        }
        let mut roles = self.roles_of(&identity);
        roles.extend(add);
        roles.retain(|role| !remove.contains(role));
        roles.sort_unstable();
        roles.dedup();
        if roles.len() > limits::GRANT_ROLES {
            return Err(too_many("roles of this identity", limits::GRANT_ROLES));
        }
        let new = !roles.is_empty() && !self.grants.contains_key(&identity);
        if new && self.grants.len() >= limits::GRANTS {
            return Err(too_many("identities with roles", limits::GRANTS));
        }
        self.change(now, |access| {
            access.write_founding();
            access.insert_grant(identity, roles.into());
        })
    }

    /// Notes that a certificate is given out.
    pub(crate) fn issue(
        &mut self,
        identity: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.is_revoked(identity) {
            let message = format!("{identity} was revoked, and stays so; issue another name");
            return Err(Refusal::new(Reason::Invalid, message));
        }
        if is_local(identity) {
            let message = format!(
                "{identity} is who calls from within a node, and has no certificate; nothing was \
                 issued; choose another name"
            );
            return Err(Refusal::new(Reason::Invalid, message));
        }
        self.check_room(identity)?;
        let known = Known {
            issued: Some(now),
            expires: Some(expires),
            revoked: None,
        };
        self.change(now, |access| access.insert_identity(identity.into(), known))
    }

    /// Lets an identity in no more, and takes its roles.
    pub(crate) fn revoke(&mut self, identity: &str, now: Timestamp) -> Result<(), Refusal> {
        self.check_room(identity)?;
        self.change(now, |access| {
            access.write_founding();
            access.insert_grant(identity.into(), Arc::default());
            let mut known = access.identities.get(identity).copied().unwrap_or_default();
            known.revoked.get_or_insert(now);
            access.insert_identity(identity.into(), known);
        })
    }

    /// The first operator of a restored cluster, whose certificate is the only one that its new
    /// authority has given out, is an administrator, whatever became of its namesake.
    pub(crate) fn restored(&mut self) {
        self.write_founding();
        let mut roles = self.roles_of(FIRST);
        roles.extend(shared(FIRST_ROLES));
        roles.sort_unstable();
        roles.dedup();
        self.insert_grant(FIRST.into(), roles.into());
        if self.is_revoked(FIRST) {
            self.insert_identity(FIRST.into(), Known::default());
        }
    }

    /// Makes a change unless nobody could change anything after it.
    fn change(&mut self, now: Timestamp, change: impl FnOnce(&mut Self)) -> Result<(), Refusal> {
        let mut changed = self.clone();
        change(&mut changed);
        if !changed.has_admin(now) {
            return Err(Refusal::new(
                Reason::LastAdmin,
                "after this nobody who holds a certificate could change roles and grants any more; \
                 nothing was changed; give somebody else a certificate and the role admin first: \
                 `kvctl identity issue NAME`, `kvctl grant add NAME admin`",
            ));
        }
        *self = changed;
        Ok(())
    }

    fn has_admin(&self, now: Timestamp) -> bool {
        let may = |identity: &str| {
            self.can_come_in(identity, now)
                && self
                    .rights(identity)
                    .allow(Capability::AdminPolicy, Target::Cluster)
        };
        // Most likely the first is one; else each is looked at.
        may(FIRST) || self.grants.keys().any(|identity| may(identity))
    }

    /// Whether somebody holds a certificate of this name, for all that is known. The first operator
    /// got one with the cluster.
    fn can_come_in(&self, identity: &str, now: Timestamp) -> bool {
        let known = self.identities.get(identity).copied().unwrap_or_default();
        let holds = identity == FIRST || known.expires.is_some_and(|end| end > now);
        holds && known.revoked.is_none()
    }

    fn check_room(&self, identity: &str) -> Result<(), Refusal> {
        let new = !self.identities.contains_key(identity);
        if new && self.identities.len() >= limits::IDENTITIES {
            return Err(too_many("identities", limits::IDENTITIES));
        }
        Ok(())
    }

    /// What held without being written down is written down.
    fn write_founding(&mut self) {
        if self.is_founding() {
            for (identity, roles) in FOUNDING {
                self.insert_grant((*identity).into(), shared(roles).into());
            }
        }
    }
}

/// Whether this is `client/NAME`. Nodes are granted nothing: what they may do follows from their
/// membership.
pub fn check_identity(identity: &str) -> Result<(), PolicyError> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    match identity.strip_prefix(CLIENT) {
        Some(name) if (1..=63).contains(&name.len()) && name.bytes().all(known) => Ok(()),
        _ => Err(PolicyError::Identity),
    }
}

/// As the command line takes it.
fn short_name(identity: &str) -> &str {
    identity.strip_prefix(CLIENT).unwrap_or(identity)
}

fn shared(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|&name| name.into()).collect()
}

fn is_local(identity: &str) -> bool {
    [EMBEDDED, PLAINTEXT].contains(&identity)
}

fn has(roles: &[Arc<str>], name: &str) -> bool {
    roles.iter().any(|role| **role == *name)
}

fn check_not_built_in(name: &str) -> Result<(), Refusal> {
    if is_built_in(name) {
        let message = format!("{name} is built in and cannot be changed; make a role of your own");
        return Err(Refusal::new(Reason::Invalid, message));
    }
    Ok(())
}

fn no_role(name: &str) -> String {
    format!("there is no role {name}; nothing was changed; see `kvctl role list`")
}

fn too_many(what: &str, limit: usize) -> Refusal {
    let message = format!("there are {limit} {what} already, which is the most there can be");
    Refusal::new(Reason::TooMany, message)
}

const CLIENT: &str = "client/";
/// Who founds a cluster: the name of the certificate of the first context.
pub const FIRST: &str = "client/admin";
/// The program that a node is embedded in.
pub const EMBEDDED: &str = "client/embedded";
/// Who comes in without TLS, where the operator of a node allows that on loopback.
pub const PLAINTEXT: &str = "client/etcd-plaintext";
/// What a cluster begins with: everything but secrets in the clear, for who is there then.
pub const FOUNDING: &[(&str, &[&str])] = &[
    (FIRST, FIRST_ROLES),
    (EMBEDDED, FIRST_ROLES),
    (PLAINTEXT, FIRST_ROLES),
];
const FIRST_ROLES: &[&str] = &[ADMIN, OPERATOR];
