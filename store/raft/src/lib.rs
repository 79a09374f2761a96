//! Consensus behind one facade: [`Replica`].
//!
//! A replica is one member's share of the cluster: its log, its copy of the state, and its part in
//! agreeing on both. It proposes commands wherever the leader is, makes local reads linearizable
//! when asked, sends archives to members that lag, and changes the members.
//!
//! What always holds:
//!
//! * A proposal is answered by its deadline: applied, certainly not applied, or *unknown*.
//! * Nothing is acknowledged before a quorum has synced it, and the leader has applied it.
//! * After [`Replica::barrier`] a read of [`Replica::store`] sees everything that anybody was
//!   told was written before the call.
//! * A replica whose log fails stops, and says so through [`Replica::failure`]. A full disk is no
//!   such failure: writes are refused until there is room.
//! * A node's number is never used twice.
//! * No wall clock that most voters disagree with ages the state: see [`Clock`].
//!
//! Where to look: [`replica`] is the facade. `types` is the one file that opens the consensus
//! library's type parameters, `record` the one that knows how its values are stored and sent, in
//! our own protobuf. `log` and `machine` are its storage, `network` and `peer` its messages.
//! `propose`, `gather`, `forward` and `barrier` are how callers get answers. `failure_detector` replaces
//! a leader whose process has ended sooner than its silence would. [`aside()`] does long work so that requests
//! come first, and [`let_others_run`] gives up the processor where that brings more than it costs.
//!
//! Absent on purpose: keys (consensus sees ciphertext only), TLS and the question who may call
//! (the server's), and reads by lease (not safe across restarts).

mod archivist;
mod aside;
mod backup;
mod barrier;
mod batch;
mod clock;
mod errors;
mod failure_detector;
#[cfg(feature = "faults")]
mod faults;
mod forward;
mod gather;
mod leadership;
mod log;
mod machine;
mod membership;
mod network;
mod options;
mod peer;
mod progress;
mod propose;
mod record;
pub mod replica;
mod room;
mod snapshot;
mod status;
#[cfg(test)]
mod suite;
mod turns;
mod types;

pub use aside::aside;
pub use backup::restore;
pub use clock::Clock;
pub use errors::{
    ArchiveError, BarrierError, ChangeError, InitializeError, ProposeError, StartError,
};
pub use options::{Dial, DialError, PeerNode, Purpose, ReplicaOptions, Timing};
pub use propose::Applied;
pub use replica::Replica;
pub use status::{Leadership, PeerProgress, ReplicaRole, ReplicaStatus};
pub use turns::let_others_run;
