//! Between the store's words and etcd's.
//!
//! This is where it is decided what foreign clients see of an entry: of a plain value its canonical
//! bytes, and what they write is of the kind bytes.

use bytes::Bytes;
use holdfast_core::{Entry, Found, VersionMeta};
use holdfast_proto::{KeyRange, LeaseId, Value, etcd::mvccpb::KeyValue, v1};

/// A current entry.
pub(super) fn pair(key: Bytes, entry: &Entry, with_value: bool) -> KeyValue {
    KeyValue {
        key,
        create_revision: signed(entry.meta.created.get()),
        mod_revision: signed(entry.meta.revision.get()),
        version: signed(entry.meta.version),
        value: if with_value {
            entry.value.to_canonical()
        } else {
            Bytes::new()
        },
        lease: lease_number(entry.meta.lease),
    }
}

/// An entry of a reply.
pub(super) fn found(found: &Found) -> KeyValue {
    pair(found.key.to_bytes(), &found.entry, true)
}

/// An older version; `None`: without its value.
pub(super) fn version(key: Bytes, meta: &VersionMeta, value: Option<&Value>) -> KeyValue {
    KeyValue {
        key,
        create_revision: signed(meta.created.get()),
        mod_revision: signed(meta.revision.get()),
        version: signed(meta.version),
        value: value.map(Value::to_canonical).unwrap_or_default(),
        lease: lease_number(meta.lease),
    }
}

/// What an event shows of a deleted key.
pub(super) fn deleted(key: Bytes, revision: u64) -> KeyValue {
    KeyValue {
        key,
        mod_revision: signed(revision),
        ..KeyValue::default()
    }
}

/// A value as it is stored when a foreign client writes it.
pub(super) fn value(bytes: Bytes) -> v1::Value {
    v1::Value {
        kind: Some(v1::value::Kind::Bytes(bytes)),
    }
}

/// The range that a request names: etcd's rules are ours.
pub(super) fn range(key: &Bytes, end: &Bytes) -> KeyRange {
    // How etcd's clients say "every key"; counting those is quick.
    if key[..] == [0] && end[..] == [0] {
        return KeyRange::all();
    }
    KeyRange::from(wire_range(key.clone(), end.clone()))
}

/// As [`range`], for a command.
pub(super) fn wire_range(key: Bytes, end: Bytes) -> v1::KeyRange {
    v1::KeyRange { key, end }
}

/// A revision or version as etcd's messages carry it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A lease as etcd's messages carry it: the same 64 bits.
pub(super) fn lease_number(lease: Option<LeaseId>) -> i64 {
    lease.map_or(0, LeaseId::get).cast_signed()
}

/// The lease that a message names, if any.
pub(super) fn lease(number: i64) -> Option<LeaseId> {
    LeaseId::new(number.cast_unsigned())
}
