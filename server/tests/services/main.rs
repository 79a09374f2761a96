//! The services of real nodes, in this process: each method's behaviour, and what it refuses.

mod cluster;
mod kv;
mod lease;
mod lock;
mod nodes;
mod watch;
