//! Who may do what, enforced: each request passes the door of its method, and then its service says
//! what it is about.
//!
//! The policy is replicated (`holdfast_core::access`), and each node decides by what it has applied.
//!
//! What stays true:
//!
//! * **Nothing is open by being forgotten.** [`table`] names what each method requires, and a test
//!   holds it against the descriptors. Whoever has no right that a method could use is refused at
//!   the door, before its message is read; which keys it may be used on is looked at by its service.
//! * **Who lags refuses nobody.** A refusal counts only once a quorum confirmed that this node has the
//!   newest policy ([`Host::permit`](crate::host::Host::permit)). What is allowed is not confirmed: a
//!   right that was taken away ends at a node when it applies that. Linearizable reads are checked
//!   after their barrier, so they obey every change that was acknowledged before them.
//! * **Streams are checked as they go on**: a watch with each message, a lock once more when it is
//!   handed out.
//! * **An answer has no gaps.** A range is allowed as a whole or refused.
//!
//! Absent: what is left of a request once it is refused. Denials are recorded where refusals are,
//! at the edge (`audit`).

mod denied;
mod lease;
mod permit;
pub(crate) mod service;
pub(crate) mod table;
mod transaction;

pub(crate) use self::{denied::Denied, permit::Permit, table::Required};
