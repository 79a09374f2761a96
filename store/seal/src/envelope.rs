//! Envelopes: one version of one secret, sealed.
//!
//! An envelope has two parts that are stored apart. The *payload* holds the plaintext under a data key
//! of its own and never changes. The *wrap* holds that data key under the key of an epoch; rotation
//! replaces it, and deleting it destroys the secret wherever copies of the payload are.
//!
//! Invariants: (1) neither part opens anywhere but at the lineage, key, version and kind that it was
//! sealed for; the wrap, besides, with no other payload and no other epoch. (2) The payload's length
//! tells the plaintext's only roughly; see `padding`.

use rand_core::CryptoRng;

use crate::aead::{self, NONCE_LENGTH};
use crate::bind::{Binding, purpose};
use crate::epoch::{Epoch, EpochKey, Lineage};
use crate::keyring::Keyring;
use crate::padding::{pad_to, padded_length, unpad};
use crate::secret::{SecretBytes, SymmetricKey};

/// The longest plaintext: 1 MiB.
pub const MAX_PLAINTEXT: usize = 1 << 20;
/// The length of a wrap: format, epoch, AEAD, data key.
pub const WRAP_LENGTH: usize = 1 + 8 + aead::OVERHEAD + 32;

/// The format of payloads and wraps.
const FORMAT: u8 = 1;
/// By how much a payload is longer than the padded plaintext.
const PAYLOAD_OVERHEAD: usize = 1 + aead::OVERHEAD;

/// Where a secret's version is, as far as its cluster knows. The lineage comes with the keys.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The key, as in the keyspace.
    pub key: &'a [u8],
    /// The version of the key that the secret is: 1 for the first since the key was created.
    pub version: u64,
    /// What it is.
    pub kind: Kind,
}

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A secret that somebody put.
    Secret,
    /// The private key of a certificate.
    CertificateKey,
}

/// Both parts of a new envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The plaintext, sealed.
    pub payload: Vec<u8>,
    /// The data key, sealed.
    pub wrap: Vec<u8>,
}

/// Names a payload in its wrap: BLAKE3 of the byte 8 and the payload. That is the digest which the
/// store keeps of each version, so that rewrapping need not read old payloads back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadDigest([u8; 32]);

/// A part of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The data key, sealed.
    Wrap,
    /// The plaintext, sealed.
    Payload,
}

/// A secret was not sealed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The plaintext is longer than a secret may be.
    #[error("a secret has at most {MAX_PLAINTEXT} bytes, this one {length}; nothing was sealed")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
    },
}

/// An envelope does not open. Nothing of it was.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// A later version of Holdfast sealed it.
    #[error("the {part} has format {found}, which is newer than this program knows (1); update it")]
    NewerFormat {
        /// Which part.
        part: Part,
        /// Its format.
        found: u8,
    },
    /// It is not what it should be: wrong length, or a format that never was.
    #[error("the {part} is damaged: {length} bytes that do not look like one")]
    Malformed {
        /// Which part.
        part: Part,
        /// How many bytes there are.
        length: usize,
    },
    /// This node does not hold the key of the epoch that sealed it.
    #[error("the wrap was sealed in {epoch}, whose key is not in this keyring (newest: {newest})")]
    EpochUnknown {
        /// The epoch that the wrap names.
        epoch: Epoch,
        /// The newest that there is.
        newest: Epoch,
    },
    /// The wrap was made for another payload, key, version, kind or cluster; or it or the payload was
    /// changed.
    #[error(
        "the wrap does not open with the key of {epoch}: it belongs to another payload or place, or one of the two was changed"
    )]
    Wrap {
        /// The epoch that the wrap names.
        epoch: Epoch,
    },
    /// The wrap opened, and the data key in it does not open the payload.
    #[error(
        "the payload does not open with its data key: it belongs to another place or was changed"
    )]
    Payload,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::CertificateKey => "certificate key",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Wrap => "wrap",
            Self::Payload => "payload",
        })
    }
}

impl PayloadDigest {
    /// Of a payload.
    pub fn of(payload: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[8]).update(payload);
        Self(*hasher.finalize().as_bytes())
    }

    /// From its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Seals a plaintext for one place, under the key of an epoch.
