//! A Holdfast node: it serves the public API, takes part in consensus, and knows who is who.
//!
//! A [`node::Node`] is one replica of the store with everything that speaks for it: the gRPC
//! services for clients and for other nodes on one port, health and reflection, and the loops that
//! keep a cluster in order. The program `kvd` runs one; a program with its own embedded store links
//! this crate and does the same.
//!
//! What stays true:
//!
//! * **Any node serves any request.** A write is proposed wherever it arrives and finds the leader
//!   by itself; a linearizable read is a barrier and then a local read. What only the leader can do
//!   (renew leases, change the membership) a follower asks of it.
//! * **Everybody may do only what a rule allows** (`access`), on every method, range and event.
//! * **A refusal says whether something may have happened.** Every error passes through [`status`]:
//!   a code, one sentence, and a reason that programs can match.
//! * **No queue per watcher.** A watch, like a waiting lock, is a cursor over the changes of the
//!   store, woken by its newest revision; who reads slowly lags, and costs nothing.
//! * **A wall clock decides little, and none alone.** Leases run on the leader's monotonic clock;
//!   cluster time follows a wall clock only while most voters' agree with it.
//! * **A value is never logged.** Neither spans nor errors carry one.
//!
//! Absent: consensus (`holdfast-raft`), the meaning of a command (`holdfast-core`), files of the
//! store (`holdfast-disk`).

pub mod backup;
pub mod command;
pub mod configuration;
pub mod demo;
pub mod dev;
pub mod dir;
pub mod http;
pub mod identity;
pub mod init;
pub mod join;
mod keyring;
pub mod node;
pub mod observe;
pub mod operator;
pub mod restore;
pub mod run;
mod secrets;
pub mod status;
pub mod telemetry;
pub mod tls;

mod access;
mod audit;
mod author;
mod authority;
mod caller;
mod clocks;
mod cluster;
mod convert;
mod deadline;
mod divergence;
mod duties;
mod envelopes;
mod etcd;
mod fence;
mod fleet;
mod host;
mod kv;
mod leader;
mod lease;
mod lock;
mod membership;
mod orphan;
mod papers;
mod peer;
mod peers;
mod reflection;
mod renewals;
mod serving;
mod session;
mod signals;
mod systemd;
mod watch;
mod witness;
