//! Snapshots are archives: one file, built beside the running state, sent as it is.
//!
//! Consensus treats a failed snapshot as fatal, so none is built on its request: the archivist
//! writes an archive first, and consensus is told of it when it is safely on disk.

use std::{io, sync::Arc};

use holdfast_disk::{ArchiveFile, ArchiveJob, IncomingArchive};
use openraft::RaftSnapshotBuilder;
use parking_lot::Mutex;

use crate::{
    aside::aside,
    types::{Snapshot, SnapshotMeta, Types},
};

/// The bytes of a snapshot.
pub(crate) enum SnapshotData {
    /// An archive of this node.
    Here(ArchiveFile),
    /// One that a leader sent, not yet installed.
    Received(IncomingArchive),
}

/// The newest archive and what it says of itself.
#[derive(Clone, Default)]
pub(crate) struct Newest(Arc<Mutex<Option<(SnapshotMeta, ArchiveFile)>>>);

impl Newest {
    pub(crate) fn get(&self) -> Option<(SnapshotMeta, ArchiveFile)> {
        self.0.lock().clone()
    }

    /// Whatever it was before.
    pub(crate) fn replace(&self, meta: SnapshotMeta, file: ArchiveFile) {
        *self.0.lock() = Some((meta, file));
    }

    /// Unless a newer one came meanwhile.
    pub(crate) fn advance(&self, meta: SnapshotMeta, file: ArchiveFile) {
        let mut newest = self.0.lock();
        let known = newest.as_ref().and_then(|(meta, _)| meta.last_log_id);
        if meta.last_log_id >= known {
            *newest = Some((meta, file));
        }
    }
}

/// Hands a snapshot to consensus.
pub(crate) enum Builder {
    /// Written already.
    Ready(SnapshotMeta, ArchiveFile),
    /// To be written now.
    Job(SnapshotMeta, Option<ArchiveJob>, Newest),
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (meta, file) = match self {
            Self::Ready(meta, file) => (meta.clone(), file.clone()),
            Self::Job(meta, job, newest) => {
                let job = job
                    .take()
                    .ok_or_else(|| io::Error::other("this archive was already written"))?;
                let file = write(job).await?;
                newest.advance(meta.clone(), file.clone());
                (meta.clone(), file)
            }
        };
        Ok(Snapshot {
            meta,
            snapshot: SnapshotData::Here(file),
        })
    }
}

/// Writes an archive on a thread of its own.
pub(crate) async fn write(job: ArchiveJob) -> Result<ArchiveFile, io::Error> {
    aside("archive", move || job.write())
        .await?
        .map_err(io::Error::other)
}
