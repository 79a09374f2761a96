//! `Maintenance.Snapshot`: an archive of the whole state, in our format.

use std::{fs::File, io::Read as _, sync::Arc};

use bytes::Bytes;
use futures::{Stream, stream};
use holdfast_proto::etcd::etcdserverpb::SnapshotResponse;
use tonic::{Code, Status};

use super::Front;
use crate::kv::on_blocking_thread;

/// Writes an archive of now, and gives it out piece by piece.
pub(super) async fn stream(
    front: &Arc<Front>,
    version: &'static str,
) -> Result<impl Stream<Item = Result<SnapshotResponse, Status>> + Send + use<>, Status> {
    let failed = |error: &dyn std::fmt::Display| {
        Status::new(
            Code::Unavailable,
            format!("no archive was written: {error}"),
        )
    };
    let store = front.host.replica.store().clone();
    front
        .host
        .replica
        .archive_now()
        .await
        .map_err(|error| failed(&error))?;
    // Opened at once: a newer archive may take its place while it is sent.
    let (file, left) = on_blocking_thread(move || {
        let archive = store
            .newest_archive()
            .ok_or_else(|| failed(&"it is gone already; try again"))?;
        let file = File::open(&archive.path).map_err(|error| failed(&error))?;
        Ok((file, archive.bytes))
    })
    .await?;
    let pieces = Pieces {
        front: front.clone(),
        version,
        file,
        left,
    };
    Ok(stream::try_unfold(pieces, Pieces::next))
}

struct Pieces {
    front: Arc<Front>,
    version: &'static str,
    file: File,
    left: u64,
}

impl Pieces {
    async fn next(mut self) -> Result<Option<(SnapshotResponse, Self)>, Status> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut pieces = on_blocking_thread(move || {
            let size = self.left.min(PIECE_BYTES);
            let mut piece = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
            let read = (&self.file).take(size).read_to_end(&mut piece);
            match read {
                Ok(read) if read > 0 => {
                    self.left = self.left.saturating_sub(read as u64);
                    Ok((Bytes::from(piece), self))
                }
                _ => Err(Status::new(
                    Code::DataLoss,
                    "the archive could not be read to its end; take the snapshot again",
                )),
            }
        })
        .await?;
        let response = SnapshotResponse {
            header: pieces.1.front.header_now(),
            remaining_bytes: pieces.1.left,
            blob: std::mem::take(&mut pieces.0),
            version: pieces.1.version.to_owned(),
        };
        Ok(Some((response, pieces.1)))
    }
}

const PIECE_BYTES: u64 = 64 * 1024;
