//! What speaks the etcd v3 API, seen from outside: real etcd, or our front.

pub mod endpoints;

pub use endpoints::Endpoints;
