//! The key of one node: what the keyring is wrapped for, and how it rests in a file.
//!
//! Invariants: (1) the kind of protector stands in the file's header, and the header is authenticated.
//! (2) Who opens a file says which protector it must have: a file that asks for less was put there by
//! somebody else, and is refused rather than believed.

use rand_core::CryptoRng;

use crate::aead;
use crate::bind::{Binding, derived, purpose};
use crate::epoch::{Check, Epoch, EpochError, EpochKey, Lineage, Recipient};
use crate::hybrid::{KeyPair, PublicKey};
use crate::protector::{PassphraseCost, Protector};
use crate::secret::{SecretBytes, SymmetricKey};

const MAGIC: &[u8; 8] = b"HFNODKEY";
const FORMAT: u8 = 1;
/// Magic, format, protector, fingerprint of the public half.
const HEADER_LENGTH: usize = 8 + 1 + 1 + 32;
/// Memory, passes, lanes, salt.
const PASSPHRASE_HEADER_LENGTH: usize = HEADER_LENGTH + 4 + 4 + 4 + 16;
/// The least that a credential must have.
const CREDENTIAL_LENGTH: usize = 32;

/// The key pair of one node.
pub struct NodeKey(KeyPair);

/// With what a node key is protected from now on.
#[derive(Debug)]
pub enum Protect<'a> {
    /// Nothing: the caller writes the file for its owner alone (mode 0600).
    File,
    /// A passphrase, not empty.
    Passphrase(&'a SecretBytes, PassphraseCost),
    /// A credential of 32 random bytes or more.
    SystemdCredential(&'a SecretBytes),
}

/// With what a node key's file is opened.
#[derive(Debug)]
pub enum Unlock<'a> {
    /// Nothing.
    File,
    /// The passphrase.
    Passphrase(&'a SecretBytes),
    /// The credential.
    SystemdCredential(&'a SecretBytes),
}

/// A node key's file cannot be made or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeKeyError {
    /// It is something else.
    #[error("this is no node key: it does not start with the letters of one")]
    NotANodeKey,
    /// A later version of Holdfast wrote it.
    #[error(
        "the node key has format {found}, which is newer than this program knows (1); update it"
    )]
    NewerFormat {
        /// Its format.
        found: u8,
    },
    /// A later version of Holdfast wrote it.
    #[error(
        "the node key has protector number {found}, which this program does not know; update it"
    )]
    UnknownProtector {
        /// Its number.
        found: u8,
    },
    /// It is protected in another way than the caller expects.
    #[error(
        "the node key is protected by {found}, not by {expected} as told; nothing was opened. Say {found} if you changed that, and ask who did if you did not"
    )]
    OtherProtector {
        /// What the file says.
        found: Protector,
        /// What the caller says.
        expected: Protector,
    },
    /// It was cut off, extended or changed.
    #[error("the node key is damaged; take it from a copy, or let the node join anew")]
    Damaged,
    /// The passphrase or the credential is another, or the file was changed.
    #[error(
        "the node key does not open: the {} is another one than it was protected with, or the file \
         was changed; give the right one, or put the file back from a copy",
        .protector.opened_by()
    )]
    NotOpened {
        /// What it is protected by.
        protector: Protector,
    },
    /// Guessing this passphrase would cost too little, or trying it too much.
    #[error("{memory_kib} KiB, {passes} passes and {lanes} lanes are no cost that argon2id is used with here",
        memory_kib = .0.memory_kib, passes = .0.passes, lanes = .0.lanes)]
    Cost(PassphraseCost),
    /// There is no passphrase.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// A credential that can be guessed.
    #[error("the credential has {found} bytes; it takes 32 random ones or more")]
    ShortCredential {
        /// How many it has.
        found: usize,
    },
}

impl NodeKey {
    /// A new one.
    pub fn generate(random: &mut impl CryptoRng) -> Self {
        Self(KeyPair::generate(random))
    }

    /// The public half, for which epochs are wrapped.
    pub fn public(&self) -> &PublicKey {
        self.0.public()
    }

