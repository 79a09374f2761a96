//! Between the words of the wire and those of the store.

use holdfast_core::{VersionMeta, entry};
use holdfast_proto::{Key, KeyRange, LeaseId, Value, limits, v1};
use tonic::Status;

use crate::status::{Reason, invalid};

/// A kept version as clients see it.
pub(crate) fn version(key: &Key, meta: &VersionMeta, value: Option<Value>) -> v1::Entry {
    v1::Entry {
        value: value.as_ref().map(|value| entry::shown(value).into()),
        ..meta.to_wire(key)
    }
}

/// About how many bytes an entry takes on the wire; never less than it does.
pub(crate) fn size(entry: &v1::Entry) -> usize {
    prost::Message::encoded_len(entry) + 8
}

/// The range that a request names.
pub(crate) fn range(wire: Option<v1::KeyRange>) -> Result<KeyRange, Status> {
    let wire = wire.ok_or_else(|| invalid("the request names no range of keys; give it one"))?;
    if wire.end.is_empty() {
        key(wire.key.clone())?;
    }
    if wire.key.len() > limits::KEY_BYTES + 1 || wire.end.len() > limits::KEY_BYTES + 1 {
        return Err(Reason::TooLarge.status(format!(
            "a bound of the range is longer than a key may be, {} bytes",
            limits::KEY_BYTES
        )));
    }
    Ok(KeyRange::from(wire))
}

/// The key that a request names.
pub(crate) fn key(bytes: bytes::Bytes) -> Result<Key, Status> {
    Key::new(bytes).map_err(|error| match error {
        holdfast_proto::KeyError::TooLong { .. } => Reason::TooLarge.status(error.to_string()),
        _ => invalid(error),
    })
}

/// The lease that a request names.
pub(crate) fn lease(number: u64) -> Result<LeaseId, Status> {
    LeaseId::new(number).ok_or_else(|| invalid("the request names no lease; grant one first"))
}
