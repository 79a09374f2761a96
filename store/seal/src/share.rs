//! One share of a recovery key, and how it looks on paper.
//!
//! ```text
//! HFS1-5T0QX-9GJ3M-… (17 groups of five letters)
//! ```
//!
//! `HFS1` says what it is and in which format. Each group ends with a check letter of its own,
//! so that a typo is named by its group; the last letters are a checksum of the whole. Case, spaces, line breaks and dashes do not matter; `O` is read as 0, `I` and `L` as 1.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::base32::{self, GROUP, GROUP_DATA};
use crate::bind::derived;
use crate::recovery::{SetId, Split};
use crate::secret::{SecretBytes, SymmetricKey};

/// Groups in the text of a share, after `HFS1`.
pub const GROUPS: usize = 17;

const PREFIX: &str = "HFS";
const FORMAT: char = '1';
/// Set; index, threshold and shares; value. With the checksum 336 bits, which 68 letters hold.
const CONTENT_LENGTH: usize = 5 + 2 + 32;
const CHECKSUM_LENGTH: usize = 3;

/// One of the n shares of a recovery key.
pub struct Share {
    set: SetId,
    index: u8,
    split: Split,
    value: SymmetricKey,
}

/// Text is no share.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareTextError {
    /// It is something else.
    #[error("this is no recovery share: it does not start with {PREFIX}{FORMAT}")]
    NotAShare,
    /// A later version of Holdfast wrote it.
    #[error(
        "this share has a format that is newer than this program knows ({PREFIX}{FORMAT}); use a newer one"
    )]
    NewerFormat,
    /// A letter that no share has.
    #[error("group {group} of the share has a letter that is not used (there is no U, for one)")]
    Letter {
        /// Which group, from 1.
        group: usize,
    },
    /// Letters are missing or too many; the group is known if the groups are told apart.
    #[error("the share has {found} letters after {PREFIX}{FORMAT}, not {expected}{place}", expected = GROUPS * GROUP, place = place(*group))]
    Length {
        /// How many there are.
        found: usize,
        /// The first group that has not five, from 1.
        group: Option<usize>,
    },
    /// A typo.
    #[error("there is a typo in group {group} of the share")]
    Typo {
        /// Which group, from 1.
        group: usize,
    },
    /// Typos that no group shows.
    #[error("the share has typos: each group looks right by itself, but not all together")]
    Checksum,
    /// It was typed rightly but tells numbers that no share has.
    #[error(
        "the share says that it is number {index} of {shares}, of which {threshold} make the key: that cannot be"
    )]
    Numbers {
        /// Its number.
        index: u8,
        /// How many there are.
        shares: u8,
        /// How many make the key.
        threshold: u8,
    },
}

impl Share {
    pub(crate) fn new(set: SetId, index: u8, split: Split, value: SymmetricKey) -> Self {
        Self {
            set,
            index,
            split,
            value,
        }
    }

    /// Which key it is of.
    pub fn set(&self) -> SetId {
        self.set
    }

    /// Its number, from 1.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// How many there are, and how many make the key.
    pub fn split(&self) -> Split {
        self.split
    }

    pub(crate) fn value(&self) -> &SymmetricKey {
        &self.value
    }

    /// As text to print: `HFS1`, then 17 groups of five letters, with dashes between.
    pub fn to_text(&self) -> SecretBytes {
        let mut content = Zeroizing::new(Vec::with_capacity(CONTENT_LENGTH + CHECKSUM_LENGTH));
        content.extend_from_slice(self.set.as_bytes());
        // Three numbers from 1 to 16 and a zero, four bits each.
        content.push((self.index - 1) << 4 | (self.split.threshold() - 1));
        content.push((self.split.shares() - 1) << 4);
        content.extend_from_slice(self.value.expose());
        let checksum = checksum(&content);
        content.extend_from_slice(&checksum);
        let mut symbols = Zeroizing::new(base32::symbols(&content));
        symbols.resize(GROUPS * GROUP_DATA, 0);
        let mut text = Vec::with_capacity(PREFIX.len() + 1 + GROUPS * (GROUP + 1));
        text.extend_from_slice(PREFIX.as_bytes());
        text.push(FORMAT as u8);
        for (number, group) in symbols.chunks(GROUP_DATA).enumerate() {
            text.push(b'-');
            text.extend(group.iter().map(|symbol| base32::letter(*symbol)));
            text.push(base32::letter(base32::check(number, group)));
        }
        SecretBytes::new(text)
    }

