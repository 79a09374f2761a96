//! Every limit, in one place. `kvctl status` shows them beside what is used.
//!
//! Past a limit a request is refused with a clear error and nothing is changed. Deletes always
//! work, and there is no alarm that must be disarmed.

/// Longest key, bytes.
pub const KEY_BYTES: usize = 1024;
/// Largest value, bytes as typed (not as encoded).
pub const VALUE_BYTES: usize = 1024 * 1024;
/// Longest note, bytes.
pub const NOTE_BYTES: usize = 1024;
/// Most operations of one transaction, nested ones counted.
pub const TRANSACTION_OPERATIONS: usize = 512;
/// Deepest nesting of transactions.
pub const TRANSACTION_DEPTH: usize = 4;
/// Largest request, encoded bytes.
pub const REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// Largest gRPC message that a node sends or takes, encoded bytes (a whole revision must fit).
pub const MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Largest state: keys, current values and what is known of older versions, bytes.
pub const STATE_BYTES: u64 = 1024 * 1024 * 1024;
/// Most leases at one time.
pub const LEASES: usize = 100_000;
/// Shortest and longest time to live of a lease, milliseconds.
pub const LEASE_TTL_MS: std::ops::RangeInclusive<u64> = 1_000..=30 * 24 * 60 * 60 * 1_000;
/// Most sessions whose requests are remembered.
pub const SESSIONS: usize = 100_000;
/// A session may be forgotten after this long without a request, milliseconds. Clients give a
/// request up for good well before.
pub const SESSION_IDLE_MS: u64 = 10 * 60 * 1_000;
/// Most unanswered requests of one session.
pub const SESSION_WINDOW: usize = 4_096;
/// Most members, witnesses and learners counted.
pub const MEMBERS: usize = 15;
/// Most unused join tokens.
pub const TOKENS: usize = 64;
/// Longest life of a join token, milliseconds.
pub const TOKEN_TTL_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Most changes kept in memory for watches: revisions …
pub const RECENT_REVISIONS: usize = 16_384;
/// … and bytes of their values.
pub const RECENT_BYTES: usize = 16 * 1024 * 1024;
