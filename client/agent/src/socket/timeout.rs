//! How long a caller waits: `grpc-timeout`, less what the way back takes.

use std::time::Duration;

use holdfast_proto::deadline;
use tonic::metadata::MetadataMap;

/// How long an answer may take, so that it arrives before the caller hangs up: what it says of a write
/// is worth more than a cut connection.
pub(super) fn of(metadata: &MetadataMap, otherwise: Duration) -> Duration {
    let timeout = deadline::timeout(metadata)
        .unwrap_or(otherwise)
        .min(LONGEST);
    timeout - (timeout / 4).min(WAY_BACK)
}

/// As the SDK: a session that was quiet for longer may be forgotten by the store.
const LONGEST: Duration = Duration::from_secs(300);
const WAY_BACK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_leaves_before_the_caller_hangs_up() {
        for (text, expected_ms) in [("1S", 950), ("100m", 75), ("9H", 299_950), ("x", 950)] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            let timeout = of(&metadata, Duration::from_secs(1));
            assert_eq!(timeout, Duration::from_millis(expected_ms), "{text}");
        }
    }
}
