//! A server while it serves, and how it ends: new connections stop, the old ones are told to go
//! elsewhere and end with their requests, and what still hangs then is cut.

use std::{fmt, future::Future, time::Duration};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// One running server.
pub(crate) struct Running {
    /// Cancelled: no new connections, and the old ones are told to go elsewhere.
    stop: CancellationToken,
    /// Cancelled when nothing is served any more.
    ended: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Running {
    /// Runs what `serve` makes of the signal to stop. `what` names it in the log, should it end
    /// with an error.
    pub(crate) fn begin<F, E>(
        what: &'static str,
        serve: impl FnOnce(WaitForCancellationFutureOwned) -> F,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (served, end) = (serve(stop.clone().cancelled_owned()), ended.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "{what} ended");
            }
            end.cancel();
        });
        Self {
            stop,
            ended,
            task: Mutex::new(Some(task)),
        }
    }

    /// No new connections; the old ones are told to go elsewhere, and end with their requests.
    pub(crate) fn stop_accepting(&self) {
        self.stop.cancel();
    }

    /// Waits for the connections to close, but no longer than `most`.
    pub(crate) async fn end(&self, most: Duration) {
        self.stop.cancel();
        let Some(task) = self.task.lock().take() else {
            return;
        };
        let abort = task.abort_handle();
        if tokio::time::timeout(most, task).await.is_err() {
            abort.abort();
        }
        self.ended.cancel();
    }

    /// Returns when nothing is served any more.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}
