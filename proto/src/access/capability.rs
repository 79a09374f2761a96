//! What can be allowed: one bit for each, so that a set of them is one word.

use std::{fmt, str::FromStr};

use super::RuleError;
use crate::v1;

/// One thing that somebody may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Capability {
    /// See which keys there are, how old they are and who wrote them.
    List,
    /// See values, now and in the past. Implies listing.
    Read,
    /// See secrets in the clear.
    Reveal,
    /// Write values.
    Write,
    /// Delete keys.
    Delete,
    /// Hold locks and take part in elections.
    Lock,
    /// Let nodes in, take them out, move leadership.
    AdminMembers,
    /// Change roles, grants and identities.
    AdminPolicy,
    /// Set up recovery, rotate the keyring.
    AdminKeyring,
    /// Make backups.
    AdminBackup,
    /// Read and verify audit logs.
    AdminAudit,
    /// Compact, and set how much history is kept.
    AdminHistory,
}

/// Some capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u16);

impl Capability {
    /// Each one, in the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::List,
        Self::Read,
        Self::Reveal,
        Self::Write,
        Self::Delete,
        Self::Lock,
        Self::AdminMembers,
        Self::AdminPolicy,
        Self::AdminKeyring,
        Self::AdminBackup,
        Self::AdminAudit,
        Self::AdminHistory,
    ];

    /// Whether it is about the cluster as a whole, and not about keys.
    pub fn is_admin(self) -> bool {
        self >= Self::AdminMembers
    }

    /// As rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Reveal => "reveal",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Lock => "lock",
            Self::AdminMembers => "admin:members",
            Self::AdminPolicy => "admin:policy",
            Self::AdminKeyring => "admin:keyring",
            Self::AdminBackup => "admin:backup",
            Self::AdminAudit => "admin:audit",
            Self::AdminHistory => "admin:history",
        }
    }

    /// From the wire; `None`: of a newer version, or none.
    pub fn from_wire(wire: v1::Capability) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.to_wire() == wire)
    }

    /// As it stands on the wire.
    pub fn to_wire(self) -> v1::Capability {
        match self {
            Self::List => v1::Capability::List,
            Self::Read => v1::Capability::Read,
            Self::Reveal => v1::Capability::Reveal,
            Self::Write => v1::Capability::Write,
            Self::Delete => v1::Capability::Delete,
            Self::Lock => v1::Capability::Lock,
            Self::AdminMembers => v1::Capability::AdminMembers,
            Self::AdminPolicy => v1::Capability::AdminPolicy,
            Self::AdminKeyring => v1::Capability::AdminKeyring,
            Self::AdminBackup => v1::Capability::AdminBackup,
            Self::AdminAudit => v1::Capability::AdminAudit,
            Self::AdminHistory => v1::Capability::AdminHistory,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Capability {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| RuleError::Capability(text.chars().take(64).collect()))
    }
}

impl Capabilities {
    /// These.
    pub const fn of(all: &[Capability]) -> Self {
        let (mut bits, mut place) = (0, 0);
        while place < all.len() {
            bits |= bit(all[place]);
            place += 1;
        }
        Self(bits)
    }

    /// Whether the capability is one of them.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & bit(capability) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of both.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// These without those of `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// All that are about the cluster as a whole.
    pub fn admin() -> Self {
        Capability::ALL
            .into_iter()
            .filter(|one| one.is_admin())
            .collect()
    }

    /// One after another.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .into_iter()
            .filter(move |&capability| self.contains(capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |bits, one| bits | bit(one)))
    }
}

const fn bit(capability: Capability) -> u16 {
    1 << (capability as u8)
}
