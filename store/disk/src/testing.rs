//! What the tests of this crate share.

use std::time::{Duration, Instant};

/// Waits until `true`, at most ten seconds.
pub(crate) fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "it did not happen within ten seconds"
        );
        std::thread::yield_now();
    }
}
