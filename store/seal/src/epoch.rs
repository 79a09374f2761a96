//! Epochs: the key of the cluster, for as long as the same members hold it.
//!
//! Each epoch has one key of 32 random bytes. It is wrapped for each member that holds keys and for the
//! recovery key, and it seals the key of the epoch before: who opens the newest opens all. Nothing is
//! ever sealed with the epoch key itself, only with keys derived from it, one for each purpose.

mod key;

use std::fmt;
use std::num::NonZeroU64;

pub use key::{EPOCH_WRAP_LENGTH, EpochError, EpochKey, Part, SEALED_PREVIOUS_LENGTH};

use crate::bind::Binding;

/// The number of an epoch. Starts at 1 and is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(NonZeroU64);

/// What all envelopes of a cluster are bound to. It outlives a restore, which changes the cluster's
/// incarnation but has to open what was sealed before. 1 to 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage(Box<str>);

/// Whom an epoch's key is wrapped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A member, by its id.
    Member(u64),
    /// The holders of the recovery shares.
    Recovery,
}

/// Tells whether a key is that of an epoch. Says nothing about the key.
#[derive(Clone, Copy, Debug)]
pub struct Check([u8; 32]);

/// Shows that whoever made it opened the epoch's key, for one challenge.
#[derive(Clone, Copy, Debug)]
pub struct EscrowProof([u8; 32]);

impl Epoch {
    /// The first one.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// From its number; there is no epoch 0.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// As a number.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// The one after.
    ///
    /// # Panics
    /// After 2^64 − 1 epochs.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("epochs do not run out"))
    }

    /// The one before.
    pub fn previous(self) -> Option<Self> {
        Self::new(self.number() - 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "epoch {}", self.0)
    }
}

impl Lineage {
    /// From its text. `None` if it is empty or longer than 128 bytes.
    pub fn new(text: &str) -> Option<Self> {
        (1..=128).contains(&text.len()).then(|| Self(text.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Recipient {
    pub(crate) fn bind(self, binding: Binding) -> Binding {
        match self {
            Self::Member(id) => binding.bytes(b"member").number(id),
            Self::Recovery => binding.bytes(b"recovery").number(0),
        }
    }
}

impl Check {
    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl EscrowProof {
    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