pub fn seal(
    random: &mut impl CryptoRng,
    epoch: &EpochKey,
    context: &Context<'_>,
    plaintext: &[u8],
) -> Result<Sealed, SealError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(SealError::TooLarge {
            length: plaintext.len(),
        });
    }
    let data_key = SymmetricKey::generate(random);
    let payload = seal_payload(random, &data_key, epoch.lineage(), context, plaintext);
    let digest = PayloadDigest::of(&payload);
    let wrap = seal_wrap(random, epoch, context, &digest, data_key.expose());
    Ok(Sealed { payload, wrap })
}

/// Opens an envelope at its place.
pub fn open(
    keyring: &Keyring,
    context: &Context<'_>,
    payload: &[u8],
    wrap: &[u8],
) -> Result<SecretBytes, OpenError> {
    let part = Part::Payload;
    let malformed = OpenError::Malformed {
        part,
        length: payload.len(),
    };
    let sealed = match payload.split_first() {
        Some((&FORMAT, sealed)) => sealed,
        Some((&found, _)) if found > FORMAT => return Err(OpenError::NewerFormat { part, found }),
        _ => return Err(malformed),
    };
    let data_key = open_wrap(keyring, context, &PayloadDigest::of(payload), wrap)?;
    let binding = place(purpose::PAYLOAD, keyring.lineage(), context);
    let padded =
        aead::open(&data_key, binding.as_bytes(), sealed).map_err(|_| OpenError::Payload)?;
    unpad(padded).ok_or(malformed)
}

/// Seals the data key in `wrap` with the key of another epoch, and returns the wrap to put in its place.
/// Neither plaintext nor payload is needed, only the payload's digest.
pub fn rewrap(
    random: &mut impl CryptoRng,
    keyring: &Keyring,
    context: &Context<'_>,
    digest: &PayloadDigest,
    wrap: &[u8],
    to: Epoch,
) -> Result<Vec<u8>, OpenError> {
    let target = keyring.key(to).ok_or_else(|| OpenError::EpochUnknown {
        epoch: to,
        newest: keyring.newest().epoch(),
    })?;
    let data_key = open_wrap(keyring, context, digest, wrap)?;
    Ok(seal_wrap(
        random,
        target,
        context,
        digest,
        data_key.expose(),
    ))
}

/// The epoch whose key a wrap says it is sealed with.
pub fn epoch_of_wrap(wrap: &[u8]) -> Result<Epoch, OpenError> {
    parse_wrap(wrap).map(|(epoch, _)| epoch)
}

/// How long the payload of a plaintext of `length` bytes is.
pub const fn payload_length(length: usize) -> usize {
    PAYLOAD_OVERHEAD + padded_length(length)
}

fn seal_payload(
    random: &mut impl CryptoRng,
    data_key: &SymmetricKey,
    lineage: &Lineage,
    context: &Context<'_>,
    plaintext: &[u8],
) -> Vec<u8> {
    // One allocation, in which the plaintext becomes ciphertext: no copy of it is left behind.
    let mut payload = Vec::with_capacity(payload_length(plaintext.len()));
    let mut nonce = [0; NONCE_LENGTH];
    random.fill_bytes(&mut nonce);
    payload.push(FORMAT);
    payload.extend_from_slice(&nonce);
    let start = payload.len();
    pad_to(&mut payload, plaintext);
    let binding = place(purpose::PAYLOAD, lineage, context);
    let tag = aead::seal_in_place(data_key, &nonce, binding.as_bytes(), &mut payload[start..]);
    payload.extend_from_slice(&tag);
    payload
}

fn seal_wrap(
    random: &mut impl CryptoRng,
    epoch: &EpochKey,
    context: &Context<'_>,
    digest: &PayloadDigest,
    data_key: &[u8; 32],
) -> Vec<u8> {
    let mut wrap = Vec::with_capacity(WRAP_LENGTH);
    wrap.push(FORMAT);
    wrap.extend_from_slice(&epoch.epoch().number().to_be_bytes());
    let binding = wrap_binding(epoch.lineage(), context, epoch.epoch(), digest);
    aead::seal_to(
        &mut wrap,
        random,
        &epoch.wrap_key(),
        binding.as_bytes(),
        data_key,
    );
    wrap
}

