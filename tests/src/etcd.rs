//! What speaks the etcd v3 API, seen from outside: real etcd, or our front.
//!
//! [`Endpoints`] says where. [`differential`] asks two stores the same and compares what they
//! answer, [`watching`] what they tell those who watch, with messages of the `etcd-client` crate and so of etcd's own interface description,
//! not of ours.

pub mod differential;
pub mod endpoints;
pub mod generate;
pub mod normal;
pub mod operation;
pub mod readable;
pub mod watchers;
pub mod watching;
pub mod wire;

pub use endpoints::Endpoints;
