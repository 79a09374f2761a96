//! Real processes, and everything that can befall them.
//!
//! [`Cluster`] is `kvd` processes with SIGKILL, SIGSTOP and restart. Their network is plain
//! loopback, or a [`Fabric`] of proxies that can be cut, slowed and spoilt without root, or
//! network [namespaces](netns) where root allows it. [`Etcd`] is real etcd, to compare with.
//! [`Agent`] is a `kvagent` with its settings and what it installs.
//! [`reaper`] sees to it that nothing outlives a test, and [`Folder`] that a failed one leaves its
//! evidence.

pub mod agent;
pub mod binaries;
pub mod cluster;
pub mod etcd;
pub mod fabric;
pub mod folder;
pub mod http;
pub mod netns;
pub mod ports;
pub mod process;
pub mod program;
pub mod reaper;
pub mod stall;
pub mod turn;
pub mod wait;

pub use agent::Agent;
pub use cluster::{Cluster, ClusterOptions, Network};
pub use etcd::{Etcd, EtcdOptions};
pub use fabric::Fabric;
pub use folder::Folder;
pub use process::Process;
pub use turn::Turn;