fn open_wrap(
    keyring: &Keyring,
    context: &Context<'_>,
    digest: &PayloadDigest,
    wrap: &[u8],
) -> Result<SymmetricKey, OpenError> {
    let (epoch, sealed) = parse_wrap(wrap)?;
    let key = keyring.key(epoch).ok_or_else(|| OpenError::EpochUnknown {
        epoch,
        newest: keyring.newest().epoch(),
    })?;
    let binding = wrap_binding(keyring.lineage(), context, epoch, digest);
    let opened = aead::open(&key.wrap_key(), binding.as_bytes(), sealed)
        .map_err(|_| OpenError::Wrap { epoch })?;
    Ok(SymmetricKey::from_slice(opened.expose()).expect("a wrap has the length of one key"))
}

fn parse_wrap(wrap: &[u8]) -> Result<(Epoch, &[u8]), OpenError> {
    let part = Part::Wrap;
    let malformed = OpenError::Malformed {
        part,
        length: wrap.len(),
    };
    match wrap.split_first() {
        Some((&FORMAT, rest)) if wrap.len() == WRAP_LENGTH => {
            let (epoch, sealed) = rest.split_first_chunk().ok_or(malformed.clone())?;
            let epoch = Epoch::new(u64::from_be_bytes(*epoch)).ok_or(malformed)?;
            Ok((epoch, sealed))
        }
        Some((&found, _)) if found > FORMAT => Err(OpenError::NewerFormat { part, found }),
        _ => Err(malformed),
    }
}

fn place(purpose: &str, lineage: &Lineage, context: &Context<'_>) -> Binding {
    Binding::of(purpose)
        .bytes(lineage.as_str().as_bytes())
        .bytes(context.key)
        .number(context.version)
        .bytes(context.kind.name().as_bytes())
}

fn wrap_binding(
    lineage: &Lineage,
    context: &Context<'_>,
    epoch: Epoch,
    digest: &PayloadDigest,
) -> Binding {
    place(purpose::WRAP, lineage, context)
        .number(epoch.number())
        .bytes(&digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsRandom;

    const PLACE: Context<'static> = Context {
        key: b"app/password",
        version: 4,
        kind: Kind::Secret,
    };

    #[test]
    fn the_payload_is_bound_to_its_place_besides_its_wrap() {
        // Somebody with the epoch's key makes a wrap that fits another place. The payload does not.
        let keyring = keyring();
        let sealed = seal(&mut OsRandom, keyring.newest(), &PLACE, b"secret").unwrap();
        let digest = PayloadDigest::of(&sealed.payload);
        let data_key = open_wrap(&keyring, &PLACE, &digest, &sealed.wrap).unwrap();
        for other in [
            Context {
                key: b"app/else",
                ..PLACE
            },
            Context {
                version: 5,
                ..PLACE
            },
            Context {
                kind: Kind::CertificateKey,
                ..PLACE
            },
        ] {
            let key = keyring.newest();
            let wrap = seal_wrap(&mut OsRandom, key, &other, &digest, data_key.expose());
            let refused = open(&keyring, &other, &sealed.payload, &wrap).unwrap_err();
            assert_eq!(refused, OpenError::Payload);
        }
    }

    #[test]
    fn padding_that_is_not_proper_is_refused() {
        let improper = [0xff; 64];
        let part = Part::Payload;
        let length = improper.len() + PAYLOAD_OVERHEAD;
        let refused = open_padded(&improper).unwrap_err();
        assert_eq!(refused, OpenError::Malformed { part, length });
    }

    /// Opens an envelope whose padded plaintext is this.
    fn open_padded(padded: &[u8]) -> Result<Vec<u8>, OpenError> {
        let keyring = keyring();
        let data_key = SymmetricKey::generate(&mut OsRandom);
        let mut payload = vec![FORMAT];
        let binding = place(purpose::PAYLOAD, keyring.lineage(), &PLACE);
        let bound_to = binding.as_bytes();
        aead::seal_to(&mut payload, &mut OsRandom, &data_key, bound_to, padded);
        let (key, digest) = (keyring.newest(), PayloadDigest::of(&payload));
        let wrap = seal_wrap(&mut OsRandom, key, &PLACE, &digest, data_key.expose());
        open(&keyring, &PLACE, &payload, &wrap).map(SecretBytes::into_exposed)
    }

    fn keyring() -> Keyring {
        let lineage = Lineage::new("c-1").unwrap();
        Keyring::first(EpochKey::generate(&mut OsRandom, &lineage, Epoch::FIRST)).unwrap()
    }
}
