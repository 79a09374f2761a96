//! One flush at a time: whoever appends meanwhile shares the next one.
//!
//! Every [`Done`] is called exactly once, whatever happens to the flush: a callback that is merely
//! dropped would leave a write neither acknowledged nor refused.

use std::{io, sync::Arc};

use raft_log::Callback;

use super::{Done, LogError, Shared};

/// A flush on its way, with everybody who waits for it.
pub(super) struct Flush {
    shared: Arc<Shared>,
    waiting: Vec<Done>,
}

impl Flush {
    pub(super) fn new(shared: Arc<Shared>, waiting: Vec<Done>) -> Self {
        Self { shared, waiting }
    }

    fn finish(&mut self, outcome: Result<(), LogError>) {
        if let Err(error) = &outcome {
            self.shared.fail(error.to_string());
        }
        for done in std::mem::take(&mut self.waiting) {
            done(outcome.clone());
        }
        self.shared.flushed();
    }
}

impl Callback for Flush {
    fn send(mut self, outcome: io::Result<()>) {
        self.finish(outcome.map_err(|error| LogError::failed(&error)));
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if !self.waiting.is_empty() {
            let why = "the log's writer ended before the write was on disk".to_owned();
            self.finish(Err(LogError::Failed { why }));
        }
    }
}
