//! Settings that are texts: times with their unit, modes as `chmod` takes them.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

/// A time: `500ms`, `10s`, `5m`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) struct Span(Duration);

/// Permissions: `"0640"`. Neither set-user-id nor sticky.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(u32);

impl Span {
    pub(crate) const fn of(duration: Duration) -> Self {
        Self(duration)
    }

    pub(crate) fn get(self) -> Duration {
        self.0
    }
}

impl Mode {
    pub(crate) const fn of(bits: u32) -> Self {
        Self(bits & 0o777)
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let unit_ms = match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(no_span(text)),
        };
        let number: u64 = digits.parse().map_err(|_| no_span(text))?;
        let millis = number
            .checked_mul(unit_ms)
            .filter(|millis| (1..=LONGEST_MS).contains(millis));
        let millis = millis
            .ok_or_else(|| format!("{text:?} is no time at all, or too long; give 1ms to 8760h"))?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(text, 8) {
            Ok(bits @ 0..=0o777) if digits => Ok(Self(bits)),
            _ => Err(format!(
                "{text:?} is no mode; give one from \"0000\" to \"0777\", such as \"0640\""
            )),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

fn no_span(text: &str) -> String {
    format!("{text:?} is no time; give a number and its unit, such as 500ms, 10s, 5m or 2h")
}

/// A year.
const LONGEST_MS: u64 = 8_760 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_its_unit() {
        assert_eq!("500ms".parse(), Ok(Span::of(Duration::from_millis(500))));
        assert_eq!("2h".parse(), Ok(Span::of(Duration::from_secs(7_200))));
        for wrong in ["", "5", "s", "0s", "5 s", "-1s", "1.5s", "9999999h", "5é"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_mode_has_no_more_than_permissions() {
        assert_eq!("0640".parse(), Ok(Mode::of(0o640)));
        assert_eq!("750".parse(), Ok(Mode::of(0o750)));
        for wrong in ["", "64", "4755", "0888", "rw-r--r--", "+644", "00640"] {
            assert!(wrong.parse::<Mode>().is_err(), "{wrong:?} was taken");
        }
    }
}
