//! The key of an epoch: how it is wrapped for its holders, chained to the one before, and proven.

use std::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use super::{Check, Epoch, EscrowProof, Lineage, Recipient};
use crate::aead;
use crate::bind::{Binding, derived, purpose};
use crate::hybrid::{self, KeyPair, PublicKey};
use crate::secret::SymmetricKey;

/// The format of wraps of epoch keys, and of sealed previous keys.
const FORMAT: u8 = 1;
/// Of a wrap of an epoch key: format, HPKE, the key.
pub const EPOCH_WRAP_LENGTH: usize = 1 + hybrid::OVERHEAD + 32;
/// Of a sealed previous key: format, AEAD, the key.
pub const SEALED_PREVIOUS_LENGTH: usize = 1 + aead::OVERHEAD + 32;

/// The key of one epoch of one lineage.
pub struct EpochKey {
    lineage: Lineage,
    epoch: Epoch,
    key: SymmetricKey,
}

/// The key of an epoch does not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EpochError {
    /// A later version of Holdfast wrote it.
    #[error(
        "{part} of {epoch} has format {found}, which is newer than this program knows (1); update it"
    )]
    NewerFormat {
        /// Which part of the epoch.
        part: Part,
        /// Of which epoch.
        epoch: Epoch,
        /// Its format.
        found: u8,
    },
    /// It is not what it should be: wrong length, or a format that never was.
    #[error("{part} of {epoch} is damaged: {length} bytes that do not look like one")]
    Malformed {
        /// Which part of the epoch.
        part: Part,
        /// Of which epoch.
        epoch: Epoch,
        /// How many bytes there are.
        length: usize,
    },
    /// It was made for another key, lineage, epoch or recipient, or was changed.
    #[error(
        "{part} of {epoch} does not open: it was made for another key, cluster, epoch or holder, or was changed"
    )]
    NotOpened {
        /// Which part of the epoch.
        part: Part,
        /// Of which epoch.
        epoch: Epoch,
    },
    /// It opened, but it is not the key that the epoch began with.
    #[error("{part} of {epoch} holds a key that is not this epoch's")]
    WrongKey {
        /// Which part of the epoch.
        part: Part,
        /// Of which epoch.
        epoch: Epoch,
    },
}

/// Where an epoch's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// In a wrap for a member or for the recovery key.
    Wrap,
    /// Sealed by the epoch after it.
    SealedPrevious,
}

impl EpochKey {
    /// A new key.
    pub fn generate(random: &mut impl CryptoRng, lineage: &Lineage, epoch: Epoch) -> Self {
        Self {
            lineage: lineage.clone(),
            epoch,
            key: SymmetricKey::generate(random),
        }
    }

    /// A new key for the epoch after this one.
    pub fn successor(&self, random: &mut impl CryptoRng) -> Self {
        Self::generate(random, &self.lineage, self.epoch.next())
    }

    /// What it is bound to.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Which epoch it is of.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What tells whether another key is the same.
    pub fn check(&self) -> Check {
        let binding = Binding::of(purpose::CHECK)
            .bytes(self.lineage.as_str().as_bytes())
            .number(self.epoch.number());
        Check(self.keyed_hash(derived::CHECK, &binding))
    }

    /// Whether this is the key that `check` was made from. In constant time.
    pub fn matches(&self, check: &Check) -> bool {
        self.check().0.ct_eq(&check.0).into()
    }

    /// This key, for one holder alone.
    pub fn wrap_for(
        &self,
        random: &mut impl CryptoRng,
        recipient: Recipient,
        public: &PublicKey,
    ) -> Vec<u8> {
        let mut wrap = Vec::with_capacity(EPOCH_WRAP_LENGTH);
        wrap.push(FORMAT);
        let binding = wrap_binding(&self.lineage, self.epoch, recipient);
        public.seal_to(&mut wrap, random, binding.as_bytes(), self.key.expose());
        wrap
    }

    /// The other direction of [`wrap_for`](Self::wrap_for). The key is held against `check`.
    pub(crate) fn unwrap_with(
        pair: &KeyPair,
        lineage: &Lineage,
        epoch: Epoch,
        recipient: Recipient,
        wrap: &[u8],
        check: &Check,
    ) -> Result<Self, EpochError> {
        let part = Part::Wrap;
        let sealed = content(part, epoch, wrap, EPOCH_WRAP_LENGTH)?;
        let binding = wrap_binding(lineage, epoch, recipient);
        let opened = pair
            .open(binding.as_bytes(), sealed)
            .map_err(|_| EpochError::NotOpened { part, epoch })?;
        Self::checked(part, lineage, epoch, opened.expose(), check)
    }

