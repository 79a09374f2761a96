//! Writes archives and cuts the log behind them.
//!
//! An archive is due when the log grew by more than the larger of a fixed size and the last
//! archive, so writing archives never costs more than writing the log did. It is a clone of the
//! state, written by a thread of its own while entries are applied. The log is cut only below an
//! archive that is on disk, and a tail of it is kept for members that lag a little.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    errors::ArchiveError,
    progress::Progress,
    room::Room,
    snapshot::write,
    types::{Fatal, Raft},
};

/// Between two attempts when an archive could not be written.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Longest wait for consensus to take note of an archive.
const NOTED_LIMIT: Duration = Duration::from_secs(5);

pub(crate) type Request = oneshot::Sender<Result<u64, ArchiveError>>;

/// Everything that an archive needs.
pub(crate) struct Archivist {
    pub(crate) raft: Raft,
    pub(crate) progress: Arc<Progress>,
    pub(crate) room: Room,
    pub(crate) after_bytes: u64,
    pub(crate) requests: mpsc::Receiver<Request>,
}

impl Archivist {
    /// Until the replica ends.
    pub(crate) async fn run(mut self) {
        loop {
            let asked_by = tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => Some(request),
                    None => return,
                },
                () = self.progress.due() => None,
            };
            let outcome = self.archive().await;
            match (&outcome, asked_by) {
                (_, Some(request)) => drop(request.send(outcome)),
                (Err(ArchiveError::Stopped { .. }), None) => return,
                (Err(error), None) => {
                    tracing::warn!("{error}; it will be tried again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                (Ok(index), None) => tracing::debug!(index, "archived"),
            }
        }
    }

    /// Writes one archive and says at which index it ends.
    async fn archive(&mut self) -> Result<u64, ArchiveError> {
        if let Some(why) = self.room.lacking() {
            return Err(ArchiveError::Write { why });
        }
        let grown = self.progress.grown();
        let (meta, job) = self
            .raft
            .with_state_machine(|machine| {
                let prepared = machine.prepare();
                Box::pin(async move { prepared })
            })
            .await
            .map_err(stopped)?;
        let end = meta.last_log_id;
        if end.is_none() {
            return Err(ArchiveError::Empty);
        }
        let file = write(job)
            .await
            .map_err(|error: io::Error| ArchiveError::Write {
                why: error.to_string(),
            })?;
        self.progress
            .archived(grown, self.after_bytes.max(file.bytes));
        self.raft
            .with_state_machine(move |machine| {
                machine.archived(meta, file);
                Box::pin(async {})
            })
            .await
            .map_err(stopped)?;
        self.raft.trigger().snapshot().await.map_err(stopped)?;
        let mut noted = self.raft.watch_snapshot_progress();
        // Not fatal: without the note the log is merely cut at the next archive.
        drop(tokio::time::timeout(NOTED_LIMIT, noted.wait_until_ge(&end)).await);
        let index = end.map_or(0, |id| id.index);
        if let Some(behind) = self.progress.behind() {
            let upto = behind.min(index);
            self.raft.trigger().purge_log(upto).await.map_err(stopped)?;
        }
        Ok(index)
    }
}

fn stopped(fatal: Fatal) -> ArchiveError {
    ArchiveError::Stopped {
        why: fatal.to_string(),
    }
}
