//! Cluster time, for people and programs.

use holdfast_client::Timestamp;

/// RFC 3339 in UTC with milliseconds: the one form in JSON.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    format(at, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// To the second, UTC: for tables.
pub(crate) fn short(at: Timestamp) -> String {
    format(at, "%Y-%m-%d %H:%M:%S")
}

fn format(at: Timestamp, pattern: &str) -> String {
    i64::try_from(at.as_millis())
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(
            || format!("{} ms", at.as_millis()),
            |time| time.strftime(pattern).to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20.123Z");
        assert_eq!(short(at), "2023-11-14 22:13:20");
        assert_eq!(
            rfc3339(Timestamp::from_millis(u64::MAX)),
            format!("{} ms", u64::MAX)
        );
    }
}
