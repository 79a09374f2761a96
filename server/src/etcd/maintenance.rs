//! etcd's Maintenance service: how the node is, hashes to compare, and a snapshot.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use holdfast_core::{ReadError, State};
use holdfast_proto::{
    KeyRange, NodeId, Revision,
    etcd::etcdserverpb::{
        AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeRequest,
        DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
        MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest,
        StatusResponse, maintenance_server::Maintenance,
    },
};
use holdfast_raft::ChangeError;
use tonic::{Request, Response, Status};

use super::{Front, convert, error, snapshot};
use crate::{cluster::local_status, deadline, kv::on_blocking_thread};

/// `etcdserverpb.Maintenance` of one node.
pub(super) struct MaintenanceService(pub(super) Arc<Front>);

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    /// There is never one: past a limit a write is refused, and that is all.
    async fn alarm(&self, _: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        Ok(Response::new(AlarmResponse {
            header: self.0.header_now(),
            alarms: Vec::new(),
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let host = &self.0.host;
        let replica = host.replica.status();
        let usage = host.read(State::usage);
        let size = convert::signed(usage.state_bytes);
        Ok(Response::new(StatusResponse {
            header: self.0.header_now(),
            version: API_VERSION.to_owned(),
            db_size: size,
            db_size_in_use: size,
            db_size_quota: convert::signed(holdfast_proto::limits::STATE_BYTES),
            leader: replica.leader.map_or(0, |leader| leader.0),
            raft_index: replica.committed.unwrap_or(0),
            raft_term: replica.term,
            raft_applied_index: host.replica.store().applied(),
            is_learner: replica.learners.contains(&host.id),
            errors: local_status(host).problems,
            storage_version: String::new(),
            downgrade_info: None,
        }))
    }

    /// Nothing to do: what is deleted gives its room back by itself. As with etcd, no head.
    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    /// Of the whole state: equal where members have applied the same.
    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let (hash, revision) = self.0.host.read(|state| (state.hash(), state.revision()));
        Ok(Response::new(HashResponse {
            header: self.0.header(revision),
            hash: crc32fast::hash(hash.as_bytes()),
        }))
    }

    /// Of all keys as they were at a revision: equal on all members that can read it.
    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let asked = u64::try_from(request.into_inner().revision).unwrap_or(0);
        let state = self.0.host.replica.store().view();
        let (newest, compacted) = (state.revision(), state.compacted());
        let at = if asked == 0 { newest } else { asked };
        let hash = match Revision::new(at) {
            Some(revision) => {
                on_blocking_thread(move || {
                    hash_at(&state, revision).map_err(|error| error::not_readable(&error))
                })
                .await?
            }
            None => 0,
        };
        Ok(Response::new(HashKvResponse {
            header: self.0.header(newest),
            hash,
            compact_revision: convert::signed(compacted),
            hash_revision: convert::signed(at),
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let blobs = snapshot::stream(&self.0, API_VERSION).await?;
        Ok(Response::new(Box::pin(blobs)))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let deadline = deadline::of(request.metadata());
        let host = &self.0.host;
        if host.leadership().leader != Some(host.id) {
            return Err(error::not_leader());
        }
        let target = NodeId(request.into_inner().target_id);
        if target != host.id {
            let moved = host
                .replica
                .transfer_leader(Some(target), deadline.into())
                .await;
            moved.map_err(|error| match error {
                ChangeError::NotLeader { .. } => error::not_leader(),
                ChangeError::NotMember { .. } => error::bad_transferee(),
                _ => error::timed_out(),
            })?;
        }
        Ok(Response::new(MoveLeaderResponse {
            header: self.0.header_now(),
        }))
    }

    async fn downgrade(
        &self,
        _: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        Err(error::unimplemented(
            "there is no downgrade here; restore a backup of the older version",
        ))
    }
}

fn hash_at(state: &State, revision: Revision) -> Result<u32, ReadError> {
    let mut hasher = crc32fast::Hasher::new();
    for row in state.range_at(&KeyRange::all(), revision)? {
        hasher.update(row.key.as_bytes());
        for number in [
            row.meta.created.get(),
            row.meta.revision.get(),
            row.meta.version,
            convert::lease_number(row.meta.lease).cast_unsigned(),
        ] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(row.meta.digest.as_bytes());
    }
    Ok(hasher.finalize())
}

/// The etcd whose API is served, for clients that look at versions before they use something.
const API_VERSION: &str = "3.6.0";
