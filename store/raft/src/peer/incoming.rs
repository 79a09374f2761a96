//! Receives an archive from the leader and installs it.

use holdfast_disk::{ArchiveError, Store};
use holdfast_proto::peer::v1 as wire;
use tokio::task::spawn_blocking;
use tonic::{Status, Streaming};

use crate::{
    record::{meta_of_wire, vote_of_wire, vote_to_wire},
    snapshot::SnapshotData,
    types::{Raft, Snapshot},
};

/// Chunks gathered before they are written, bytes.
const WRITE_BYTES: usize = 4 * 1024 * 1024;

/// Takes the whole archive to disk, has it checked, and only then tells consensus: a damaged one
/// must not stop this node.
pub(crate) async fn receive(
    raft: &Raft,
    store: &Store,
    mut chunks: Streaming<wire::SnapshotChunk>,
) -> Result<wire::SnapshotResponse, Status> {
    let first = chunks
        .message()
        .await?
        .ok_or_else(|| Status::invalid_argument("the archive has no first chunk"))?;
    let vote = vote_of_wire(first.vote)
        .map_err(|_| Status::invalid_argument("the archive's first chunk has no vote"))?;
    let meta = first
        .meta
        .ok_or_else(|| Status::invalid_argument("the archive's first chunk has no description"))?;
    let store_of_write = store.clone();
    let mut incoming = blocking(move || store_of_write.incoming()).await?;
    let mut gathered = vec![first.data];
    let mut bytes = 0;
    loop {
        let chunk = chunks.message().await?;
        let is_last = chunk.is_none();
        if let Some(chunk) = chunk {
            bytes += chunk.data.len();
            gathered.push(chunk.data);
        }
        if is_last || bytes >= WRITE_BYTES {
            let parts = std::mem::take(&mut gathered);
            bytes = 0;
            incoming = blocking(move || {
                for part in parts {
                    incoming.write(&part)?;
                }
                Ok::<_, ArchiveError>(incoming)
            })
            .await?;
        }
        if is_last {
            break;
        }
    }
    let checker = store.clone();
    let incoming = blocking(move || checker.check(&incoming).map(|()| incoming)).await?;
    let snapshot = Snapshot {
        meta: meta_of_wire(meta).map_err(|error| Status::invalid_argument(error.to_string()))?,
        snapshot: SnapshotData::Received(incoming),
    };
    let answer = raft
        .install_full_snapshot(vote, snapshot)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(wire::SnapshotResponse {
        vote: Some(vote_to_wire(&answer.vote)),
    })
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Status>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    spawn_blocking(work)
        .await
        .map_err(|_| Status::internal("the archive's writer stopped"))?
        .map_err(|error| {
            tracing::warn!("an archive from the leader was not taken: {error}");
            Status::unavailable("the archive could not be stored")
        })
}
