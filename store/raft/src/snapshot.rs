//! Snapshots are archives: one file, built beside the running state, sent as it is.
//!
//! Consensus treats a failed snapshot as fatal, so none is built on its request: the archivist
//! writes an archive first, and consensus is told of it when it is safely on disk.

use std::io;

use holdfast_disk::{ArchiveFile, ArchiveJob, IncomingArchive};
use openraft::RaftSnapshotBuilder;

use crate::types::{Snapshot, SnapshotMeta, Types};

/// The bytes of a snapshot.
pub(crate) enum SnapshotData {
    /// An archive of this node.
    Here(ArchiveFile),
    /// One that a leader sent, not yet installed.
    Received(IncomingArchive),
}

/// Hands a snapshot to consensus.
pub(crate) enum Builder {
    /// Written already.
    Ready(SnapshotMeta, ArchiveFile),
    /// To be written now.
    Job(SnapshotMeta, Option<ArchiveJob>),
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (meta, file) = match self {
            Self::Ready(meta, file) => (meta.clone(), file.clone()),
            Self::Job(meta, job) => {
                let job = job
                    .take()
                    .ok_or_else(|| io::Error::other("this archive was already written"))?;
                (meta.clone(), write(job).await?)
            }
        };
        Ok(Snapshot {
            meta,
            snapshot: SnapshotData::Here(file),
        })
    }
}

/// Writes an archive on a thread that may block.
pub(crate) async fn write(job: ArchiveJob) -> Result<ArchiveFile, io::Error> {
    tokio::task::spawn_blocking(move || job.write())
        .await
        .map_err(io::Error::other)?
        .map_err(io::Error::other)
}
