//! Rules, and how they are written: `CAPABILITY[,CAPABILITY…][+reason]:PREFIX`, or `admin:…` names
//! alone (`admin:*`: all of them). `read,write:app/` is about the keys that begin with `app/`; `read:`
//! is about every key.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use super::{Capabilities, Capability};
use crate::{limits, v1};

/// What a rule says: these capabilities, on the keys below a prefix, are allowed or denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    deny: bool,
    capabilities: Capabilities,
    prefix: Bytes,
    reason_required: bool,
}

/// Why something is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Not a capability.
    #[error(
        "{0:?} is no capability; use list, read, reveal, write, delete, lock, admin:members, \
         admin:policy, admin:keyring, admin:backup, admin:audit or admin:history"
    )]
    Capability(String),
    /// A rule about nothing.
    #[error("a rule needs a capability, as in read:app/")]
    NoCapability,
    /// A rule about keys does not say which.
    #[error("a rule about keys needs a prefix, as in read:app/ (or read: for every key)")]
    NoPrefix,
    /// A rule about both keys and the cluster.
    #[error("admin capabilities have no prefix; give them a rule of their own")]
    AdminWithKeys,
    /// A prefix that no key can have.
    #[error("the prefix of a rule is longer than a key can be")]
    PrefixTooLong,
    /// A reason where none is asked for.
    #[error("a reason can be asked for where reveal is allowed, and nowhere else")]
    ReasonWithoutReveal,
    /// Neither allow nor deny.
    #[error("a rule begins with allow or deny, as in allow read:app/")]
    Effect,
}

impl Rule {
    /// A checked rule. Capabilities about keys and those about the cluster do not go together, and
    /// only the former take a prefix.
    pub fn new(
        deny: bool,
        capabilities: Capabilities,
        prefix: Bytes,
        reason_required: bool,
    ) -> Result<Self, RuleError> {
        let admin = capabilities.iter().filter(|one| one.is_admin()).count();
        if capabilities.is_empty() {
            return Err(RuleError::NoCapability);
        }
        if admin > 0 && (admin < capabilities.iter().count() || !prefix.is_empty()) {
            return Err(RuleError::AdminWithKeys);
        }
        if prefix.len() > limits::KEY_BYTES {
            return Err(RuleError::PrefixTooLong);
        }
        if reason_required && (deny || !capabilities.contains(Capability::Reveal)) {
            return Err(RuleError::ReasonWithoutReveal);
        }
        Ok(Self {
            deny,
            capabilities,
            prefix,
            reason_required,
        })
    }

    /// Reads the part after `allow` or `deny`.
    pub fn parse(deny: bool, text: &str) -> Result<Self, RuleError> {
        if text.starts_with(ADMIN) {
            let capabilities = match text {
                ADMIN_ALL => Capabilities::admin(),
                _ => parse_capabilities(text)?,
            };
            return Self::new(deny, capabilities, Bytes::new(), false);
        }
        let (capabilities, prefix) = text.split_once(':').ok_or(RuleError::NoPrefix)?;
        let (capabilities, reason_required) = match capabilities.strip_suffix(REASON) {
            Some(capabilities) => (capabilities, true),
            None => (capabilities, false),
        };
        let prefix = Bytes::copy_from_slice(prefix.as_bytes());
        Self::new(
            deny,
            parse_capabilities(capabilities)?,
            prefix,
            reason_required,
        )
    }

    /// Whether it denies what it names.
    pub fn is_deny(&self) -> bool {
        self.deny
    }

    /// What it is about.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Of the keys it is about; empty: all.
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// Whether secrets are revealed only with a reason.
    pub fn is_reason_required(&self) -> bool {
        self.reason_required
    }

    /// As it stands on the wire.
    pub fn to_wire(&self) -> v1::AccessRule {
        let capabilities = self.capabilities.iter().map(|one| one.to_wire().into());
        v1::AccessRule {
            deny: self.deny,
            capabilities: capabilities.collect(),
            prefix: self.prefix.clone(),
            reason_required: self.reason_required,
        }
    }
}

impl TryFrom<v1::AccessRule> for Rule {
    type Error = RuleError;

    fn try_from(wire: v1::AccessRule) -> Result<Self, RuleError> {
        let capabilities = wire.capabilities.iter().map(|&number| {
            v1::Capability::try_from(number)
                .ok()
                .and_then(Capability::from_wire)
                .ok_or_else(|| RuleError::Capability(format!("number {number}")))
        });
        let capabilities = capabilities.collect::<Result<_, _>>()?;
        // What is kept for long must not hold on to the message it came in.
        let prefix = Bytes::copy_from_slice(&wire.prefix);
        Self::new(wire.deny, capabilities, prefix, wire.reason_required)
    }
}

/// `allow read,list:app/`
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.deny { "deny " } else { "allow " })?;
        if self.capabilities == Capabilities::admin() {
            return f.write_str(ADMIN_ALL);
        }
        for (place, capability) in self.capabilities.iter().enumerate() {
            let separator = if place == 0 { "" } else { "," };
            write!(f, "{separator}{capability}")?;
        }
        if self.capabilities.iter().any(Capability::is_admin) {
            return Ok(());
        }
        if self.reason_required {
            f.write_str(REASON)?;
        }
        write!(f, ":{}", String::from_utf8_lossy(&self.prefix))
    }
}

/// As its `Display` writes it.
impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text.split_once(' ') {
            Some(("allow", rest)) => Self::parse(false, rest),
            Some(("deny", rest)) => Self::parse(true, rest),
            _ => Err(RuleError::Effect),
        }
    }
}

fn parse_capabilities(text: &str) -> Result<Capabilities, RuleError> {
    text.split(',').map(Capability::from_str).collect()
}

const ADMIN: &str = "admin:";
const ADMIN_ALL: &str = "admin:*";
const REASON: &str = "+reason";
