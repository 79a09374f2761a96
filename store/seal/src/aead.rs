//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a random nonce of 192 bits in front. A counter
//! would be used twice after a failover or on a restored disk.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use crate::secret::{SecretBytes, SymmetricKey};

pub(crate) const NONCE_LENGTH: usize = 24;
pub(crate) const TAG_LENGTH: usize = 16;
/// By how much a sealed thing is longer than what is in it.
pub(crate) const OVERHEAD: usize = NONCE_LENGTH + TAG_LENGTH;

/// It was not sealed with this key for this place, or it was changed since.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// Appends nonce, ciphertext and tag of `plaintext` to `sealed`.
pub(crate) fn seal_to(
    sealed: &mut Vec<u8>,
    random: &mut impl CryptoRng,
    key: &SymmetricKey,
    bound_to: &[u8],
    plaintext: &[u8],
) {
    let mut nonce = [0; NONCE_LENGTH];
    random.fill_bytes(&mut nonce);
    sealed.reserve_exact(OVERHEAD + plaintext.len());
    sealed.extend_from_slice(&nonce);
    let start = sealed.len();
    sealed.extend_from_slice(plaintext);
    let tag = seal_in_place(key, &nonce, bound_to, &mut sealed[start..]);
    sealed.extend_from_slice(&tag);
}

/// Opens nonce, ciphertext and tag.
pub(crate) fn open(
    key: &SymmetricKey,
    bound_to: &[u8],
    sealed: &[u8],
) -> Result<SecretBytes, NotAuthentic> {
    let (nonce, rest) = sealed
        .split_first_chunk::<NONCE_LENGTH>()
        .ok_or(NotAuthentic)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LENGTH>().ok_or(NotAuthentic)?;
    let mut plaintext = ciphertext.to_vec();
    open_in_place(key, nonce, bound_to, &mut plaintext, tag)?;
    Ok(SecretBytes::new(plaintext))
}

pub(crate) fn seal_in_place(
    key: &SymmetricKey,
    nonce: &[u8; NONCE_LENGTH],
    bound_to: &[u8],
    text: &mut [u8],
) -> [u8; TAG_LENGTH] {
    cipher(key)
        .encrypt_inout_detached(&XNonce::from(*nonce), bound_to, text.into())
        .expect("a text is far smaller than 256 GiB")
        .into()
}

/// Opens `text` where it is. If it is not authentic, what was there is wiped.
pub(crate) fn open_in_place(
    key: &SymmetricKey,
    nonce: &[u8; NONCE_LENGTH],
    bound_to: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LENGTH],
) -> Result<(), NotAuthentic> {
    let opened = cipher(key).decrypt_inout_detached(
        &XNonce::from(*nonce),
        bound_to,
        (&mut *text).into(),
        &Tag::from(*tag),
    );
    opened.map_err(|_| {
        text.zeroize();
        NotAuthentic
    })
}

fn cipher(key: &SymmetricKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.expose().into())
}
