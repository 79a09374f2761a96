//! What a comparison asks of both sides, and what they answer.
//!
//! Revisions in an [`Operation`] are relative to where the side stood when the comparison began,
//! for the two sides stand at different ones; 0 stays 0, which means "now" or "never" to etcd.

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbCompare, PbDeleteRequest, PbDeleteResponse,
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse,
    PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse, PbPutRequest, PbPutResponse,
    PbRangeRequest, PbRangeResponse, PbTargetUnion, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp,
    PbTxnResponse,
};
use tonic::transport::Channel;

use super::wire::{self, Refusal};

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// KV.Range
    Range(PbRangeRequest),
    /// KV.Put
    Put(PbPutRequest),
    /// KV.DeleteRange
    Delete(PbDeleteRequest),
    /// KV.Txn
    Txn(PbTxnRequest),
    /// KV.Compact
    Compact(PbCompactionRequest),
    /// Lease.LeaseGrant
    Grant(PbLeaseGrantRequest),
    /// Lease.LeaseRevoke
    Revoke(PbLeaseRevokeRequest),
    /// Lease.LeaseKeepAlive, once
    KeepAlive(PbLeaseKeepAliveRequest),
    /// Lease.LeaseTimeToLive
    TimeToLive(PbLeaseTimeToLiveRequest),
    /// Lease.LeaseLeases
    Leases(PbLeaseLeasesRequest),
}

/// One answer that is no refusal.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Of KV.Range
    Range(PbRangeResponse),
    /// Of KV.Put
    Put(PbPutResponse),
    /// Of KV.DeleteRange
    Delete(PbDeleteResponse),
    /// Of KV.Txn
    Txn(PbTxnResponse),
    /// Of KV.Compact
    Compact(PbCompactionResponse),
    /// Of Lease.LeaseGrant
    Grant(PbLeaseGrantResponse),
    /// Of Lease.LeaseRevoke
    Revoke(PbLeaseRevokeResponse),
    /// Of Lease.LeaseKeepAlive
    KeepAlive(PbLeaseKeepAliveResponse),
    /// Of Lease.LeaseTimeToLive
    TimeToLive(PbLeaseTimeToLiveResponse),
    /// Of Lease.LeaseLeases
    Leases(PbLeaseLeasesResponse),
}

impl Operation {
    /// The kind of it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Range(_) => "range",
            Self::Put(_) => "put",
            Self::Delete(_) => "delete",
            Self::Txn(_) => "txn",
            Self::Compact(_) => "compact",
            Self::Grant(_) => "grant",
            Self::Revoke(_) => "revoke",
            Self::KeepAlive(_) => "keep alive",
            Self::TimeToLive(_) => "time to live",
            Self::Leases(_) => "leases",
        }
    }

    /// Whether it changes nothing, so that its place among other reads does not matter.
    pub fn reads(&self) -> bool {
        matches!(self, Self::Range(_) | Self::TimeToLive(_) | Self::Leases(_))
    }

    /// Whether a node answers it from what it has applied itself.
    pub fn is_local(&self) -> bool {
        let is_local = |step: &PbTxnRequestOp| matches!(&step.request, Some(PbTxnOpRequest::RequestRange(range)) if range.serializable);
        match self {
            Self::Range(range) => range.serializable,
            // etcd takes one that asks for nothing for such a one, too.
            Self::Txn(txn) => txn.success.iter().chain(&txn.failure).all(is_local),
            _ => false,
        }
    }

    /// Sends it to a side whose revisions begin after `base`.
    pub async fn send(&self, channel: &Channel, base: i64) -> Result<Answer, Refusal> {
        match self.at(base) {
            Self::Range(it) => {
                let answer = wire::call(channel, "/etcdserverpb.KV/Range", it).await;
                answer.map(Answer::Range)
            }
            Self::Put(it) => {
                let answer = wire::call(channel, "/etcdserverpb.KV/Put", it).await;
                answer.map(Answer::Put)
            }
            Self::Delete(it) => {
                let answer = wire::call(channel, "/etcdserverpb.KV/DeleteRange", it).await;
                answer.map(Answer::Delete)
            }
            Self::Txn(it) => {
                let answer = wire::call(channel, "/etcdserverpb.KV/Txn", it).await;
                answer.map(Answer::Txn)
            }
            Self::Compact(it) => {
                let answer = wire::call(channel, "/etcdserverpb.KV/Compact", it).await;
                answer.map(Answer::Compact)
            }
            Self::Grant(it) => {
                let answer = wire::call(channel, "/etcdserverpb.Lease/LeaseGrant", it).await;
                answer.map(Answer::Grant)
            }
            Self::Revoke(it) => {
                let answer = wire::call(channel, "/etcdserverpb.Lease/LeaseRevoke", it).await;
                answer.map(Answer::Revoke)
            }
            Self::KeepAlive(it) => wire::keep_alive(channel, it).await.map(Answer::KeepAlive),
            Self::TimeToLive(it) => {
                let answer = wire::call(channel, "/etcdserverpb.Lease/LeaseTimeToLive", it).await;
                answer.map(Answer::TimeToLive)
            }
            Self::Leases(it) => {
                let answer = wire::call(channel, "/etcdserverpb.Lease/LeaseLeases", it).await;
                answer.map(Answer::Leases)
            }
        }
    }

    /// The same with a side's own revisions.
    fn at(&self, base: i64) -> Self {
        let mut own = self.clone();
        match &mut own {
            Self::Range(range) => move_range(range, base),
            Self::Txn(txn) => move_txn(txn, base),
            Self::Compact(compaction) => move_revision(&mut compaction.revision, base),
            _ => {}
        }
        own
    }
}

fn move_revision(revision: &mut i64, base: i64) {
    if *revision != 0 {
        *revision += base;
    }
}

fn move_range(range: &mut PbRangeRequest, base: i64) {
    for revision in [
        &mut range.revision,
        &mut range.min_mod_revision,
        &mut range.max_mod_revision,
        &mut range.min_create_revision,
        &mut range.max_create_revision,
    ] {
        move_revision(revision, base);
    }
}

fn move_txn(txn: &mut PbTxnRequest, base: i64) {
    for PbCompare { target_union, .. } in &mut txn.compare {
        if let Some(PbTargetUnion::ModRevision(at) | PbTargetUnion::CreateRevision(at)) =
            target_union
        {
            move_revision(at, base);
        }
    }
    for PbTxnRequestOp { request } in txn.success.iter_mut().chain(&mut txn.failure) {
        match request {
            Some(PbTxnOpRequest::RequestRange(range)) => move_range(range, base),
            Some(PbTxnOpRequest::RequestTxn(txn)) => move_txn(txn, base),
            _ => {}
        }
    }
}
