//! The keyring: the keys of all epochs that one node holds, opened from its own wrap of the newest.

use std::collections::BTreeMap;
use std::fmt;

use crate::epoch::{Check, Epoch, EpochError, EpochKey, Lineage};

/// What the cluster keeps about an epoch, as far as opening its key goes.
#[derive(Clone, Copy, Debug)]
pub struct EpochRecord<'a> {
    /// Which.
    pub epoch: Epoch,
    /// Tells whether a key is this epoch's.
    pub check: Check,
    /// The key of the epoch before, sealed by this one. Empty for the first.
    pub sealed_previous: &'a [u8],
}

/// The keys of all epochs, oldest to newest, without a gap.
pub struct Keyring {
    keys: BTreeMap<Epoch, EpochKey>,
    newest: Epoch,
}

/// The keyring does not open, or does not go on as told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyringError {
    /// One of its keys does not.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// Nothing tells about an epoch between the first and the newest.
    #[error(
        "nothing is known of {missing}, so neither it nor any epoch before it opens; {newest} does"
    )]
    Gap {
        /// The epoch that is missing.
        missing: Epoch,
        /// The newest, which was opened.
        newest: Epoch,
    },
    /// A key that should be the next is not.
    #[error("{found} does not follow {newest}; the keyring was not changed")]
    OutOfOrder {
        /// The newest that the keyring has.
        newest: Epoch,
        /// The one that should have followed.
        found: Epoch,
    },
    /// A key is of another cluster.
    #[error("the key of {epoch} is of another lineage; the keyring was not changed")]
    OtherLineage {
        /// Which key.
        epoch: Epoch,
    },
}

impl Keyring {
    /// Of the newest key, which the caller opened from its wrap, and all that it opens. `records` may
    /// come in any order and may have later epochs than that key's.
    pub fn open<'a>(
        newest: EpochKey,
        records: impl IntoIterator<Item = EpochRecord<'a>>,
    ) -> Result<Self, KeyringError> {
        let records: BTreeMap<_, _> = records
            .into_iter()
            .map(|record| (record.epoch, record))
            .collect();
        let record_of = |epoch| {
            records.get(&epoch).ok_or(KeyringError::Gap {
                missing: epoch,
                newest: newest.epoch(),
            })
        };
        let mut older = Vec::new();
        let mut record = record_of(newest.epoch())?;
        while let Some(previous) = record.epoch.previous() {
            let previous_record = record_of(previous)?;
            let key = older.last().unwrap_or(&newest).open_previous(
                previous,
                record.sealed_previous,
                &previous_record.check,
            )?;
            older.push(key);
            record = previous_record;
        }
        let number = newest.epoch();
        let mut keyring = Self::start(newest);
        keyring.newest = number;
        keyring
            .keys
            .extend(older.into_iter().map(|key| (key.epoch(), key)));
        Ok(keyring)
    }

    /// Of the first epoch's key alone: a keyring begins.
    pub fn first(key: EpochKey) -> Result<Self, KeyringError> {
        if key.epoch() == Epoch::FIRST {
            Ok(Self::start(key))
        } else {
            Err(KeyringError::Gap {
                missing: Epoch::FIRST,
                newest: key.epoch(),
            })
        }
    }

    /// Adds the key of the next epoch, which its holder opened from its own wrap or made itself.
    pub fn advance(&mut self, next: EpochKey) -> Result<(), KeyringError> {
        if next.lineage() != self.lineage() {
            return Err(KeyringError::OtherLineage {
                epoch: next.epoch(),
            });
        }
        if next.epoch() != self.newest.next() {
            return Err(KeyringError::OutOfOrder {
                newest: self.newest,
                found: next.epoch(),
            });
        }
        self.newest = next.epoch();
        self.keys.insert(next.epoch(), next);
        Ok(())
    }

    /// The key that seals what is new.
    pub fn newest(&self) -> &EpochKey {
        &self.keys[&self.newest]
    }

    /// The key of one epoch.
    pub fn key(&self, epoch: Epoch) -> Option<&EpochKey> {
        self.keys.get(&epoch)
    }

    /// Whose it is.
    pub fn lineage(&self) -> &Lineage {
        self.newest().lineage()
    }

    /// All epochs, oldest first.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> + '_ {
        self.keys.keys().copied()
    }

    fn start(key: EpochKey) -> Self {
        let newest = key.epoch();
        Self {
            keys: BTreeMap::from([(newest, key)]),
            newest,
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keyring(up to {}, ..)", self.newest)
    }
}
