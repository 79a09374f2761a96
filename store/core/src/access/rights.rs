//! What one identity may do: its rules, looked up once, and the decision.
//!
//! A range needs one allowing rule that covers all of it, and no denying rule that touches it: an
//! answer with gaps would look like an answer without. A decision allocates nothing, and what is
//! allowed everywhere and denied nowhere is decided by one bit.

use std::{fmt, sync::Arc};

use holdfast_proto::{
    KeyRange,
    access::{Capabilities, Capability, Rule},
};

use super::Role;

/// What one identity may do.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Allowed everywhere, denied nowhere, with no reason asked for.
    everywhere: Capabilities,
    /// Allowed somewhere, if no other rule denies it there.
    somewhere: Capabilities,
    rules: Vec<Granted>,
    is_revoked: bool,
}

/// A rule that an identity has by a role.
#[derive(Clone, Debug)]
pub struct Granted {
    /// By which role.
    pub role: Arc<str>,
    /// Its place in the role, from 0.
    pub index: usize,
    /// What it says.
    pub rule: Rule,
    /// Of the rule, and what follows from them.
    capabilities: Capabilities,
    range: KeyRange,
}

/// What is to be done to what.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The cluster as a whole.
    Cluster,
    /// One key.
    Key(&'a [u8]),
    /// Some keys.
    Range(&'a KeyRange),
}

/// Whether something may be done, and why.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// It may.
    pub allowed: bool,
    /// The rule that decided; `None`: there is none about it, so it is refused.
    pub by: Option<&'a Granted>,
    /// It may, with a reason.
    pub reason_required: bool,
}

impl Rights {
    /// What these roles give together.
    pub fn of<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Self {
        let rules: Vec<Granted> = roles
            .into_iter()
            .flat_map(|role| {
                role.rules()
                    .iter()
                    .enumerate()
                    .map(move |(index, rule)| Granted {
                        role: role.name().clone(),
                        index,
                        capabilities: implied(rule),
                        rule: rule.clone(),
                        range: KeyRange::prefix(rule.prefix().clone()),
                    })
            })
            .collect();
        let mut allowed = Capabilities::default();
        let mut somewhere = Capabilities::default();
        let mut restricted = Capabilities::default();
        for granted in &rules {
            let rule = &granted.rule;
            if rule.is_deny() || rule.is_reason_required() {
                restricted = restricted.union(rule.capabilities());
            } else if rule.prefix().is_empty() {
                allowed = allowed.union(granted.capabilities);
            }
            if !rule.is_deny() {
                somewhere = somewhere.union(granted.capabilities);
            }
        }
        Self {
            everywhere: allowed.without(restricted),
            somewhere,
            rules,
            is_revoked: false,
        }
    }

    /// Of an identity that is let in no more.
    pub fn revoked() -> Self {
        Self {
            is_revoked: true,
            ..Self::default()
        }
    }

    /// Whether the identity is let in no more.
    pub fn is_revoked(&self) -> bool {
        self.is_revoked
    }

    /// Whether there is a key, or the cluster, where one of these may be allowed: what is asked
    /// before a request is read.
    #[inline]
    pub fn has_any(&self, capabilities: Capabilities) -> bool {
        !self.somewhere.intersection(capabilities).is_empty()
    }

    /// Whether it may be done. The hot path: see [`Rights::decide`] for the reason.
    #[inline]
    pub fn allow(&self, capability: Capability, target: Target<'_>) -> bool {
        self.everywhere.contains(capability) || self.decide(capability, target).allowed
    }

    /// Whether it may be done, and which rule says so: the first that denies, else the first that
    /// allows. A reason is asked for if any rule that allows it asks for one.
    pub fn decide(&self, capability: Capability, target: Target<'_>) -> Decision<'_> {
        let about = self
            .rules
            .iter()
            .filter(|granted| granted.capabilities.contains(capability));
        let mut allowing = None;
        let mut reason_required = false;
        for granted in about {
            if granted.rule.is_deny() {
                if granted.touches(target) {
                    return Decision {
                        allowed: false,
                        by: Some(granted),
                        reason_required: false,
                    };
                }
            } else if granted.covers(target) {
                reason_required |=
                    granted.rule.is_reason_required() && capability == Capability::Reveal;
                allowing = allowing.or(Some(granted));
            }
        }
        Decision {
            allowed: allowing.is_some(),
            by: allowing,
            reason_required,
        }
    }
}

/// What a rule says, and what follows: who may read a value may know that it is there. What is denied
/// is denied alone.
fn implied(rule: &Rule) -> Capabilities {
    let said = rule.capabilities();
    if rule.is_deny() || !said.contains(Capability::Read) {
        return said;
    }
    said.union([Capability::List].into_iter().collect())
}

/// `rule 1 of role app (allow read:app/)`
impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, role, rule) = (self.index + 1, &self.role, &self.rule);
        write!(f, "rule {place} of role {role} ({rule})")
    }
}

impl Granted {
    fn covers(&self, target: Target<'_>) -> bool {
        match target {
            Target::Cluster => self.rule.prefix().is_empty(),
            Target::Key(key) => key.starts_with(self.rule.prefix()),
            Target::Range(range) => range.is_within(&self.range),
        }
    }

    fn touches(&self, target: Target<'_>) -> bool {
        match target {
            Target::Cluster => true,
            Target::Key(key) => key.starts_with(self.rule.prefix()),
            Target::Range(range) => range.overlaps(&self.range),
        }
    }
}
