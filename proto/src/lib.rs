//! The words every ring of Holdfast shares: wire messages, log records, parsed newtypes.
//!
//! * [`v1`] is the public API (`holdfast.v1`), [`peer::v1`] what nodes tell each other, [`log::v1`]
//!   what goes to the raft log and into archives.
//!   All three are generated from `proto/proto/`; tags are never reused. [`etcd`] is the API of
//!   another store, for the tools that speak it. Calls carry them with [`codec`].
//! * The other modules are newtypes, parsed once at the edge: inside, nothing that means a key is a
//!   bare `&str`, and nothing that means a revision is a bare `u64`.
//! * [`limits`] is the one place where limits are set.
//!
//! Absent on purpose: behaviour. Nothing here reads a clock, a disk or the network.

pub mod access;
pub mod codec;
#[doc(hidden)]
pub mod deadline;
#[doc(hidden)]
pub mod described;
pub mod etcd;
pub mod key;
pub mod lease;
pub mod limits;
pub mod member;
pub mod request;
pub mod revision;
pub mod time;
pub mod value;

pub use key::{Key, KeyBounds, KeyError, KeyRange};
pub use lease::LeaseId;
pub use member::{NodeId, NodeName};
pub use request::{RequestId, SessionId};
pub use revision::Revision;
pub use time::Timestamp;
pub use value::{Value, ValueKind};

/// `holdfast.v1`: the public services and their messages.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("holdfast.v1");
}

/// What the nodes of one cluster tell each other.
pub mod peer {
    /// `holdfast.peer.v1`.
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("holdfast.peer.v1");
    }
}

/// What is written to the raft log and into archives.
pub mod log {
    /// `holdfast.log.v1`.
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("holdfast.log.v1");
    }
}

/// What a client keeps on its own disk.
pub mod cache {
    /// `holdfast.cache.v1`.
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("holdfast.cache.v1");
    }
}

/// The file descriptors of our own packages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
