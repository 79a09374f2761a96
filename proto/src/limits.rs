//! Every limit, in one place. `kvctl status` shows them beside what is used.
//!
//! Past a limit a request is refused with a clear error and nothing is changed. Deletes always
//! work, and there is no alarm that must be disarmed.

/// Longest key, bytes.
pub const KEY_BYTES: usize = 1024;
/// Largest value, bytes as typed (not as encoded).
pub const VALUE_BYTES: usize = 1024 * 1024;
/// A sealed value that holds so much is padded and carries what it is bound to, so it is longer.
pub const SEALED_BYTES: usize = VALUE_BYTES + VALUE_BYTES / 16;
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
/// Furthest that a node's wall clock may be from most voters', milliseconds. One that is further
/// off does not decide the cluster's time, and no node joins with one.
pub const CLOCK_APART_MS: u64 = 5 * 60 * 1_000;
/// Most changes kept in memory for watches: revisions …
pub const RECENT_REVISIONS: usize = 16_384;
/// … and bytes of their values.
pub const RECENT_BYTES: usize = 16 * 1024 * 1024;
/// Memory for what is known of older versions, of all keys together, bytes. The oldest go first.
pub const HISTORY_BYTES: u64 = 256 * 1024 * 1024;
/// Kept answers of one session, bytes; above it the oldest are forgotten.
pub const SESSION_ANSWER_BYTES: u64 = 1024 * 1024;
/// Kept answers of all sessions, bytes.
pub const ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// Most prefixes with a retention of their own.
pub const RETENTION_PREFIXES: usize = 256;
/// Longest author, bytes.
pub const AUTHOR_BYTES: usize = 256;
/// Longest address of a member, bytes.
pub const ADDRESS_BYTES: usize = 256;
/// Longest certificate of an authority, bytes.
pub const CERTIFICATE_BYTES: usize = 8 * 1024;
/// Longest public key of a member, bytes.
pub const PUBLIC_KEY_BYTES: usize = 8 * 1024;
/// Epochs of the keyring: none is ever dropped, so this many rotations.
pub const EPOCHS: usize = 4_096;
/// Longest wrap, of an epoch's key or of a secret's, bytes.
pub const WRAP_BYTES: usize = 4 * 1024;
/// Longest name of a set of recovery shares, bytes.
pub const SHARE_SET_BYTES: usize = 64;
/// Most secrets that are rewrapped by one command.
pub const REWRAP_WRAPS: usize = 1_000;
/// Roles that are not built in.
pub const ROLES: usize = 256;
/// Rules of one role.
pub const ROLE_RULES: usize = 64;
/// Identities that are granted a role.
pub const GRANTS: usize = 4_096;
/// Roles of one identity.
pub const GRANT_ROLES: usize = 16;
/// Identities that the state knows of, the revoked ones too.
pub const IDENTITIES: usize = 16_384;
/// Anchors of one member's audit log that the state keeps. The newest vouches for all before it;
/// the older ones tell where a change was made.
pub const AUDIT_ANCHORS: usize = 64;
/// Older versions of a key that are kept whatever their age.
pub const RETENTION_VERSIONS: u64 = 20;
/// Older versions are kept at least this long after they were replaced, milliseconds.
pub const RETENTION_AGE_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Within this many bytes a key: values, and 64 for each version.
pub const RETENTION_BYTES: u64 = 1024 * 1024;
/// The history of a deleted key is kept at least this long, milliseconds, unless nothing is to be kept.
pub const DELETED_KEY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Most reports of the fleet. Then the one that was not heard for longest makes room, if it is stale.
pub const FLEET_REPORTS: usize = 10_000;
/// Most reports of one identity, whatever instances and subjects they are of.
pub const FLEET_REPORTS_OF_ONE: usize = 4_000;
/// All reports together, bytes.
pub const FLEET_BYTES: u64 = 8 * 1024 * 1024;
/// One report, encoded bytes.
pub const FLEET_REPORT_BYTES: usize = 16 * 1024;
/// Names in a report: of instances, sets, nodes, roles, programs, bytes.
pub const FLEET_NAME_BYTES: usize = 128;
/// What a report says in words, and the name of a file in it, bytes.
pub const FLEET_DETAIL_BYTES: usize = 512;
/// Files and hooks of one report.
pub const FLEET_ITEMS: usize = 64;
/// Roles of one report.
pub const FLEET_ROLES: usize = 16;
/// Most reports of one request.
pub const FLEET_REQUEST_REPORTS: usize = 100;
/// Most reports of one command, into which a node gathers what its clients send.
pub const FLEET_COMMAND_REPORTS: usize = 1_000;
/// Who runs repeats its reports this often, milliseconds …
pub const FLEET_REPEAT_MS: u64 = 60 * 1_000;
/// … and who was not heard for this long is stale.
pub const FLEET_STALE_MS: u64 = 3 * 60 * 1_000;
/// Reports are forgotten so long after the last word, milliseconds of cluster time.
pub const FLEET_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Longest life of an emergency override, milliseconds.
pub const OVERRIDE_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;
