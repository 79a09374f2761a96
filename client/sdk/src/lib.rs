//! The Holdfast SDK: configuration that survives failover.
//!
//! ```no_run
//! use holdfast_client::{Client, Context, KeyRange, RangeOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(&Context::discover()?).await?;
//! client.put("shop/greeting", "hello").await?;
//! if let Some(found) = client.get("shop/greeting").await? {
//!     println!("{:?} of revision {}", found.value(), found.entry.modified);
//! }
//! let page = client.range_all(KeyRange::prefix("shop/"), RangeOptions::default()).await?;
//! println!("{} keys at revision {}", page.entries.len(), page.revision);
//! # Ok(()) }
//! ```
//!
//! What holds, whatever happens to the servers:
//!
//! * **A write is applied at most once.** Each carries a request id and is repeated under it, at one
//!   node after the other, until there is an answer or the deadline. [`WriteError::Unknown`] alone
//!   means that it may have happened.
//! * **Reads are linearizable** unless the caller asks for less, and say where they come from and
//!   how old they are: [`Found`], [`Page`].
//! * **A watch has no gap and no repeat**, across failover; after a compaction it starts over with
//!   the range as it is: [`WatchItem::Reset`].
//! * **A [`Mirror`] keeps serving** when every server is gone, always at exactly one revision, and
//!   says how old it is; a [`KeptMirror`] also over a restart, from a sealed file.
//! * **A [`Config`] is a service's own type**, checked before it is taken, whole or not at all, and
//!   kept sealed on disk: a service starts while every server is down. See [`ConfigBuilder`].
//! * **A lease or lock knows when it is lost** before the store gives it to somebody else:
//!   [`Lease::lost`], [`Hold::lost`]; and a lock has a fencing token.
//! * **The cluster knows who runs what**: a [`Reporter`] tells it, without ever holding anything up, and
//!   [`FleetClient`] lists it.
//! * **A secret is opened on demand**, is wiped when it is let go of, and is never printed:
//!   [`Secret`], [`SecretsClient`].
//! * **A frozen node costs a moment**, not the deadline: see [`ClientOptions::hedge_after`].
//! * A server is trusted for its certificate, which must name a node of the context's cluster, and
//!   not for its host name.
//!
//! Absent on purpose: caching behind the caller's back (a [`Mirror`] and a cache are asked for), retries
//! without a deadline, and values without a revision.
//!
//! The modules: a [`Client`] makes a *call* to its *nodes* (failover, hedging, leader following);
//! a *session* names its writes; each service has its own file. Features: `blocking`, a wrapper for
//! programs without an async runtime; `formats`, configuration files as typed parameters; `dns`, endpoints
//! that DNS names.

mod access;
mod attempt;
mod audit;
mod backup;
#[cfg(feature = "blocking")]
pub mod blocking;
mod cache;
mod call;
mod circuit;
mod client;
mod cluster;
mod config;
mod connect;
mod context;
mod credentials;
mod discovery;
mod election;
mod entry;
mod error;
mod fleet;
#[cfg(feature = "formats")]
pub mod formats;
#[doc(hidden)]
pub mod gather;
mod history;
mod hold;
mod kept;
mod keyring;
mod lane;
mod lease;
mod lock;
mod mirror;
mod node;
mod options;
mod overrides;
mod read;
mod reason;
mod removal;
mod rotation;
mod secret;
mod session;
mod tasks;
mod tls;
mod transaction;
mod watch;
mod write;

pub use holdfast_proto::{
    Key, KeyError, KeyRange, LeaseId, NodeId, Revision, Timestamp, Value, ValueKind,
    access::{Capability, Rule, RuleError},
    limits,
};

pub use access::{
    AccessClient, AccessDecision, AccessGrant, AccessIdentity, AccessRole, DecidingRule,
    IssuedCertificate,
};
pub use audit::{AuditClient, AuditDamage, AuditFrom, AuditRecord, AuditReport, AuditTail};
pub use backup::{BackupClient, BackupFile, Backups, FetchedBackup, MadeBackup, VerifiedBackup};
pub use cache::{CacheError, CacheStatus, StartPolicy};
pub use client::Client;
pub use cluster::{ClusterClient, JoinToken, Limit, Member, MemberStatus, Members, Role, Status};
pub use config::{
    Chosen, Config, ConfigBuilder, ConfigError, ConfigLayers, ConfigRead, ConfigStatus,
    Explanation, FieldError, Layer, LayerEntry, Place, Rejected,
};
pub use context::{Context, ContextError};
pub use election::{Election, Leadership, Observer};
pub use entry::{Entry, Found, Origin, Page};
pub use error::{ConnectError, LockError, ReadError, WatchError, WriteError};
pub use fleet::{
    Fleet, FleetClient, FleetEntry, ForgetOptions, Report, ReportItem, ReportState,
    ReportedOverride, Reporter, ReporterStatus, Standing, Subject, default_instance,
};
pub use history::{Diff, Difference, History, HistoryOptions, Retention, RolledBack, Version};
pub use hold::Hold;
pub use kept::{KeptMirror, KeptMirrorBuilder, KeptMirrorError};
pub use keyring::{
    EpochStatus, HolderStatus, KeyringClient, KeyringStatus, NewRecovery, RecoveryChallenge,
    RecoveryKey,
};
pub use lease::{Lease, LeaseInfo};
pub use lock::LockGuard;
pub use mirror::{Mirror, MirrorChanges, MirrorRead, MirrorView, Mirrored, MirroredSecret};
pub use options::{
    ClientOptions, Consistency, DeleteOptions, DestroyOptions, LockOptions, MirrorOptions,
    MirrorReveal, PutOptions, RangeOptions, ReadOptions, ReadRouting, RevealOptions,
    SecretPutOptions, WatchOptions,
};
pub use overrides::{Override, OverrideError, OverrideFormat, OverrideTerms};
pub use reason::Reason;
pub use removal::{DestroyedSecret, ReadableSecret, Removal};
pub use rotation::{Removed, Rotation};
pub use secret::{
    Alphabet, Recipe, RecipeError, Revealed, Secret, SecretError, SecretWritten, SecretsClient,
};
pub use transaction::{
    Condition, Operation, OperationResult, Relation, Target, Transacted, Transaction,
};
pub use watch::{EventKind, Watch, WatchEvent, WatchItem};
pub use write::{Deleted, Expected, Written};
