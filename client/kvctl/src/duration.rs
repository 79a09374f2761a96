//! Durations as people write them: a number and its unit.

use std::time::Duration;

/// Parses `500ms`, `10s`, `5m`, `2h` or `7d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("give a number and its unit, such as 500ms, 10s, 5m, 2h or 7d".to_owned()),
    };
    let millis = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms))
        .filter(|millis| *millis <= LONGEST_MS);
    match millis {
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => Err(format!("{digits:?} is no whole number, or too long a time")),
    }
}

/// As [`parse`], but not nothing.
pub(crate) fn parse_some(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("that is no time at all; give it some, such as 500ms".to_owned()),
        some => Ok(some),
    }
}

/// A duration in its largest whole units: `1h 5m`, `3.2 s`.
pub(crate) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A year.
const LONGEST_MS: u64 = 365 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        for wrong in [
            "",
            "5",
            "s",
            "5 s",
            "-1s",
            "1.5s",
            "5w",
            "9999999999d",
            "5é",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_duration_is_shown_in_units_that_fit() {
        for (millis, shown) in [
            (7, "7 ms"),
            (3_210, "3.2 s"),
            (65_000, "1m 5s"),
            (3_900_000, "1h 5m"),
            (176_400_000, "2d 1h"),
        ] {
            assert_eq!(show(Duration::from_millis(millis)), shown);
        }
    }
}
