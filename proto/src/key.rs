//! Keys and half-open ranges of keys.
//!
//! A key is 1 to [`limits::KEY_BYTES`] bytes, ordered bytewise. Our own tools use UTF-8 with `/`
//! between parts; the store does not care.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Bound,
};

use bytes::Bytes;

use crate::{limits, v1};

/// A key: non-empty, at most [`limits::KEY_BYTES`] bytes.
#[derive(Clone)]
pub struct Key(Repr);

/// Most keys are short. A short one lies where the key itself does: to compare it is no look at
/// another place in memory, and the keys of a node of an ordered map lie side by side.
#[derive(Clone)]
enum Repr {
    /// Behind its length, zeros.
    Short {
        length: u8,
        bytes: [u8; SHORT],
    },
    Long(Bytes),
}

/// The longest key that is short: as much as a [`Key`] of five words has room for.
const SHORT: usize = 38;

/// Why bytes are not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Zero bytes.
    #[error("the key is empty; give it at least one byte")]
    Empty,
    /// More than [`limits::KEY_BYTES`].
    #[error("the key has {bytes} bytes; at most {} are allowed", limits::KEY_BYTES)]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
}

impl Key {
    /// Parses a key.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            length if (SHORT + 1..=limits::KEY_BYTES).contains(&length) => {
                Ok(Self(Repr::Long(bytes)))
            }
            _ => Self::copied(&bytes),
        }
    }

    /// Parses a key that is a part of something, which it does not keep alive.
    pub fn copied(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.len() {
            0 => Err(KeyError::Empty),
            length if length > limits::KEY_BYTES => Err(KeyError::TooLong { bytes: length }),
            length if length > SHORT => Ok(Self(Repr::Long(Bytes::copy_from_slice(bytes)))),
            length => {
                let mut short = [0; SHORT];
                short[..length].copy_from_slice(bytes);
                Ok(Self(Repr::Short {
                    length: length as u8,
                    bytes: short,
                }))
            }
        }
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Long(bytes) => bytes,
        }
    }

    /// A short one's bytes, with the zeros behind them, and its length.
    fn short(&self) -> Option<(&[u8; SHORT], u8)> {
        match &self.0 {
            Repr::Short { length, bytes } => Some((bytes, *length)),
            Repr::Long(_) => None,
        }
    }

    /// The key's bytes, to be passed on: a copy of a short one's, the same of a long one's.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Repr::Short { .. } => Bytes::copy_from_slice(self.as_bytes()),
            Repr::Long(bytes) => bytes.clone(),
        }
    }

    /// The key as text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let (Some((one, length)), Some((other, other_length))) = (self.short(), other.short())
        else {
            return self.as_bytes().cmp(other.as_bytes());
        };
        // Mostly the first bytes tell, as one number; and zeros come before whatever a longer key has there.
        number(one)
            .cmp(&number(other))
            .then_with(|| one.cmp(other))
            .then(length.cmp(&other_length))
    }
}

/// The first 16 bytes, which as numbers are ordered as the bytes are.
fn number(bytes: &[u8; SHORT]) -> u128 {
    bytes
        .first_chunk()
        .map_or(0, |first| u128::from_be_bytes(*first))
}

/// As its bytes, which it can be borrowed as.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl TryFrom<&str> for Key {
    type Error = KeyError;

    fn try_from(text: &str) -> Result<Self, KeyError> {
        Self::copied(text.as_bytes())
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bytes(f, self.as_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bytes(f, self.as_bytes())
    }
}

