//! Sends an archive to a member that lags too far, as the file it is.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures::{Stream, stream};
use holdfast_proto::peer::v1 as wire;
use openraft::errors::ReplicationClosed;
use tokio::{fs::File, io::AsyncReadExt as _, sync::watch, time::timeout};

use crate::{
    options::{PeerNode, Purpose},
    peer::{append::unreachable, channels::Channels},
    record::{meta_to_wire, vote_of_wire, vote_to_wire},
    snapshot::SnapshotData,
    types::{NetworkError, Snapshot, SnapshotResponse, StreamingError, Vote},
};

/// Bytes of the file in one message.
const CHUNK_BYTES: usize = 256 * 1024;
/// A member that takes no chunk for so long is not listening any more.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// Longest time between the last chunk and the answer: checking and loading what was sent.
const INSTALL_LIMIT: Duration = Duration::from_secs(120);

/// Sends the archive and waits until the peer has installed it, or knows better.
pub(crate) async fn send(
    channels: &Arc<Channels>,
    peer: &PeerNode,
    vote: Vote,
    snapshot: Snapshot,
    cancel: impl Future<Output = ReplicationClosed> + Send,
) -> Result<SnapshotResponse, StreamingError> {
    let SnapshotData::Here(file) = snapshot.snapshot else {
        return Err(failed("an archive that is being received cannot be sent"));
    };
    let first = wire::SnapshotChunk {
        vote: Some(vote_to_wire(&vote)),
        meta: Some(meta_to_wire(&snapshot.meta)),
        data: bytes::Bytes::new(),
    };
    let (sent, progress) = watch::channel(Sent::default());
    let chunks = chunks(&file.path, first, sent)
        .await
        .map_err(|error| failed(&format!("the archive cannot be read: {error}")))?;
    let mut client = channels
        .client(peer, Purpose::Snapshot)
        .map_err(|error| StreamingError::from(unreachable(error.to_string())))?;
    let answer = tokio::select! {
        answer = client.install_snapshot(chunks) => answer,
        closed = cancel => return Err(StreamingError::Closed(closed)),
        () = stalled(progress) => {
            channels.forget(peer, Purpose::Snapshot);
            return Err(StreamingError::from(unreachable(format!(
                "node {} stopped taking the archive",
                peer.id
            ))));
        }
    };
    let answer = answer
        .map_err(|status| StreamingError::from(unreachable(status.message().to_owned())))?
        .into_inner();
    let vote = vote_of_wire(answer.vote).map_err(|error| failed(&error.to_string()))?;
    Ok(SnapshotResponse::new(vote))
}

#[derive(Default)]
struct Sent {
    chunks: u64,
    whole: bool,
}

async fn chunks(
    path: &Path,
    first: wire::SnapshotChunk,
    sent: watch::Sender<Sent>,
) -> std::io::Result<impl Stream<Item = wire::SnapshotChunk> + Send + 'static> {
    let file = File::open(path).await?;
    let start = (file, Some(first), sent);
    Ok(stream::unfold(
        start,
        |(mut file, first, sent)| async move {
            sent.send_modify(|sent| sent.chunks += 1);
            if let Some(first) = first {
                return Some((first, (file, None, sent)));
            }
            let mut data = BytesMut::with_capacity(CHUNK_BYTES);
            // A file that cannot be read to its end arrives short, and the peer refuses it whole.
            let read = file.read_buf(&mut data).await.unwrap_or(0);
            if read == 0 {
                sent.send_modify(|sent| sent.whole = true);
                return None;
            }
            let chunk = wire::SnapshotChunk {
                data: data.freeze(),
                ..Default::default()
            };
            Some((chunk, (file, None, sent)))
        },
    ))
}

/// Returns when nothing has moved for too long.
async fn stalled(mut progress: watch::Receiver<Sent>) {
    loop {
        let limit = if progress.borrow_and_update().whole {
            INSTALL_LIMIT
        } else {
            STALL_LIMIT
        };
        match timeout(limit, progress.changed()).await {
            Ok(Ok(())) => {}
            // The stream was taken whole and dropped: only the answer is missing.
            Ok(Err(_)) => {
                tokio::time::sleep(INSTALL_LIMIT).await;
                return;
            }
            Err(_) => return,
        }
    }
}

fn failed(why: &str) -> StreamingError {
    StreamingError::Network(NetworkError::from_string(why))
}
