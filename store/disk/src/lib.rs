//! What survives a power cut: the raft [`Log`], the archives and the past, with the state that
//! they belong to in one [`Store`].
//!
//! | what | holds | how |
//! |---|---|---|
//! | log | vote, entries, purge mark | the `raft-log` crate; one `fdatasync` completes many appends |
//! | archive | a whole state with its past at one index | one checked file, renamed into place |
//! | past | values of older versions | sled, never the only copy |
//!
//! Promises:
//! 1. What is acknowledged is on disk. The first error of a write or a sync ends the log: nothing
//!    is acknowledged after it.
//! 2. Log and newest archive are the truth; the past is put back from them whenever it cannot be
//!    trusted, at a start or while the node runs, in the background, and only reads of the past and
//!    archives wait.
//! 3. Every row is checked when it is read. What does not check is refused by name, never used.
//! 4. A file under its final name is whole; one that was cut off is dropped at the next start.
//! 5. Every folder says what it is, in which format; a newer format is refused by name.
//!
//! `FORMAT.md` beside this crate describes the files byte by byte.
//!
//! Absent: consensus (what an entry means is not the log's business) and secrets in the clear.

mod archive;
mod error;
#[cfg(feature = "faults")]
mod faults;
#[cfg(test)]
mod faulty;
mod log;
mod marker;
mod past;
mod restore;
mod store;
#[cfg(test)]
mod testing;

pub use archive::{ArchiveError, ArchiveFile, IncomingArchive};
pub use error::OpenError;
pub use log::{Done, Later, Log, LogError, LogOptions, LogPosition, LogRow, LogState};
pub use past::{PastError, PastStatus};
pub use restore::{Contents, Restored, check, restore};
pub use store::{ArchiveJob, Recovered, Replay, ReplayedCommands, Store, StoreOptions};
