//! Until when a caller waits: `grpc-timeout`, less what the way back takes.

use std::time::{Duration, Instant};

use tonic::{Status, metadata::MetadataMap};

use holdfast_proto::deadline::timeout;

use crate::status::Reason;

/// When a caller stops waiting for a short call. The answer must leave before that, because an
/// answer that says "nothing was written" is worth more than a cut connection.
pub(crate) fn of(metadata: &MetadataMap) -> Instant {
    let timeout = timeout(metadata).unwrap_or(DEFAULT).min(LONGEST);
    Instant::now() + timeout - (timeout / 10).min(WAY_BACK)
}

/// As [`of`] for calls that wait on purpose: `None` where the caller set no limit.
pub(crate) fn of_wait(metadata: &MetadataMap) -> Option<Instant> {
    let timeout = timeout(metadata)?;
    Instant::now().checked_add(timeout - (timeout / 10).min(WAY_BACK))
}

/// Returns when `deadline` passes; never without one.
pub(crate) async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The deadline passed while waiting.
pub(crate) fn too_late() -> Status {
    Reason::Deadline.status("the deadline passed while waiting; ask again with a longer one")
}

/// Where the caller names none.
const DEFAULT: Duration = Duration::from_secs(10);
/// However long the caller would wait, a short call does not.
const LONGEST: Duration = Duration::from_secs(120);
/// Kept for the answer.
const WAY_BACK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(timeout: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
        metadata
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("9u", Some(Duration::from_micros(9))),
            ("9n", Some(Duration::from_nanos(9))),
            ("9x", None),
            ("S", None),
            ("123456789S", None),
        ] {
            assert_eq!(timeout(&metadata(text)), expected, "{text}");
        }
        assert_eq!(timeout(&MetadataMap::new()), None);
    }

    #[test]
    fn the_answer_leaves_before_the_caller_hangs_up() {
        let deadline = of(&metadata("1S"));
        assert!(deadline < Instant::now() + Duration::from_millis(951));
        assert!(of_wait(&MetadataMap::new()).is_none());
    }
}
