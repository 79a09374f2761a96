//! The recovery key: opens every epoch of a cluster of which nothing is left but an archive.
//!
//! It exists whole only where its shares are made and where they are put together again, on an
//! operator's machine. The cluster has the public half, and wraps each epoch for it.
//!
//! A key is split once, when it is made: there is no second set of shares of the same key, because
//! whoever kept one of the first would still count. New holders get a new key ([`RecoveryKey::split_new`],
//! then a new epoch).

use std::fmt;

use rand_core::CryptoRng;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::epoch::{Check, Epoch, EpochError, EpochKey, Lineage, Recipient};
use crate::hybrid::{KeyPair, PublicKey};
use crate::secret::SymmetricKey;
use crate::share::Share;

/// The most shares that a key is split into.
pub const MAX_SHARES: u8 = 16;

/// The recovery key, whole.
pub struct RecoveryKey(KeyPair);

/// Names a recovery key and its shares: the first bytes of the public half's fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId([u8; 5]);

/// How many shares there are, and how many of them make the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    shares: u8,
    threshold: u8,
}

/// Shares cannot be made, or make no key.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryError {
    /// Numbers that make no sense.
    #[error(
        "a key is split into 1 to {MAX_SHARES} shares, of which 2 or more make it (1 of 1 for \
         trying things out), not into {shares} of which {threshold} do"
    )]
    Split {
        /// How many shares were asked for.
        shares: u8,
        /// How many were to make the key.
        threshold: u8,
    },
    /// A share of another key.
    #[error(
        "share {index} belongs to set {found}, the ones before it to set {expected}; leave it out"
    )]
    OtherSet {
        /// Its number.
        index: u8,
        /// Its set.
        found: SetId,
        /// The set of those before.
        expected: SetId,
    },
    /// The same share again.
    #[error("share {index} of set {set} is there already; another one is needed")]
    Duplicate {
        /// Its number.
        index: u8,
        /// Its set.
        set: SetId,
    },
    /// Two shares of a set tell different things about it.
    #[error("share {index} says that {found} make the key of set {set}, the ones before it {expected}; one of them is no true share", found = .found.0, expected = .expected.0)]
    Disagree {
        /// The number of the later one.
        index: u8,
        /// Their set.
        set: SetId,
        /// What it says: threshold, shares.
        found: (u8, u8),
        /// What those before it say.
        expected: (u8, u8),
    },
    /// Not enough of them.
    #[error("{have} shares are there and {threshold} are needed: {} more", threshold - have)]
    TooFew {
        /// How many there are.
        have: u8,
        /// How many it takes.
        threshold: u8,
    },
    /// None at all.
    #[error("there is no share")]
    NoShares,
    /// They were put together, and what came out is not the key of their set.
    #[error(
        "the shares do not make the key of set {set}: at least one of them is no true share, though it is well-formed"
    )]
    WrongKey {
        /// Their set.
        set: SetId,
    },
}

impl Split {
    /// Into `shares`, of which `threshold` make the key: 2 ≤ threshold ≤ shares ≤ 16. Also 1 of 1, which
    /// is no sharing at all; with more shares than one, each would be the key.
    pub fn new(shares: u8, threshold: u8) -> Result<Self, RecoveryError> {
        let proper =
            (2..=MAX_SHARES).contains(&threshold) && (threshold..=MAX_SHARES).contains(&shares);
        if proper || (shares, threshold) == (1, 1) {
            Ok(Self { shares, threshold })
        } else {
            Err(RecoveryError::Split { shares, threshold })
        }
    }

    /// How many there are.
    pub fn shares(self) -> u8 {
        self.shares
    }

    /// How many make the key.
    pub fn threshold(self) -> u8 {
        self.threshold
    }
}

impl SetId {
    /// Of a recovery key's public half.
    pub fn of(public: &PublicKey) -> Self {
        let [a, b, c, d, e, ..] = public.fingerprint();
        Self([a, b, c, d, e])
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 5]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 5] {
        &self.0
    }
}

impl fmt::Display for SetId {
    /// As in the first letters of each of its shares, without their check letters.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, symbol) in crate::base32::symbols(&self.0).into_iter().enumerate() {
            if place == 4 {
                formatter.write_str("-")?;
            }
            write!(formatter, "{}", char::from(crate::base32::letter(symbol)))?;
        }
        Ok(())
    }
}

impl fmt::Debug for SetId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SetId({self})")
    }
}

