//! `kvctl secret` and `kvctl keyring` as people and programs run them: real processes, with a
//! terminal or without, against nodes that seal nothing and can be told to misbehave.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod commands;
#[allow(dead_code, reason = "the SDK's own suite needs more of it")]
#[path = "../../../sdk/tests/suite/fake/mod.rs"]
mod fake;
mod home;
mod person;
mod prompts;
mod recovery;
