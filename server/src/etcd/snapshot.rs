//! `Maintenance.Snapshot`: an archive of the whole state, in our format.
//!
//! It ends as a snapshot of etcd does, so that `etcdctl snapshot save` finds the checksum it looks
//! for: zeros up to whole sectors, then the SHA-256 of all before it. What reads archives stops at
//! their end mark and never sees that tail.

use std::{fs::File, io::Read as _, sync::Arc};

use bytes::Bytes;
use futures::{Stream, stream};
use holdfast_proto::etcd::etcdserverpb::SnapshotResponse;
use sha2::{Digest as _, Sha256};
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
        padding: left.next_multiple_of(SECTOR_BYTES) - left,
        sent: Some(Sha256::new()),
    };
    Ok(stream::try_unfold(pieces, Pieces::next))
}

struct Pieces {
    front: Arc<Front>,
    version: &'static str,
    file: File,
    /// Bytes of the archive that are not sent yet.
    left: u64,
    padding: u64,
    /// Of all that was sent; `None`: the checksum was, too.
    sent: Option<Sha256>,
}

impl Pieces {
    async fn next(mut self) -> Result<Option<(SnapshotResponse, Self)>, Status> {
        let Some(mut sent) = self.sent.take() else {
            return Ok(None);
        };
        let blob = if self.left > 0 {
            let piece;
            (piece, self) = on_blocking_thread(move || self.read()).await?;
            sent.update(&piece);
            self.sent = Some(sent);
            piece
        } else {
            let mut tail = vec![0; usize::try_from(self.padding).unwrap_or_default()];
            sent.update(&tail);
            tail.extend_from_slice(&sent.finalize());
            Bytes::from(tail)
        };
        let tail_bytes = match self.sent {
            Some(_) => self.padding + CHECKSUM_BYTES,
            None => 0,
        };
        let response = SnapshotResponse {
            header: self.front.header_now(),
            remaining_bytes: self.left + tail_bytes,
            blob,
            version: self.version.to_owned(),
        };
        Ok(Some((response, self)))
    }

    fn read(mut self) -> Result<(Bytes, Self), Status> {
        let size = self.left.min(PIECE_BYTES);
        let mut piece = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        match (&self.file).take(size).read_to_end(&mut piece) {
            Ok(read) if read > 0 => {
                self.left = self.left.saturating_sub(read as u64);
                Ok((Bytes::from(piece), self))
            }
            _ => Err(Status::new(
                Code::DataLoss,
                "the archive could not be read to its end; take the snapshot again",
            )),
        }
    }
}

const PIECE_BYTES: u64 = 64 * 1024;
/// What etcd's client takes the size of a database to be a multiple of.
const SECTOR_BYTES: u64 = 512;
const CHECKSUM_BYTES: u64 = 32;