/// UTF-8 as it is, control characters escaped, anything else as `\xNN`.
fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Where a range begins and ends, for ordered maps.
pub type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A half-open range of keys `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Bytes,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Just the key `start`.
    Single,
    Before(Bytes),
    Unbounded,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self {
            start: Bytes::new(),
            end: End::Unbounded,
        }
    }

    /// One key.
    pub fn single(key: &Key) -> Self {
        Self {
            start: key.to_bytes(),
            end: End::Single,
        }
    }

    /// Every key that begins with `prefix`. An empty prefix means every key.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = match successor(&start) {
            Some(end) => End::Before(end),
            None => End::Unbounded,
        };
        Self { start, end }
    }

    /// Keys from `start` on, before `end`; `None`: to the last key.
    pub fn between(start: impl Into<Bytes>, end: Option<Bytes>) -> Self {
        Self {
            start: start.into(),
            end: end.map_or(End::Unbounded, End::Before),
        }
    }

    /// The key, where the range is one key.
    pub fn as_single(&self) -> Option<&Bytes> {
        matches!(self.end, End::Single).then_some(&self.start)
    }

    /// Where the range begins.
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == self.start,
            End::Before(end) => key >= &self.start[..] && key < &end[..],
            End::Unbounded => key >= &self.start[..],
        }
    }

    /// Whether every key of it lies in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        if let Some(key) = self.as_single() {
            return other.contains(key);
        }
        self.start >= other.start
            && match (&self.end, &other.end) {
                (_, End::Unbounded) => true,
                (End::Before(end), End::Before(limit)) => end <= limit,
                _ => false,
            }
    }

    /// Whether a key can lie in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.as_single(), other.as_single()) {
            (Some(key), _) => other.contains(key),
            (_, Some(key)) => self.contains(key),
            _ => self.begins_before_end_of(other) && other.begins_before_end_of(self),
        }
    }

    fn begins_before_end_of(&self, other: &Self) -> bool {
        match &other.end {
            End::Single => self.start <= other.start,
            End::Before(end) => self.start < *end,
            End::Unbounded => true,
        }
    }

    /// The same range from `start` on: how a limited read goes on.
    pub fn continue_from(&self, start: impl Into<Bytes>) -> Self {
        Self {
            start: start.into(),
            end: self.end.clone(),
        }
    }

    /// As bounds over bytes, for ordered maps. `None`: no key can lie in it.
    pub fn bounds(&self) -> Option<KeyBounds<'_>> {
        let start = Bound::Included(&self.start[..]);
        match &self.end {
            End::Single => Some((start, start)),
            End::Before(end) if end[..] <= self.start[..] => None,
            End::Before(end) => Some((start, Bound::Excluded(&end[..]))),
            End::Unbounded => Some((start, Bound::Unbounded)),
        }
    }
}

impl From<v1::KeyRange> for KeyRange {
    fn from(wire: v1::KeyRange) -> Self {
        let end = match &wire.end[..] {
            [] => End::Single,
            [0] => End::Unbounded,
            _ => End::Before(wire.end),
        };
        Self {
            start: wire.key,
            end,
        }
    }
}

impl From<KeyRange> for v1::KeyRange {
    fn from(range: KeyRange) -> Self {
        let end = match range.end {
            End::Single => Bytes::new(),
            End::Before(end) => end,
            End::Unbounded => Bytes::from_static(&[0]),
        };
        Self {
            key: range.start,
            end,
        }
    }
}

/// The smallest bytes above everything that begins with `prefix`; `None`: there are none.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_at_least_one_byte_and_at_most_the_limit() {
        assert_eq!(Key::new(Bytes::new()), Err(KeyError::Empty));
        assert!(Key::new(vec![b'k'; limits::KEY_BYTES]).is_ok());
        let error = Key::new(vec![b'k'; limits::KEY_BYTES + 1]).unwrap_err();
        assert_eq!(
            error,
            KeyError::TooLong {
                bytes: limits::KEY_BYTES + 1
            }
        );
    }

    #[test]
    fn short_and_long_keys_are_ordered_as_their_bytes() {
        let lengths = [
            1,
            2,
            15,
            16,
            17,
            SHORT - 1,
            SHORT,
            SHORT + 1,
            limits::KEY_BYTES,
        ];
        let texts = lengths.into_iter().flat_map(|length| {
            let fill = |byte| vec![byte; length];
            let end = |byte| [&vec![b'k'; length - 1][..], &[byte]].concat();
            [fill(0), fill(b'k'), fill(0xff), end(0), end(b'l')]
        });
        let texts: Vec<Vec<u8>> = texts.collect();
        for one in &texts {
            let key = Key::new(one.clone()).unwrap();
            assert_eq!((key.as_bytes(), &key.to_bytes()[..]), (&one[..], &one[..]));
            for other in &texts {
                let other_key = Key::new(other.clone()).unwrap();
                assert_eq!(key.cmp(&other_key), one.cmp(other), "{key} {other_key}");
                assert_eq!(key == other_key, one == other, "{key} {other_key}");
            }
        }
        let keys: std::collections::HashSet<Key> = texts
            .iter()
            .map(|text| Key::new(text.clone()).unwrap())
            .collect();
        assert!(texts.iter().all(|text| keys.contains(&text[..])));
    }

    #[test]
    fn a_prefix_ends_before_its_successor() {
        let range = KeyRange::prefix("a/");
        assert!(range.contains(b"a/") && range.contains(b"a/\xff\xff"));
        assert!(!range.contains(b"a0") && !range.contains(b"a"));
        assert!(KeyRange::prefix(vec![0xff, 0xff]).contains(&[0xff, 0xff, 1]));
        assert!(!KeyRange::prefix(vec![b'a', 0xff]).contains(b"b"));
    }

    #[test]
    fn every_range_comes_back_from_the_wire() {
        let key = Key::try_from("a").unwrap();
        for range in [
            KeyRange::all(),
            KeyRange::single(&key),
            KeyRange::prefix("a"),
            KeyRange::between("a", None),
        ] {
            assert_eq!(KeyRange::from(v1::KeyRange::from(range.clone())), range);
        }
    }

    #[test]
    fn control_and_foreign_bytes_are_shown_escaped() {
        let key = Key::new(Bytes::from_static(b"a\n\xff\xc3\xa9")).unwrap();
        assert_eq!(key.to_string(), "a\\n\\xffé");
    }
}
