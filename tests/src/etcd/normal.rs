//! Answers with all taken out that two stores may rightly say differently.
//!
//! That is: who answered (cluster, member, term), at which revision the store stood when the
//! comparison began, how many seconds a lease has left, and the order where etcd promises none; and
//! the leases of keys that are asked for without their values, which etcd left out with 3.7. All else must be equal to the letter.

use etcd_client::proto::{
    PbEvent, PbKeyValue, PbResponseHeader, PbResponseOp, PbTxnOpResponse, PbTxnResponse,
};

use super::operation::{Answer, Operation};

/// The answer of a side whose revisions begin after `base`.
pub fn answer(asked: &Operation, answer: Answer, base: i64) -> Answer {
    let mut normal = answer;
    match &mut normal {
        Answer::Range(it) => {
            header(&mut it.header, base);
            pairs(&mut it.kvs, base);
            if matches!(asked, Operation::Range(range) if range.keys_only) {
                it.kvs.iter_mut().for_each(|pair| pair.lease = 0);
            }
        }
        Answer::Put(it) => {
            header(&mut it.header, base);
            pairs(&mut it.prev_kv, base);
        }
        Answer::Delete(it) => {
            header(&mut it.header, base);
            pairs(&mut it.prev_kvs, base);
        }
        Answer::Txn(it) => txn(it, base),
        Answer::Compact(it) => header(&mut it.header, base),
        Answer::Grant(it) => {
            header(&mut it.header, base);
            if !(1..=LARGEST_OF_OURS).contains(&it.id) {
                it.id = CHOSEN_BY_THE_STORE;
            }
        }
        Answer::Revoke(it) => header(&mut it.header, base),
        Answer::KeepAlive(it) => header(&mut it.header, base),
        Answer::TimeToLive(it) => {
            header(&mut it.header, base);
            // A lease of a test lasts so long that a test's own time is less than this.
            if (it.granted_ttl - SLACK_SECONDS..=it.granted_ttl).contains(&it.ttl) {
                it.ttl = it.granted_ttl;
            }
            it.keys.sort();
        }
        Answer::Leases(it) => {
            header(&mut it.header, base);
            it.leases.sort_by_key(|lease| lease.id);
        }
    }
    normal
}

/// An event of a watch.
pub fn event(event: &PbEvent, base: i64) -> PbEvent {
    let mut normal = event.clone();
    pairs(&mut normal.kv, base);
    pairs(&mut normal.prev_kv, base);
    normal
}

fn txn(answer: &mut PbTxnResponse, base: i64) {
    header(&mut answer.header, base);
    for PbResponseOp { response } in &mut answer.responses {
        match response {
            Some(PbTxnOpResponse::ResponseRange(it)) => {
                header(&mut it.header, base);
                pairs(&mut it.kvs, base);
            }
            Some(PbTxnOpResponse::ResponsePut(it)) => {
                header(&mut it.header, base);
                pairs(&mut it.prev_kv, base);
            }
            Some(PbTxnOpResponse::ResponseDeleteRange(it)) => {
                header(&mut it.header, base);
                pairs(&mut it.prev_kvs, base);
            }
            Some(PbTxnOpResponse::ResponseTxn(it)) => txn(it, base),
            None => {}
        }
    }
}

fn header(header: &mut Option<PbResponseHeader>, base: i64) {
    if let Some(header) = header {
        header.cluster_id = 0;
        header.member_id = 0;
        header.raft_term = 0;
        revision(&mut header.revision, base);
    }
}

fn pairs<'a>(pairs: impl IntoIterator<Item = &'a mut PbKeyValue>, base: i64) {
    for pair in pairs {
        revision(&mut pair.create_revision, base);
        revision(&mut pair.mod_revision, base);
    }
}

/// 0 stays 0: "never".
fn revision(revision: &mut i64, base: i64) {
    if *revision != 0 {
        *revision -= base;
    }
}

/// Leases with ids up to here are named by us, larger ones by the store.
pub const LARGEST_OF_OURS: i64 = 1_000_000;
const CHOSEN_BY_THE_STORE: i64 = -1;
const SLACK_SECONDS: i64 = 600;