    /// The key of the epoch before, sealed by this one.
    ///
    /// # Panics
    /// If `previous` is not of the epoch before, in the same lineage.
    pub fn seal_previous(&self, random: &mut impl CryptoRng, previous: &Self) -> Vec<u8> {
        assert_eq!(
            previous.epoch.next(),
            self.epoch,
            "epochs follow one another"
        );
        assert_eq!(previous.lineage, self.lineage, "a keyring has one lineage");
        let mut sealed = Vec::with_capacity(SEALED_PREVIOUS_LENGTH);
        sealed.push(FORMAT);
        aead::seal_to(
            &mut sealed,
            random,
            &self.key.derive(derived::PREVIOUS),
            previous_binding(&self.lineage, self.epoch, previous.epoch).as_bytes(),
            previous.key.expose(),
        );
        sealed
    }

    /// The other direction of [`seal_previous`](Self::seal_previous). `check` is that of the epoch
    /// before.
    pub(crate) fn open_previous(
        &self,
        previous: Epoch,
        sealed: &[u8],
        check: &Check,
    ) -> Result<Self, EpochError> {
        let part = Part::SealedPrevious;
        let content = content(part, previous, sealed, SEALED_PREVIOUS_LENGTH)?;
        let opened = aead::open(
            &self.key.derive(derived::PREVIOUS),
            previous_binding(&self.lineage, self.epoch, previous).as_bytes(),
            content,
        )
        .map_err(|_| EpochError::NotOpened {
            part,
            epoch: previous,
        })?;
        Self::checked(part, &self.lineage, previous, opened.expose(), check)
    }

    /// Shows that this key was opened, without showing it. The challenge is random, is used once and
    /// comes from whoever will verify.
    pub fn escrow_proof(&self, challenge: &[u8; 32]) -> EscrowProof {
        let binding = Binding::of(purpose::ESCROW)
            .bytes(self.lineage.as_str().as_bytes())
            .number(self.epoch.number())
            .bytes(challenge);
        EscrowProof(self.keyed_hash(derived::ESCROW, &binding))
    }

    /// Whether whoever made `proof` for this challenge had this key. In constant time.
    pub fn verify_escrow(&self, challenge: &[u8; 32], proof: &EscrowProof) -> bool {
        self.escrow_proof(challenge).0.ct_eq(&proof.0).into()
    }

    /// The key that seals data keys.
    pub(crate) fn wrap_key(&self) -> SymmetricKey {
        self.key.derive(derived::WRAP)
    }

    /// The key that seals the keys of files.
    pub(crate) fn file_key(&self) -> SymmetricKey {
        self.key.derive(derived::EPOCH_FILES)
    }

    fn checked(
        part: Part,
        lineage: &Lineage,
        epoch: Epoch,
        opened: &[u8],
        check: &Check,
    ) -> Result<Self, EpochError> {
        let wrong = EpochError::WrongKey { part, epoch };
        let Some(key) = SymmetricKey::from_slice(opened) else {
            return Err(wrong);
        };
        let key = Self {
            lineage: lineage.clone(),
            epoch,
            key,
        };
        if key.matches(check) {
            Ok(key)
        } else {
            Err(wrong)
        }
    }

    fn keyed_hash(&self, purpose: &str, message: &Binding) -> [u8; 32] {
        let key = self.key.derive(purpose);
        *blake3::keyed_hash(key.expose(), message.as_bytes()).as_bytes()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Wrap => "the wrap of the key",
            Self::SealedPrevious => "the sealed key",
        })
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EpochKey({}, ..)", self.epoch)
    }
}

fn wrap_binding(lineage: &Lineage, epoch: Epoch, recipient: Recipient) -> Binding {
    recipient.bind(
        Binding::of(purpose::EPOCH_WRAP)
            .bytes(lineage.as_str().as_bytes())
            .number(epoch.number()),
    )
}

fn previous_binding(lineage: &Lineage, epoch: Epoch, previous: Epoch) -> Binding {
    Binding::of(purpose::PREVIOUS)
        .bytes(lineage.as_str().as_bytes())
        .number(epoch.number())
        .number(previous.number())
}

/// What follows the format.
fn content(part: Part, epoch: Epoch, blob: &[u8], length: usize) -> Result<&[u8], EpochError> {
    match blob.split_first() {
        Some((&FORMAT, content)) if blob.len() == length => Ok(content),
        Some((&found, _)) if found > FORMAT => Err(EpochError::NewerFormat { part, epoch, found }),
        _ => Err(EpochError::Malformed {
            part,
            epoch,
            length: blob.len(),
        }),
    }
}
