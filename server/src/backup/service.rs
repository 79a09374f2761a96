//! `holdfast.v1.Backup`, and what a node does for other nodes with the backups in its folder.

use std::{
    io::Read as _,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use holdfast_proto::{
    NodeId,
    v1::{self, backup_server},
};
use holdfast_raft::PeerNode;
use holdfast_seal::stream::Unlock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    BackupError, BackupReader, Lock, Trust,
    drill::{Drilled, drill, verify},
    folder::Listed,
    making::blocking,
};
use crate::{
    deadline,
    host::Host,
    peers::{request_until, request_within},
    status::Reason,
};

/// `holdfast.v1.Backup` of one node.
pub(crate) struct BackupService {
    host: Arc<Host>,
}

impl BackupService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self { host }
    }

    /// The member that is meant, if it is another than this node.
    fn other(&self, member: u64) -> Result<Option<PeerNode>, Status> {
        if member == 0 || member == self.host.id.0 {
            return Ok(None);
        }
        let peer = self.host.peer(NodeId(member)).ok_or_else(|| {
            Reason::MemberMissing.status(format!(
                "there is no member {member} to ask; list the members to see who there is"
            ))
        })?;
        Ok(Some(peer))
    }
}

/// A backup as it is handed out.
pub(crate) type Parts = Pin<Box<dyn Stream<Item = Result<v1::BackupPart, Status>> + Send>>;

