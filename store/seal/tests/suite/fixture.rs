//! A small cluster's keys, the same at each run, and ways to damage things.

use std::convert::Infallible;

use holdfast_seal::{
    Check, Context, CryptoRng, Epoch, EpochKey, EpochRecord, Keyring, Kind, Lineage, NodeKey,
};
use proptest::prelude::*;
use rand_core::{TryCryptoRng, TryRng};

/// Chance that is the same at each run: BLAKE3's output for a seed.
pub(crate) struct Seeded(blake3::OutputReader);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(
            blake3::Hasher::new()
                .update(&seed.to_le_bytes())
                .finalize_xof(),
        )
    }
}

impl TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Seeded {}

/// What a cluster keeps about an epoch.
pub(crate) struct Record {
    pub(crate) epoch: Epoch,
    pub(crate) check: Check,
    pub(crate) sealed_previous: Vec<u8>,
    pub(crate) wrap: Vec<u8>,
}

impl Record {
    pub(crate) fn as_record(&self) -> EpochRecord<'_> {
        EpochRecord {
            epoch: self.epoch,
            check: self.check,
            sealed_previous: &self.sealed_previous,
        }
    }
}

/// The keys of a cluster after some rotations, and a keyring that has them all.
pub(crate) struct Cluster {
    pub(crate) lineage: Lineage,
    pub(crate) node: NodeKey,
    pub(crate) records: Vec<Record>,
    pub(crate) keyring: Keyring,
}

/// The member that the fixture's wraps are for.
pub(crate) const MEMBER: u64 = 7;

impl Cluster {
    pub(crate) fn new(seed: u64, epochs: u64) -> Self {
        let mut random = Seeded::new(seed);
        let lineage = lineage("c-1f3a");
        let node = NodeKey::generate(&mut random);
        let first = EpochKey::generate(&mut random, &lineage, Epoch::FIRST);
        let mut records = vec![record(&mut random, &first, &node, Vec::new())];
        let mut keyring = Keyring::first(first).unwrap();
        while keyring.newest().epoch().number() < epochs {
            let next = keyring.newest().successor(&mut random);
            let sealed = next.seal_previous(&mut random, keyring.newest());
            records.push(record(&mut random, &next, &node, sealed));
            keyring.advance(next).unwrap();
        }
        Self {
            lineage,
            node,
            records,
            keyring,
        }
    }
}

fn record(
    random: &mut impl CryptoRng,
    key: &EpochKey,
    node: &NodeKey,
    sealed_previous: Vec<u8>,
) -> Record {
    Record {
        epoch: key.epoch(),
        check: key.check(),
        sealed_previous,
        wrap: key.wrap_for(
            random,
            holdfast_seal::Recipient::Member(MEMBER),
            node.public(),
        ),
    }
}

pub(crate) fn lineage(text: &str) -> Lineage {
    Lineage::new(text).unwrap()
}

pub(crate) fn epoch(number: u64) -> Epoch {
    Epoch::new(number).unwrap()
}

pub(crate) fn at(key: &[u8], version: u64) -> Context<'_> {
    Context {
        key,
        version,
        kind: Kind::Secret,
    }
}

/// One way to damage bytes.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// A bit is another; the place wraps around.
    Flip(usize, u8),
    /// Only so many bytes are left, at most all but one.
    Cut(usize),
    /// Some bytes follow.
    Extend(Vec<u8>),
    /// A byte is missing.
    Remove(usize),
}

impl Damage {
    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        match self {
            Self::Flip(place, bit) => {
                let place = place % bytes.len();
                damaged[place] ^= 1 << (bit % 8);
            }
            Self::Cut(length) => damaged.truncate(length % bytes.len()),
            Self::Extend(more) => damaged.extend_from_slice(more),
            Self::Remove(place) => {
                damaged.remove(place % bytes.len());
            }
        }
        damaged
    }
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<usize>(), 0..8_u8).prop_map(|(place, bit)| Damage::Flip(place, bit)),
        2 => any::<usize>().prop_map(Damage::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Damage::Extend),
        1 => any::<usize>().prop_map(Damage::Remove),
    ]
}
