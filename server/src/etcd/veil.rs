//! Secrets are not there for etcd's clients: reads, counts and watches pass over them, and what
//! would touch one is refused as what the caller has no permission for.
//!
//! Whether a request touches a secret is looked at before it is proposed. One that is put at the
//! very same key in that moment is not replaced either: applying the put refuses that.

use bytes::Bytes;
use holdfast_core::{Entry, State};
use holdfast_proto::{
    KeyRange, ValueKind,
    etcd::etcdserverpb::{TxnRequest, request_op::Request},
};
use tonic::Status;

use super::{Front, convert, error};

/// Whether an entry is for no foreign client to see.
pub(super) fn hides(entry: &Entry) -> bool {
    entry.value.kind() == ValueKind::Sealed
}

/// Whether a range holds a secret now. Quick where there are none at all.
pub(super) fn is_over(state: &State, range: &KeyRange) -> bool {
    state.has_secrets() && state.range(range).any(|(_, entry)| hides(entry))
}

impl Front {
    /// Refuses a write of a range that holds a secret.
    pub(super) fn allow_write(&self, range: &KeyRange) -> Result<(), Status> {
        match self.host.read(|state| is_over(state, range)) {
            true => Err(error::permission_denied()),
            false => Ok(()),
        }
    }

    /// Refuses a transaction that compares or writes a secret, or reads one beside what it writes.
    pub(super) fn allow_transaction(
        &self,
        request: &TxnRequest,
        only_reads: bool,
    ) -> Result<(), Status> {
        let touches =
            |state: &State| state.has_secrets() && is_touching(state, request, only_reads);
        match self.host.read(touches) {
            true => Err(error::permission_denied()),
            false => Ok(()),
        }
    }
}

fn is_touching(state: &State, request: &TxnRequest, only_reads: bool) -> bool {
    let over = |key: &Bytes, end: &Bytes| is_over(state, &convert::range(key, end));
    let mut compares = request.compare.iter();
    let mut steps = request.success.iter().chain(&request.failure);
    compares.any(|compare| over(&compare.key, &compare.range_end))
        || steps.any(|step| match &step.request {
            Some(Request::RequestRange(range)) => !only_reads && over(&range.key, &range.range_end),
            Some(Request::RequestPut(put)) => over(&put.key, &Bytes::new()),
            Some(Request::RequestDeleteRange(delete)) => over(&delete.key, &delete.range_end),
            Some(Request::RequestTxn(inner)) => is_touching(state, inner, only_reads),
            None => false,
        })
}