    /// From text that somebody typed.
    pub fn parse(text: &str) -> Result<Self, ShareTextError> {
        let groups = groups_after_prefix(text)?;
        let symbols = data_symbols(&groups)?;
        let content = base32::bytes(&symbols)
            .map(Zeroizing::new)
            .ok_or(ShareTextError::Checksum)?;
        Self::from_content(&content)
    }

    fn from_content(bytes: &[u8]) -> Result<Self, ShareTextError> {
        let (content, told) = bytes
            .split_last_chunk::<CHECKSUM_LENGTH>()
            .ok_or(ShareTextError::Checksum)?;
        let parts = content
            .split_first_chunk::<5>()
            .and_then(|(set, rest)| Some((set, rest.split_first_chunk::<2>()?)));
        let Some((set, ([first, second], value))) = parts else {
            return Err(ShareTextError::Checksum);
        };
        let Some(value) = SymmetricKey::from_slice(value) else {
            return Err(ShareTextError::Checksum);
        };
        if checksum(content) != *told || second & 15 != 0 {
            return Err(ShareTextError::Checksum);
        }
        let (index, threshold, shares) = ((first >> 4) + 1, (first & 15) + 1, (second >> 4) + 1);
        match Split::new(shares, threshold) {
            Ok(split) if index <= shares => {
                Ok(Self::new(SetId::from_bytes(*set), index, split, value))
            }
            _ => Err(ShareTextError::Numbers {
                index,
                shares,
                threshold,
            }),
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, split) = (self.index, self.split);
        write!(
            formatter,
            "Share({index} of {}, set {}, ..)",
            split.shares(),
            self.set
        )
    }
}

/// The symbols after the prefix, as they were grouped by whoever typed them.
fn groups_after_prefix(text: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, ShareTextError> {
    let mut prefix = PREFIX.chars().chain([FORMAT]);
    let mut groups: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    // More than any share has, so that pushing never moves letters to where they would not be wiped.
    let group = || Zeroizing::new(Vec::with_capacity(GROUPS * GROUP + 1));
    let mut current = group();
    let mut seen = 0;
    for character in text.chars() {
        if is_separator(character) {
            if !current.is_empty() {
                groups.push(std::mem::replace(&mut current, group()));
            }
            continue;
        }
        if let Some(expected) = prefix.next() {
            if base32::symbol(character) != base32::symbol(expected) {
                return Err(if expected == FORMAT && character.is_ascii_digit() {
                    ShareTextError::NewerFormat
                } else {
                    ShareTextError::NotAShare
                });
            }
            continue;
        }
        let symbol = base32::symbol(character).ok_or(ShareTextError::Letter {
            group: seen / GROUP + 1,
        })?;
        seen += 1;
        if seen <= GROUPS * GROUP {
            current.push(symbol);
        }
    }
    if prefix.next().is_some() {
        return Err(ShareTextError::NotAShare);
    }
    if !current.is_empty() {
        groups.push(current);
    }
    if seen != GROUPS * GROUP {
        let odd = groups.iter().position(|group| group.len() != GROUP);
        return Err(ShareTextError::Length {
            found: seen,
            group: odd.filter(|_| groups.len() > 1).map(|place| place + 1),
        });
    }
    Ok(groups)
}

/// The symbols without the check letters, which are checked.
fn data_symbols(groups: &[Zeroizing<Vec<u8>>]) -> Result<Zeroizing<Vec<u8>>, ShareTextError> {
    let mut all = Zeroizing::new(Vec::with_capacity(GROUPS * GROUP));
    for group in groups {
        all.extend_from_slice(group);
    }
    let mut data = Zeroizing::new(Vec::with_capacity(GROUPS * GROUP_DATA));
    for (number, group) in all.chunks(GROUP).enumerate() {
        let (symbols, check) = group.split_at(GROUP_DATA);
        if check != [base32::check(number, symbols)] {
            return Err(ShareTextError::Typo { group: number + 1 });
        }
        data.extend_from_slice(symbols);
    }
    Ok(data)
}

fn is_separator(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '-' | '_' | '.' | ',' | ':' | '\u{2010}'..='\u{2015}' | '\u{2212}'
        )
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut hash = blake3::derive_key(derived::SHARE, content);
    let checksum = [hash[0], hash[1], hash[2]];
    hash.zeroize();
    checksum
}

fn place(group: Option<usize>) -> String {
    group.map_or_else(String::new, |group| {
        format!("; group {group} is the first that does not have {GROUP}")
    })
}