impl RecoveryKey {
    /// A new key and its shares. Who calls this hands out the shares, gives the cluster
    /// [`public`](Self::public) and drops the key.
    pub fn split_new(random: &mut impl CryptoRng, split: Split) -> (Self, Vec<Share>) {
        let key = Self(KeyPair::generate(random));
        let set = key.set();
        let shares = split_seed(random, key.0.seed(), split)
            .into_iter()
            .zip(1..)
            .map(|(value, index)| Share::new(set, index, split, value))
            .collect();
        (key, shares)
    }

    /// Puts shares together, and checks that the key of their set comes out.
    pub fn combine(shares: impl IntoIterator<Item = Share>) -> Result<Self, RecoveryError> {
        let mut gathered = Gathered::default();
        for share in shares {
            gathered.add(share)?;
        }
        gathered.combine()
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        self.0.public()
    }

    /// The name of this key and its shares.
    pub fn set(&self) -> SetId {
        SetId::of(self.public())
    }

    /// Opens the wrap of an epoch that was made for this key. The key in it is held against `check`.
    pub fn open_epoch(
        &self,
        lineage: &Lineage,
        epoch: Epoch,
        wrap: &[u8],
        check: &Check,
    ) -> Result<EpochKey, EpochError> {
        EpochKey::unwrap_with(&self.0, lineage, epoch, Recipient::Recovery, wrap, check)
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RecoveryKey({}, ..)", self.set())
    }
}

/// Shares that came one after another, for example from a prompt: each is refused at once if it does
/// not go with those before it.
#[derive(Debug, Default)]
pub struct Gathered(Vec<Share>);

impl Gathered {
    /// Takes one more share, and says how many are still missing.
    pub fn add(&mut self, share: Share) -> Result<u8, RecoveryError> {
        let (index, set) = (share.index(), share.set());
        if let Some(first) = self.0.first() {
            if set != first.set() {
                return Err(RecoveryError::OtherSet {
                    index,
                    found: set,
                    expected: first.set(),
                });
            }
            if share.split() != first.split() {
                let told = |split: Split| (split.threshold, split.shares);
                return Err(RecoveryError::Disagree {
                    index,
                    set,
                    found: told(share.split()),
                    expected: told(first.split()),
                });
            }
            if self.0.iter().any(|known| known.index() == index) {
                return Err(RecoveryError::Duplicate { index, set });
            }
        }
        let threshold = share.split().threshold;
        self.0.push(share);
        Ok(threshold.saturating_sub(self.count()))
    }

    /// Puts them together, and checks that the key of their set comes out.
    pub fn combine(self) -> Result<RecoveryKey, RecoveryError> {
        let first = self.0.first().ok_or(RecoveryError::NoShares)?;
        let (set, threshold) = (first.set(), first.split().threshold);
        if self.count() < threshold {
            return Err(RecoveryError::TooFew {
                have: self.count(),
                threshold,
            });
        }
        let seed = join_seed(&self.0).ok_or(RecoveryError::WrongKey { set })?;
        let key = RecoveryKey(KeyPair::from_seed(seed));
        if key.set() == set {
            Ok(key)
        } else {
            Err(RecoveryError::WrongKey { set })
        }
    }

    fn count(&self) -> u8 {
        u8::try_from(self.0.len()).expect("indices are distinct and at most 16")
    }
}

/// The values of shares 1, 2, 3…
fn split_seed(random: &mut impl CryptoRng, seed: &SymmetricKey, split: Split) -> Vec<SymmetricKey> {
    let (threshold, shares) = (usize::from(split.threshold), usize::from(split.shares));
    if threshold == 1 {
        // A polynomial of degree 0: the share is the key.
        return SymmetricKey::from_slice(seed.expose())
            .into_iter()
            .collect();
    }
    Gf256::split_bytes(threshold, shares, seed.expose(), random)
        .expect("threshold and shares were checked")
        .into_iter()
        .map(Zeroizing::new)
        .map(|share| SymmetricKey::from_slice(&share[1..]).expect("a share is as long as the key"))
        .collect()
}

fn join_seed(shares: &[Share]) -> Option<SymmetricKey> {
    if let [share] = shares {
        return SymmetricKey::from_slice(share.value().expose());
    }
    let points: Zeroizing<Vec<Vec<u8>>> = Zeroizing::new(
        shares
            .iter()
            .map(|share| {
                let mut point = Vec::with_capacity(33);
                point.push(share.index());
                point.extend_from_slice(share.value().expose());
                point
            })
            .collect(),
    );
    let seed = Zeroizing::new(Gf256::combine_bytes(points.as_slice()).ok()?);
    SymmetricKey::from_slice(&seed)
}