#[tonic::async_trait]
impl backup_server::Backup for BackupService {
    async fn create(
        &self,
        request: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<v1::CreateBackupResponse>, Status> {
        let until = until(&request);
        let request = request.into_inner();
        let Some(peer) = self.other(request.member)? else {
            return create(&self.host).await.map(Response::new);
        };
        let mut peer = self.host.peers.bulk_client(&peer)?;
        peer.create_backup(request_until(request, until)).await
    }

    async fn list(
        &self,
        _: Request<v1::ListBackupsRequest>,
    ) -> Result<Response<v1::ListBackupsResponse>, Status> {
        let mut all = list(&self.host).await?;
        let others = self.host.replica.status().nodes;
        let others = others.into_iter().filter(|node| node.id != self.host.id);
        let asked = others.map(|peer| async move {
            let asking = async {
                let mut client = self.host.peers.client(&peer)?;
                let request = request_within(v1::ListBackupsRequest {}, ANSWER);
                client.list_backups(request).await
            };
            let answer = tokio::time::timeout(ANSWER, asking).await;
            let answer = answer.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")));
            answer.map_err(|status| {
                let (name, why) = (&peer.name, status.message());
                format!("the backups of {name} are not known: {why}")
            })
        });
        for answer in futures::future::join_all(asked).await {
            match answer {
                Ok(answer) => all.backups.extend(answer.into_inner().backups),
                Err(problem) => all.problems.push(problem),
            }
        }
        all.backups
            .sort_by(|a, b| (b.at_ms, &a.name).cmp(&(a.at_ms, &b.name)));
        Ok(Response::new(all))
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyBackupRequest>,
    ) -> Result<Response<v1::VerifyBackupResponse>, Status> {
        let until = until(&request);
        let request = request.into_inner();
        let Some(peer) = self.other(request.member)? else {
            return check(&self.host, request).await.map(Response::new);
        };
        let mut peer = self.host.peers.bulk_client(&peer)?;
        peer.verify_backup(request_until(request, until)).await
    }

    type FetchStream = Parts;

    async fn fetch(
        &self,
        request: Request<v1::FetchBackupRequest>,
    ) -> Result<Response<Parts>, Status> {
        let request = request.into_inner();
        let Some(peer) = self.other(request.member)? else {
            return fetch(&self.host, request).await.map(Response::new);
        };
        let mut peer = self.host.peers.bulk_client(&peer)?;
        let there = peer.fetch_backup(request).await?.into_inner();
        let closing = self.host.closing.clone();
        Ok(Response::new(Box::pin(
            there.take_until(closing.cancelled_owned()),
        )))
    }
}

/// Makes one here. It is made to its end, whether or not somebody waits for it.
pub(crate) async fn create(host: &Arc<Host>) -> Result<v1::CreateBackupResponse, Status> {
    host.founded()?;
    let (begun, making) = (Instant::now(), host.clone());
    let made = tokio::spawn(async move { making.backups.make(&making, false).await });
    let made = made.await.map_err(|error| {
        Reason::Internal.status(format!("making the backup ended early: {error}"))
    })?;
    let path = made.map_err(failed)?;
    let read = BackupReader::open(&path);
    Ok(v1::CreateBackupResponse {
        header: host.header_now(),
        backup: Some(describe(host, &Listed { path, read })),
        took_ms: millis(begun.elapsed()),
    })
}

/// Those that are here, the newest first.
pub(crate) async fn list(host: &Arc<Host>) -> Result<v1::ListBackupsResponse, Status> {
    let folder = host.backups.folder().clone();
    let listed = blocking(move || folder.list()).await.map_err(failed)?;
    Ok(v1::ListBackupsResponse {
        header: host.header_now(),
        backups: listed.iter().map(|listed| describe(host, listed)).collect(),
        problems: Vec::new(),
    })
}

/// Checks one that is here, and as a drill also restores it for a moment.
pub(crate) async fn check(
    host: &Arc<Host>,
    request: v1::VerifyBackupRequest,
) -> Result<v1::VerifyBackupResponse, Status> {
    let _alone = host.backups.alone().await;
    let (begun, checking) = (Instant::now(), host.clone());
    let checked = blocking(move || {
        let folder = checking.backups.folder();
        let path = folder.find(&request.name)?;
        let trust = Trust::Authority(checking.backups.dir().signer()?.authority);
        let lock = match checking.keys.node() {
            Some(key) => Lock::Key(Unlock::Member(checking.id.0, key)),
            None => Lock::None,
        };
        let contents = verify(BackupReader::open(&path)?, &trust, &lock)?;
        let mut found = Drilled {
            keys: contents.state.usage().keys,
            past_rows: contents.past_rows,
            state_hash: *contents.state.hash().as_bytes(),
        };
        // Before it is there a second time.
        drop(contents);
        if request.drill {
            let scratch = folder.scratch(checking.replica.now_ms())?;
            found = drill(BackupReader::open(&path)?, &trust, &lock, scratch.path())?;
        }
        let read = BackupReader::open(&path);
        Ok((describe(&checking, &Listed { path, read }), found))
    });
    let (backup, found) = checked.await.map_err(failed)?;
    Ok(v1::VerifyBackupResponse {
        header: host.header_now(),
        backup: Some(backup),
        keys: found.keys,
        past_rows: found.past_rows,
        state_hash: Bytes::copy_from_slice(&found.state_hash),
        took_ms: millis(begun.elapsed()),
    })
}

/// Hands out one that is here.
pub(crate) async fn fetch(
    host: &Arc<Host>,
    request: v1::FetchBackupRequest,
) -> Result<Parts, Status> {
    let folder = host.backups.folder().clone();
    let opened = blocking(move || {
        let path = folder.find(&request.name)?;
        let file = std::fs::File::open(&path);
        let file = file.map_err(|error| BackupError::io(&path, "read", error))?;
        Ok((path, file))
    });
    let (path, file) = opened.await.map_err(failed)?;
    let (parts, receiver) = mpsc::channel(PARTS);
    tokio::task::spawn_blocking(move || hand_out(&path, file, &parts));
    let closing = host.closing.clone();
    let parts = ReceiverStream::new(receiver).take_until(closing.cancelled_owned());
    Ok(Box::pin(parts))
}

/// Sends a file piece by piece, until it ends or nobody wants more.
fn hand_out(
    path: &Path,
    mut file: std::fs::File,
    parts: &mpsc::Sender<Result<v1::BackupPart, Status>>,
) {
    loop {
        let mut data = Vec::with_capacity(PART_BYTES);
        let read = (&mut file).take(PART_BYTES as u64).read_to_end(&mut data);
        let part = match read {
            Ok(0) => return,
            Ok(_) => Ok(v1::BackupPart { data: data.into() }),
            Err(error) => Err(failed(BackupError::io(path, "read", error))),
        };
        let is_last = part.is_err();
        if parts.blocking_send(part).is_err() || is_last {
            return;
        }
    }
}

fn describe(host: &Host, listed: &Listed) -> v1::BackupFile {
    let name = listed.path.file_name().unwrap_or_default();
    let file = v1::BackupFile {
        member: host.id.0,
        member_name: host.name.to_string(),
        name: name.to_string_lossy().into_owned(),
        ..v1::BackupFile::default()
    };
    match &listed.read {
        Ok(backup) => {
            let header = backup.header();
            v1::BackupFile {
                bytes: backup.bytes(),
                at_ms: header.at_ms,
                index: header.index,
                revision: header.revision,
                keys: header.keys,
                sealed: backup.is_sealed(),
                scheduled: header.scheduled,
                epoch: header.epoch,
                state_hash: header.state_hash.clone(),
                cluster_id: header.cluster_id.clone(),
                ..file
            }
        }
        Err(error) => v1::BackupFile {
            problem: error.told(),
            ..file
        },
    }
}

/// Until when a caller waits. Without a limit of his own: as long as the largest state may take.
fn until<T>(request: &Request<T>) -> Instant {
    deadline::of_wait(request.metadata()).unwrap_or_else(|| Instant::now() + LONGEST)
}

/// What somebody is told whose backup was not made, found or good.
fn failed(error: BackupError) -> Status {
    tracing::warn!(%error, "what was asked of a backup was not done");
    Reason::NotPossible.status(error.told())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A member that takes longer to list its folder counts as unreachable.
const ANSWER: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(3_600);
/// Of a file, in one message.
const PART_BYTES: usize = 256 * 1024;
/// Messages that are read ahead.
const PARTS: usize = 4;
