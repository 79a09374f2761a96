//! Padding, so that the length of what is sealed tells less about what is in it.
//!
//! Padmé (Nikitin et al., PURBs, 2019): a length keeps only so many of its leading bits as its magnitude needs.
//! That costs less than an eighth and leaves fewer than 300 lengths up to 1 MiB; 60 bytes or fewer all
//! look the same. The exact length is inside.

use zeroize::Zeroize;

use crate::secret::SecretBytes;

/// Of the length in front of the plaintext.
const LENGTH_LENGTH: usize = 4;
/// What is shorter is padded to this.
const SMALLEST_CLASS: usize = 64;

/// How long a plaintext of `length` bytes is once it is padded.
pub(crate) const fn padded_length(length: usize) -> usize {
    let length = LENGTH_LENGTH + length;
    if length <= SMALLEST_CLASS {
        return SMALLEST_CLASS;
    }
    let exponent = length.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1 << (exponent - kept)) - 1;
    (length + mask) & !mask
}

/// Appends the length, the plaintext and zeros.
///
/// # Panics
/// If the plaintext has 4 GiB or more.
pub(crate) fn pad_to(padded: &mut Vec<u8>, plaintext: &[u8]) {
    let start = padded.len();
    let length = u32::try_from(plaintext.len()).expect("far smaller than 4 GiB");
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(plaintext);
    padded.resize(start + padded_length(plaintext.len()), 0);
}

/// The plaintext. `None` unless [`pad_to`] would have padded it just so.
pub(crate) fn unpad(padded: SecretBytes) -> Option<SecretBytes> {
    let (length, rest) = padded.expose().split_first_chunk::<LENGTH_LENGTH>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let padding = rest.get(length..)?;
    if padded_length(length) != padded.len() || padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut bytes = padded.into_exposed();
    bytes.copy_within(LENGTH_LENGTH..LENGTH_LENGTH + length, 0);
    bytes[length..].zeroize();
    bytes.truncate(length);
    Some(SecretBytes::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_cost_less_than_an_eighth_and_tell_little() {
        let mut lengths = 0;
        let mut last = 0;
        for length in 0..=1 << 20 {
            let padded = padded_length(length);
            let inside = LENGTH_LENGTH + length;
            assert!(padded >= inside && padded >= last);
            let cost = padded - inside;
            assert!(inside < SMALLEST_CLASS || cost * 8 < inside, "{length}");
            lengths += usize::from(padded != last);
            last = padded;
        }
        assert!(lengths < 300, "{lengths} lengths tell too much");
    }

    #[test]
    fn what_was_padded_comes_back() {
        for length in [0, 1, 60, 61, 1000, 70_000] {
            let plaintext = vec![0xab; length];
            let mut padded = Vec::new();
            pad_to(&mut padded, &plaintext);
            let unpadded = unpad(SecretBytes::new(padded)).unwrap();
            assert_eq!(unpadded.expose(), plaintext);
        }
    }

    #[test]
    fn padding_is_proper_or_refused() {
        let padded = |length: u32, text: &[u8], total: usize| {
            let mut padded = length.to_be_bytes().to_vec();
            padded.extend_from_slice(text);
            padded.resize(total, 0);
            SecretBytes::new(padded)
        };
        assert!(unpad(padded(2, b"ab", 64)).is_some());
        for (length, text, total) in [
            (1, &b"ab"[..], 64),
            (2, b"ab", 65),
            (2, b"ab", 6),
            (61, b"ab", 64),
            (u32::MAX, b"ab", 64),
            (0, b"", 4),
        ] {
            assert!(
                unpad(padded(length, text, total)).is_none(),
                "{length} {total}"
            );
        }
        assert!(unpad(SecretBytes::new(vec![0; 3])).is_none());
    }
}
