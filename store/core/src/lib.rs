//! The replicated state as a plain value, and [`apply()`], the one way to change it.
//!
//! A cluster agrees on a log of [`Command`]s; each node applies them in order to its [`State`]. So
//! `apply` must give the same on every node: it reads no clock, no chance, no disk and no
//! environment (`clippy.toml` beside this crate bans them). Time comes in with the command.
//!
//! **The present is in memory, the past is on disk.** `State` holds every current entry, what is
//! known about each older version, and the changes of a recent window. A value that leaves both is
//! handed out as [`Retired`], for the disk to keep; a version that retention drops is handed out as
//! forgotten. Reads of the past say where a value is: [`Located`].
//!
//! Promises:
//! 1. A command is done whole, in one revision, or refused with nothing changed.
//! 2. A request id is applied at most once; a repeat gets the first answer, or is told that it is gone.
//! 3. An old revision reads as it was, or is refused; it never reads wrong.
//! 4. Equal commands give equal hashes; `from_rows(rows())` is the same state.
//! 5. A clone is O(1), and none of its later reads sees what the original does.
//!
//! Where things are: [`command`] and [`operation`] say what can be asked, [`reply`] what is answered;
//! `transaction` decides, `commit` writes; [`keyspace`](State) holds entries and older versions;
//! [`range`] and [`history`] read them; [`retention`] forgets; [`recent`] serves watches; `foresight`
//! has the processor fetch what a batch needs; `session` applies requests once; [`access`] says who may
//! do what; [`audit`] holds the heads of the nodes' audit logs; [`fleet`] what clients say they run;
//! [`lease`], [`lock`], [`member`], [`authority`] and [`token`] are what their names say; [`keyring`]
//! holds epochs and the wraps of secrets; [`row`] goes to archives and back; [`hash`] sums it up.
//!
//! Absent: consensus, disks, networks, secrets in the clear, and anything asynchronous.

pub mod access;
pub mod apply;
pub mod audit;
mod author;
pub mod authority;
mod clock;
pub mod command;
mod commit;
mod compare;
pub mod entry;
pub mod fleet;
mod foresight;
pub mod hash;
pub mod history;
pub mod keyring;
mod keyspace;
pub mod lease;
pub mod limits;
pub mod lock;
pub mod member;
pub mod operation;
pub mod range;
pub mod recent;
pub mod reply;
pub mod restore;
pub mod retention;
pub mod row;
mod session;
mod state;
pub mod token;
mod transaction;
pub mod usage;
mod wire;

pub use apply::{Context, Outcome, apply};
pub use audit::{Anchor, AnchorHash};
pub use authority::{Authority, AuthorityBegin, AuthorityTaken, AuthorityWanted, Cause};
pub use command::{Body, Command, CommandError, Delete, Expected, Founding, Put};
pub use entry::{Entry, Found, Located, Retired, VersionId, VersionMeta};
pub use fleet::{Fleet, Report, ReportKey, Reported};
pub use hash::{Digest, StateHash};
pub use history::{Difference, OlderChanges, OlderEvent};
pub use keyring::{
    EpochBegin, EpochInfo, EpochWrap, MemberWrap, NodeKey, Recovery, RecoverySet, Seal,
    SealedVersion, Wrap,
};
pub use lease::{Expiry, Lease};
pub use limits::Limits;
pub use member::{ClusterInfo, Departure, Member, Role};
pub use operation::{
    Compare, DeleteOperation, LeaseChoice, Operation, PutOperation, RangeOperation, Relation,
    Target, Transaction,
};
pub use range::{AtRevision, OlderValue, ReadError};
pub use recent::{Change, ChangeEvent, ChangeEvents, Changes};
pub use reply::{
    DeleteResult, OperationResult, PutResult, RangeResult, Reason, Refusal, Reply, ReplyBody,
    TransactionResult,
};
pub use restore::{REVISIONS_LEFT_OUT, Restoring};
pub use retention::Retention;
pub use row::RowError;
pub use state::State;
pub use token::{Token, TokenDigest};
pub use usage::Usage;
