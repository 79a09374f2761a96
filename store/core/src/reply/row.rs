//! What a kept reply counts for, and what it adds to its row's hash.

use crate::{
    entry::Found,
    hash::RowBuffer,
    reply::{OperationResult, RangeResult, Refusal, Reply, ReplyBody, TransactionResult},
};

/// What an entry in a reply costs beside its value, bytes.
const FOUND_OVERHEAD: u64 = 128;

impl Reply {
    /// What it carries, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.body {
            ReplyBody::Done | ReplyBody::LeaseGranted { .. } | ReplyBody::Admitted { .. } => 0,
            ReplyBody::Transact(result) => transaction_bytes(result),
            ReplyBody::Put(result) => founds_bytes(result.previous.as_slice(), false),
            ReplyBody::Delete(result) => founds_bytes(&result.previous, false),
            ReplyBody::FleetTaken { refused } => (refused.len() * 4) as u64,
            ReplyBody::Refused(refusal) => {
                let key = refusal.key.as_ref().map_or(0, |key| key.as_bytes().len());
                (refusal.message.len() + key + refusal.limit.len()) as u64
            }
        }
    }

    pub(crate) fn add_to_row(&self, row: RowBuffer) -> RowBuffer {
        let row = row.number(self.revision);
        match &self.body {
            ReplyBody::Done => row.number(1),
            ReplyBody::Transact(result) => transaction_row(row.number(2), result),
            ReplyBody::Put(result) => founds_row(row.number(3), result.previous.as_slice(), false),
            ReplyBody::Delete(result) => founds_row(
                row.number(4).number(result.deleted),
                &result.previous,
                false,
            ),
            ReplyBody::LeaseGranted { lease, ttl_ms } => {
                row.number(5).number(lease.get()).number(*ttl_ms)
            }
            ReplyBody::Admitted { id, role } => row.number(6).number(id.0).number(role.number()),
            ReplyBody::Refused(refusal) => refusal_row(row.number(7), refusal),
            ReplyBody::FleetTaken { refused } => {
                let row = row.number(8).number(refused.len() as u64);
                let places = refused.iter();
                places.fold(row, |row, place| row.number(u64::from(*place)))
            }
        }
    }
}

fn transaction_bytes(result: &TransactionResult) -> u64 {
    let results = result.results.iter().map(|result| match result {
        OperationResult::Range(result) => founds_bytes(&result.entries, result.keys_only),
        OperationResult::Put(result) => founds_bytes(result.previous.as_slice(), false),
        OperationResult::Delete(result) => founds_bytes(&result.previous, false),
        OperationResult::Transaction(result) => transaction_bytes(result),
    });
    results.map(|bytes| bytes + RESULT_OVERHEAD).sum()
}

/// What an operation's result costs beside its entries, bytes.
const RESULT_OVERHEAD: u64 = 64;

/// What entries cost as an answer, bytes.
pub(crate) fn founds_bytes(founds: &[Found], keys_only: bool) -> u64 {
    let sizes = founds.iter().map(|found| {
        let value = if keys_only {
            0
        } else {
            found.entry.value.size()
        };
        (value + found.key.as_bytes().len() + found.entry.meta.note.len()) as u64 + FOUND_OVERHEAD
    });
    sizes.sum()
}

fn transaction_row(row: RowBuffer, result: &TransactionResult) -> RowBuffer {
    let row = row
        .number(u64::from(result.succeeded))
        .number(result.results.len() as u64);
    result.results.iter().fold(row, |row, result| match result {
        OperationResult::Range(result) => range_row(row.number(1), result),
        OperationResult::Put(result) => {
            founds_row(row.number(2), result.previous.as_slice(), false)
        }
        OperationResult::Delete(result) => founds_row(
            row.number(3).number(result.deleted),
            &result.previous,
            false,
        ),
        OperationResult::Transaction(result) => transaction_row(row.number(4), result),
    })
}

fn range_row(row: RowBuffer, result: &RangeResult) -> RowBuffer {
    let row = row.number(u64::from(result.more)).number(result.count);
    founds_row(row, &result.entries, result.keys_only)
}

/// An entry that is kept without its value adds no digest: an archive does not bring it back.
fn founds_row(row: RowBuffer, founds: &[Found], keys_only: bool) -> RowBuffer {
    founds
        .iter()
        .fold(row.number(founds.len() as u64), |row, found| {
            let entry = &found.entry;
            let row = row
                .bytes(found.key.as_bytes())
                .number(entry.meta.created.get())
                .number(entry.meta.revision.get())
                .number(entry.meta.version)
                .number(entry.meta.lease.map_or(0, holdfast_proto::LeaseId::get))
                .number(entry.meta.at.as_millis())
                .bytes(entry.meta.author.as_bytes())
                .bytes(entry.meta.note.as_bytes());
            if keys_only {
                row.bytes(&[])
            } else {
                row.bytes(entry.meta.digest.as_bytes())
            }
        })
}

fn refusal_row(row: RowBuffer, refusal: &Refusal) -> RowBuffer {
    row.number(refusal.reason as u64)
        .bytes(refusal.message.as_bytes())
        .bytes(refusal.key.as_ref().map_or(&[], |key| key.as_bytes()))
        .number(refusal.found)
        .number(refusal.expected)
        .bytes(refusal.limit.as_bytes())
}
