//! Secrets by chance: how many characters, out of which.

use std::fmt;

use holdfast_proto::limits;
use rand::{TryRng as _, rngs::SysRng};
use zeroize::Zeroizing;

use super::Secret;

/// What a secret that is made by chance looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// How many characters, or bytes.
    pub length: usize,
    /// Out of which.
    pub alphabet: Alphabet,
}

/// Characters that a secret may consist of, each as likely as the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alphabet {
    /// `A-Z`, `a-z`, `0-9`: nothing that a shell, a URL or a configuration file takes amiss.
    #[default]
    Alphanumeric,
    /// `0-9`.
    Digits,
    /// `0-9`, `a-f`.
    Hex,
    /// `A-Z`, `a-z`, `0-9`, `-`, `_`.
    Base64Url,
    /// Every ASCII character that prints, but the blank.
    Printable,
    /// Any byte at all.
    Bytes,
}

/// Why no secret was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Nothing, or more than a secret may have.
    #[error("a secret has 1 to {} characters, not {length}", limits::VALUE_BYTES)]
    Length {
        /// What was asked for.
        length: usize,
    },
    /// The system has no randomness to give.
    #[error("the system gave no randomness: {0}; no secret was made")]
    Randomness(String),
}

impl Recipe {
    /// Makes one, out of the system's own randomness.
    pub fn make(&self) -> Result<Secret, RecipeError> {
        if !(1..=limits::VALUE_BYTES).contains(&self.length) {
            return Err(RecipeError::Length {
                length: self.length,
            });
        }
        let characters = self.alphabet.characters();
        // Never grown: what a growing buffer leaves behind is not wiped.
        let mut made = Zeroizing::new(Vec::with_capacity(self.length));
        let mut chance = Zeroizing::new([0; 64]);
        while made.len() < self.length {
            SysRng
                .try_fill_bytes(chance.as_mut())
                .map_err(|error| RecipeError::Randomness(error.to_string()))?;
            let left = self.length - made.len();
            let drawn = chance.iter().filter_map(|byte| draw(&characters, *byte));
            made.extend(drawn.take(left));
        }
        Ok(Secret::from(made))
    }

    /// How many bits of chance are in it: an attacker tries half of two to this power.
    pub fn bits(&self) -> f64 {
        self.length as f64 * (self.alphabet.characters().len() as f64).log2()
    }
}

/// The character that a random byte stands for; `None`: it would make some likelier than others.
fn draw(characters: &[u8], byte: u8) -> Option<u8> {
    let fair = 256 - 256 % characters.len();
    let place = usize::from(byte);
    (place < fair).then(|| characters[place % characters.len()])
}

impl Alphabet {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Alphanumeric,
        Self::Digits,
        Self::Hex,
        Self::Base64Url,
        Self::Printable,
        Self::Bytes,
    ];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alphanumeric => "alphanumeric",
            Self::Digits => "digits",
            Self::Hex => "hex",
            Self::Base64Url => "base64url",
            Self::Printable => "printable",
            Self::Bytes => "bytes",
        }
    }

    fn characters(self) -> Vec<u8> {
        let all = 0..=u8::MAX;
        match self {
            Self::Alphanumeric => all.filter(u8::is_ascii_alphanumeric).collect(),
            Self::Digits => (b'0'..=b'9').collect(),
            Self::Hex => (b'0'..=b'9').chain(b'a'..=b'f').collect(),
            Self::Base64Url => all
                .filter(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
                .collect(),
            Self::Printable => all.filter(u8::is_ascii_graphic).collect(),
            Self::Bytes => all.collect(),
        }
    }
}

impl fmt::Display for Alphabet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Alphabet {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|alphabet| alphabet.as_str() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::as_str).join(", ");
                format!("there is no such alphabet; use one of {names}")
            })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_secret_has_its_length_and_all_of_its_alphabet_and_nothing_else() {
        for alphabet in Alphabet::ALL {
            let characters: BTreeSet<u8> = alphabet.characters().into_iter().collect();
            let recipe = Recipe {
                length: 20_000,
                alphabet,
            };
            let made = recipe.make().unwrap();
            assert_eq!(made.expose().len(), 20_000);
            let seen: BTreeSet<u8> = made.expose().iter().copied().collect();
            assert_eq!(seen, characters, "{alphabet}");
            assert_eq!(alphabet.as_str().parse(), Ok(alphabet));
        }
    }

    #[test]
    fn no_character_is_likelier_than_another() {
        for alphabet in Alphabet::ALL {
            let characters = alphabet.characters();
            let mut counts = vec![0; 256];
            for byte in 0..=u8::MAX {
                if let Some(drawn) = draw(&characters, byte) {
                    counts[usize::from(drawn)] += 1;
                }
            }
            let chances: BTreeSet<i32> = counts.into_iter().filter(|count| *count > 0).collect();
            assert_eq!(chances.len(), 1, "{alphabet}: {chances:?}");
        }
    }

    #[test]
    fn no_length_and_too_much_of_it_are_refused() {
        for length in [0, limits::VALUE_BYTES + 1] {
            let recipe = Recipe {
                length,
                alphabet: Alphabet::Hex,
            };
            assert_eq!(recipe.make().unwrap_err(), RecipeError::Length { length });
        }
        let pin = Recipe {
            length: 4,
            alphabet: Alphabet::Digits,
        };
        assert!((13.2..13.3).contains(&pin.bits()), "{}", pin.bits());
    }
}
