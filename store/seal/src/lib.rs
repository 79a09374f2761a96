//! Whatever seals and opens: the keyring of a cluster, the envelopes of its secrets, the keys of its
//! nodes, the shares from which it is recovered. Design §6; the bytes are in `store/seal/FORMAT.md`.
//!
//! How the keys hang together, from the disk of one node to one secret:
//!
//! ```text
//! protector ─▶ NodeKey ─▶ EpochKey 7 ─▶ EpochKey 6 ─▶ … ─▶ EpochKey 1
//!  (file,       (X-Wing)    │ wrap: the data key of one version of one secret
//!   passphrase,             ▼
//!   systemd)              data key ─▶ payload: that version, padded
//!
//! m of n shares ─▶ RecoveryKey ─▶ any EpochKey, with no node at all
//! ```
//!
//! * A *payload* never changes. Its *wrap* is replaced when an epoch ends ([`envelope::rewrap`], which
//!   sees no plaintext) and deleted when the secret is destroyed: then nothing opens the payload.
//! * What is sealed is bound to its place: lineage, key, version, kind, epoch. Moved elsewhere, it
//!   does not open.
//! * Each blob starts with its format. A newer one is refused by name, a damaged one by layer.
//! * Types that hold a secret have neither `Clone` nor `Display`; their `Debug` says nothing; they are
//!   wiped when dropped. No error carries bytes. Secrets are compared in constant time.
//!
//! *Absent*, on purpose: disk, clock, threads, network, the replicated state (it is all bytes here), and
//! signatures (nodes sign with their certificates). Chance comes in as an argument: [`OsRandom`], and
//! in tests a generator with known answers.

pub mod envelope;
pub mod epoch;
pub mod keyring;
pub mod node_key;
pub mod recovery;
pub mod rewrap;
pub mod share;
pub mod stream;

mod aead;
mod base32;
mod bind;
mod hybrid;
#[cfg(test)]
mod known_answers;
mod padding;
mod protector;
mod random;
mod secret;

pub use envelope::{Context, Kind, OpenError, PayloadDigest, SealError, Sealed};
pub use epoch::{Check, Epoch, EpochError, EpochKey, EscrowProof, Lineage, Recipient};
pub use hybrid::{KeyPairError, PUBLIC_KEY_LENGTH, PublicKey};
pub use keyring::{EpochRecord, Keyring, KeyringError};
pub use node_key::{NodeKey, NodeKeyError, Protect, Unlock};
pub use protector::{PassphraseCost, Protector};
pub use rand_core::CryptoRng;
pub use random::OsRandom;
pub use recovery::{Gathered, RecoveryError, RecoveryKey, SetId, Split};
pub use rewrap::RewrapPlan;
pub use secret::{SecretBytes, SymmetricKey};
pub use share::{Share, ShareTextError};
pub use stream::{StreamError, StreamOpener, StreamSealer};
