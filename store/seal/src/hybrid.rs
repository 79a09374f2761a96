//! Sealing to somebody's public key: HPKE (RFC 9180) in base mode with X-Wing, HKDF-SHA256 and
//! ChaCha20-Poly1305.
//!
//! X-Wing is X25519 and ML-KEM-768 in one: it holds while either of the two holds, so an archive that
//! is copied today does not open on the quantum computer of some later day. Its private key is a seed of
//! 32 bytes, which is what makes it fit on shares that people type.
//! Sources: draft-connolly-cfrg-xwing-kem-06, draft-ietf-hpke-pq-03 (KEM 0x647a).

use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use crate::aead::NotAuthentic;
use crate::secret::{SecretBytes, SymmetricKey};

/// Of a public key: 1184 bytes of ML-KEM-768, 32 of X25519.
pub const PUBLIC_KEY_LENGTH: usize = 1216;
/// Of what HPKE encapsulates.
pub(crate) const ENCAPSULATED_LENGTH: usize = 1120;
/// By how much a sealed thing is longer than what is in it.
pub(crate) const OVERHEAD: usize = ENCAPSULATED_LENGTH + 16;

/// The public half of a node's key or of the recovery key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Box<[u8]>);

/// Bytes are no key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPairError {
    /// Not as many bytes as a public key has.
    #[error("a public key has {PUBLIC_KEY_LENGTH} bytes, this one {found}")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// The right number of bytes, but no key.
    #[error("these {PUBLIC_KEY_LENGTH} bytes are no public key")]
    Invalid,
}

/// Both halves.
pub(crate) struct KeyPair {
    seed: SymmetricKey,
    public: PublicKey,
}

impl PublicKey {
    /// From its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyPairError> {
        if bytes.len() != PUBLIC_KEY_LENGTH {
            return Err(KeyPairError::Length { found: bytes.len() });
        }
        <XWing as Kem>::PublicKey::from_bytes(bytes).map_err(|_| KeyPairError::Invalid)?;
        Ok(Self(bytes.into()))
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// BLAKE3 of its bytes: a name for it that is short enough to show.
    pub fn fingerprint(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }

    /// Appends the encapsulated key, the ciphertext and the tag of `plaintext` to `sealed`.
    pub(crate) fn seal_to(
        &self,
        sealed: &mut Vec<u8>,
        random: &mut impl CryptoRng,
        bound_to: &[u8],
        plaintext: &[u8],
    ) {
        let public = <XWing as Kem>::PublicKey::from_bytes(&self.0).expect("was checked when made");
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
                &OpModeS::Base,
                &public,
                bound_to,
                plaintext,
                &[],
                random,
            )
            .expect("encapsulation to a valid key and one small message do not fail");
        sealed.extend_from_slice(&encapsulated.to_bytes());
        sealed.extend_from_slice(&ciphertext);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PublicKey(")?;
        for byte in &self.fingerprint()[..8] {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str("…)")
    }
}

impl KeyPair {
    pub(crate) fn generate(random: &mut impl CryptoRng) -> Self {
        Self::from_seed(SymmetricKey::generate(random))
    }

    /// Each seed is a private key.
    pub(crate) fn from_seed(seed: SymmetricKey) -> Self {
        let public = XWing::sk_to_pk(&private(&seed)).to_bytes();
        Self {
            seed,
            public: PublicKey(public.as_slice().into()),
        }
    }

    pub(crate) fn seed(&self) -> &SymmetricKey {
        &self.seed
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Result<SecretBytes, NotAuthentic> {
        let (encapsulated, ciphertext) = sealed
            .split_first_chunk::<ENCAPSULATED_LENGTH>()
            .ok_or(NotAuthentic)?;
        let encapsulated =
            <XWing as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| NotAuthentic)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &private(&self.seed),
            &encapsulated,
            bound_to,
            ciphertext,
            &[],
        )
        .map(SecretBytes::new)
        .map_err(|_| NotAuthentic)
    }
}

impl ConstantTimeEq for PublicKey {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

fn private(seed: &SymmetricKey) -> <XWing as Kem>::PrivateKey {
    <XWing as Kem>::PrivateKey::from_bytes(seed.expose()).expect("any 32 bytes are a private key")
}
