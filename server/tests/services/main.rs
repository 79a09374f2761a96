//! The services of real nodes, in this process: each method's behaviour, and what it refuses.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up has failed"
)]

mod access;
mod audit;
mod authority;
mod cluster;
mod etcd;
mod kv;
mod lease;
mod lock;
mod nodes;
mod papers;
mod secrets;
mod watch;