    /// Opens this node's wrap of an epoch. The key in it is held against `check`.
    pub fn open_epoch(
        &self,
        lineage: &Lineage,
        epoch: Epoch,
        member: u64,
        wrap: &[u8],
        check: &Check,
    ) -> Result<EpochKey, EpochError> {
        let recipient = Recipient::Member(member);
        EpochKey::unwrap_with(&self.0, lineage, epoch, recipient, wrap, check)
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    /// What to write to its file.
    pub fn protect(
        &self,
        random: &mut impl CryptoRng,
        with: &Protect<'_>,
    ) -> Result<SecretBytes, NodeKeyError> {
        let protector = with.protector();
        let mut file = Vec::with_capacity(PASSPHRASE_HEADER_LENGTH + aead::OVERHEAD + 64);
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(&[FORMAT, protector.tag()]);
        file.extend_from_slice(&self.public().fingerprint());
        let key = match with {
            Protect::File => {
                file.extend_from_slice(self.0.seed().expose());
                let checksum = blake3::hash(&file);
                file.extend_from_slice(checksum.as_bytes());
                return Ok(SecretBytes::new(file));
            }
            Protect::Passphrase(passphrase, cost) => {
                check_passphrase(passphrase, *cost)?;
                let mut salt = [0; 16];
                random.fill_bytes(&mut salt);
                for number in [cost.memory_kib, cost.passes, cost.lanes] {
                    file.extend_from_slice(&number.to_be_bytes());
                }
                file.extend_from_slice(&salt);
                cost.stretch(passphrase, &salt)
            }
            Protect::SystemdCredential(credential) => credential_key(credential)?,
        };
        let binding = Binding::of(purpose::NODE_KEY).bytes(&file);
        aead::seal_to(
            &mut file,
            random,
            &key,
            binding.as_bytes(),
            self.0.seed().expose(),
        );
        Ok(SecretBytes::new(file))
    }

    /// By what a file is protected, so that the caller can ask for it.
    pub fn protector_of(file: &[u8]) -> Result<Protector, NodeKeyError> {
        let rest = file.strip_prefix(MAGIC).ok_or(NodeKeyError::NotANodeKey)?;
        match *rest {
            [FORMAT, tag, ..] => {
                Protector::from_tag(tag).ok_or(NodeKeyError::UnknownProtector { found: tag })
            }
            [found, ..] if found > FORMAT => Err(NodeKeyError::NewerFormat { found }),
            _ => Err(NodeKeyError::Damaged),
        }
    }

    /// Opens a file.
    pub fn open(file: &[u8], with: &Unlock<'_>) -> Result<Self, NodeKeyError> {
        let found = Self::protector_of(file)?;
        let expected = with.protector();
        if found != expected {
            return Err(NodeKeyError::OtherProtector { found, expected });
        }
        let seed = match with {
            Unlock::File => open_plain(file)?,
            Unlock::Passphrase(passphrase) => {
                let (header, sealed) = file
                    .split_at_checked(PASSPHRASE_HEADER_LENGTH)
                    .ok_or(NodeKeyError::Damaged)?;
                let (cost, salt) = passphrase_header(header).ok_or(NodeKeyError::Damaged)?;
                check_passphrase(passphrase, cost)?;
                let key = cost.stretch(passphrase, &salt);
                open_sealed(found, &key, header, sealed)?
            }
            Unlock::SystemdCredential(credential) => {
                let (header, sealed) = file
                    .split_at_checked(HEADER_LENGTH)
                    .ok_or(NodeKeyError::Damaged)?;
                open_sealed(found, &credential_key(credential)?, header, sealed)?
            }
        };
        let key = Self(KeyPair::from_seed(seed));
        if file[10..HEADER_LENGTH] != key.public().fingerprint() {
            return Err(NodeKeyError::Damaged);
        }
        Ok(key)
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "NodeKey({:?}, ..)", self.public())
    }
}

impl Protect<'_> {
    fn protector(&self) -> Protector {
        match self {
            Self::File => Protector::File,
            Self::Passphrase(..) => Protector::Passphrase,
            Self::SystemdCredential(_) => Protector::SystemdCredential,
        }
    }
}

impl Unlock<'_> {
    /// What a file must be protected by for this to open it.
    pub fn protector(&self) -> Protector {
        match self {
            Self::File => Protector::File,
            Self::Passphrase(_) => Protector::Passphrase,
            Self::SystemdCredential(_) => Protector::SystemdCredential,
        }
    }
}

fn open_plain(file: &[u8]) -> Result<SymmetricKey, NodeKeyError> {
    let (content, checksum) = file.split_last_chunk::<32>().ok_or(NodeKeyError::Damaged)?;
    if blake3::hash(content) != *checksum {
        return Err(NodeKeyError::Damaged);
    }
    content
        .get(HEADER_LENGTH..)
        .and_then(SymmetricKey::from_slice)
        .ok_or(NodeKeyError::Damaged)
}

fn open_sealed(
    protector: Protector,
    key: &SymmetricKey,
    header: &[u8],
    sealed: &[u8],
) -> Result<SymmetricKey, NodeKeyError> {
    if sealed.len() != aead::OVERHEAD + 32 {
        return Err(NodeKeyError::Damaged);
    }
    let binding = Binding::of(purpose::NODE_KEY).bytes(header);
    let seed = aead::open(key, binding.as_bytes(), sealed)
        .map_err(|_| NodeKeyError::NotOpened { protector })?;
    SymmetricKey::from_slice(seed.expose()).ok_or(NodeKeyError::Damaged)
}

fn passphrase_header(header: &[u8]) -> Option<(PassphraseCost, [u8; 16])> {
    let (memory_kib, rest) = header.get(HEADER_LENGTH..)?.split_first_chunk()?;
    let (passes, rest) = rest.split_first_chunk()?;
    let (lanes, salt) = rest.split_first_chunk()?;
    let cost = PassphraseCost {
        memory_kib: u32::from_be_bytes(*memory_kib),
        passes: u32::from_be_bytes(*passes),
        lanes: u32::from_be_bytes(*lanes),
    };
    Some((cost, salt.try_into().ok()?))
}

fn check_passphrase(passphrase: &SecretBytes, cost: PassphraseCost) -> Result<(), NodeKeyError> {
    if passphrase.is_empty() {
        return Err(NodeKeyError::EmptyPassphrase);
    }
    if !cost.is_accepted() {
        return Err(NodeKeyError::Cost(cost));
    }
    Ok(())
}

fn credential_key(credential: &SecretBytes) -> Result<SymmetricKey, NodeKeyError> {
    if credential.len() < CREDENTIAL_LENGTH {
        return Err(NodeKeyError::ShortCredential {
            found: credential.len(),
        });
    }
    Ok(SymmetricKey::derived_from(
        derived::CREDENTIAL,
        credential.expose(),
    ))
}
