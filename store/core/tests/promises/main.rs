//! What the state promises, one sentence a test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod anchors;
mod archive;
mod authority;
mod debug;
mod fleet;
mod hash;
mod history;
mod keyring;
mod leases;
mod limits;
mod members;
mod refusals;
mod requests;
mod restore;
mod retention;
mod store;
mod transactions;
