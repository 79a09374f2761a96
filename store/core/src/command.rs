//! What can be asked of the state: one [`Command`] is one entry of the log.
//!
//! A command is checked for shape and size when it is parsed, at the edge and again when it comes
//! out of the log. What depends on the state is checked by [`apply`](crate::apply::apply), which
//! answers with a [`Refusal`].

use std::sync::Arc;

use bytes::Bytes;
use holdfast_proto::{
    Key, KeyError, LeaseId, NodeId, NodeName, RequestId, Revision, Timestamp, key, limits, log,
    member, request, value,
};
use prost::Message as _;

use crate::{
    access::{GrantChange, PolicyError, Role as AccessRole},
    audit::AnchorHash,
    authority::{AuthorityBegin, AuthorityTaken, AuthorityWanted},
    entry::VersionId,
    fleet::{Report, ReportKey},
    keyring::{EpochBegin, EpochWrap, NodeKey, RecoverySet},
    lease::Expiry,
    member::Role,
    operation::{DeleteOperation, PutOperation, Transaction},
    reply::{Reason, Refusal},
    retention::Retention,
    token::TokenDigest,
};

/// One proposal.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Names the write, so that it is applied once; `None`: the cluster itself asks.
    pub request: Option<RequestId>,
    /// Who asks, as the node that took the request knows.
    pub author: Arc<str>,
    /// Why, in the author's words. May be empty.
    pub note: Arc<str>,
    /// What.
    pub body: Body,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Several operations in one revision.
    Transact(Transaction),
    /// One put: the commonest command, in short.
    Put(Put),
    /// One deletion.
    Delete(Delete),
    /// Forget every version that is not current at this revision or later.
    Compact(u64),
    /// How much history keys under a prefix keep; `None`: as the next shorter prefix says.
    SetRetention {
        /// Empty: all keys.
        prefix: Bytes,
        /// The new retention.
        retention: Option<Retention>,
    },
    /// A new lease.
    LeaseGrant {
        /// Its id, picked by the node that proposes.
        lease: LeaseId,
        /// How long it lives without being renewed, milliseconds.
        ttl_ms: u64,
    },
    /// Ends a lease and deletes its keys.
    LeaseRevoke(LeaseId),
    /// Ends leases that were not renewed. Applied only in the term of the leader that proposed it.
    LeaseExpire {
        /// The leader's term.
        term: u64,
        /// Those that ran out.
        leases: Vec<Expiry>,
    },
    /// Lets one node join.
    TokenCreate {
        /// Of the token's secret.
        digest: TokenDigest,
        /// What the node becomes.
        role: Role,
        /// Until when it may join.
        expires: Timestamp,
        /// The only name it may have; `None`: any.
        name: Option<NodeName>,
    },
    /// Takes a node in and uses its token up.
    MemberAdmit {
        /// Of the token it showed.
        token: TokenDigest,
        /// Its name.
        name: NodeName,
        /// Its HOST:PORT.
        address: Arc<str>,
        /// Its SubjectPublicKeyInfo, DER.
        public_key: Bytes,
    },
    /// Changes what is known of a member.
    MemberUpdate {
        /// Which.
        id: NodeId,
        /// Its new HOST:PORT; `None`: as it was.
        address: Option<Arc<str>>,
        /// Its new role; `None`: as it was.
        role: Option<Role>,
    },
    /// Takes a member out for good. Its id is never used again.
    MemberRemove {
        /// Whom.
        id: NodeId,
        /// When the leader heard it last, in cluster time.
        heard: Option<Timestamp>,
    },
    /// The cluster's authority is to be followed by another.
    AuthorityWanted(AuthorityWanted),
    /// This is the next one.
    AuthorityBegin(AuthorityBegin),
    /// A member has taken it.
    AuthorityTaken(AuthorityTaken),
    /// The authority of this generation is trusted no more.
    AuthorityRetire(u64),
    /// Founds the cluster: its first command.
    ClusterInit(Box<Founding>),
    /// Makes a role, or changes one.
    RoleSet(AccessRole),
    /// Removes a role that nobody has.
    RoleRemove(Arc<str>),
    /// Gives an identity roles, takes others from it.
    GrantChange(GrantChange),
    /// Notes that a certificate is given out.
    IdentityIssued {
        /// To whom.
        identity: Arc<str>,
        /// Its end.
        expires: Timestamp,
    },
    /// Lets an identity in no more, for good.
    IdentityRevoke(Arc<str>),
    /// Holds on to the head of a member's audit log.
    AuditAnchor {
        /// Whose.
        member: NodeId,
        /// Of its newest record.
        sequence: u64,
        /// Of the chain up to it.
        hash: AnchorHash,
    },
    /// The public half of a member's node key.
    NodeKeySet {
        /// Whose.
        member: NodeId,
        /// What it is, and how the private half is kept.
        key: NodeKey,
    },
    /// A recovery key, with the epoch that is wrapped for it.
    RecoverySet(Box<RecoverySet>),
    /// The shares of this set were shown to work.
    RecoveryVerified(Bytes),
    /// A new epoch of the keyring.
    EpochBegin(Box<EpochBegin>),
    /// The newest epoch, for one more member.
    EpochWrap(EpochWrap),
    /// Data keys of secrets, sealed by the newest epoch. Changes no revision.
    Rewrap {
        /// The newest epoch.
        epoch: u64,
        /// Passed over where the version has no wrap any more.
        wraps: Vec<(VersionId, Bytes)>,
    },
    /// Makes versions of a secret unreadable for good.
    SecretDestroy {
        /// The secret.
        key: Key,
        /// Of one version; `None`: all, and the key with them.
        revision: Option<Revision>,
    },
    /// What clients say they run, each with its identity. Changes no revision.
    FleetReports(Vec<(Arc<str>, Report)>),
    /// Reports that are to be forgotten. Changes no revision.
    FleetForget(Vec<ReportKey>),
    /// Moves cluster time on.
    Tick,
}

/// One put.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    /// What to write.
    pub put: PutOperation,
    /// What must be there; `None`: whatever is.
    pub expected: Option<Expected>,
}

/// One deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// What to delete.
    pub delete: DeleteOperation,
    /// What must be there. Only with a range of one key.
    pub expected: Option<Expected>,
}

/// What must be at a key for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The version of this revision.
    At(Revision),
}

/// What a cluster begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Names the cluster for good.
    pub cluster_id: Arc<str>,
    /// What people call it.
    pub cluster_name: Arc<str>,
    /// The first member's id.
    pub founder: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its HOST:PORT.
    pub address: Arc<str>,
    /// Its SubjectPublicKeyInfo, DER.
    pub public_key: Bytes,
}

/// Why bytes or a wire message are not a command. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Not protobuf, or of another version.
    #[error("the command cannot be decoded; is it from a newer version?")]
    Malformed(#[from] prost::DecodeError),
    /// A field is missing or has a number this version does not know.
    #[error("{0}; set it, or update this program")]
    Missing(&'static str),
    /// The request id.
    #[error(transparent)]
    Request(#[from] request::RequestIdError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A value.
    #[error(transparent)]
    Value(#[from] value::ValueError),
    /// A node's name.
    #[error(transparent)]
    Name(#[from] member::NodeNameError),
    /// A role, a rule or an identity.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Something is larger than its limit.
    #[error("{what} has {found}, at most {most} are allowed; make it smaller")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit's name.
        limit: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        most: usize,
    },
    /// A field makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
}

impl Command {
    /// A command of the cluster itself.
    pub fn internal(author: impl Into<Arc<str>>, body: Body) -> Self {
        Self {
            request: None,
            author: author.into(),
            note: Arc::default(),
            body,
        }
    }

    /// From the bytes of a `holdfast.log.v1.Command`. A value that is most of them stays where it is;
    /// another one is copied, so that none keeps alive more than twice its own size.
    pub fn decode(bytes: Bytes) -> Result<Self, CommandError> {
        let whole = bytes.len();
        most("the request", "request bytes", whole, limits::REQUEST_BYTES)?;
        let mut command = Self::try_from(log::v1::Command::decode(bytes)?)?;
        match &mut command.body {
            Body::Put(put) => put.put.unshare(whole),
            Body::Transact(transaction) => transaction.unshare(whole),
            _ => {}
        }
        Ok(command)
    }

    /// As the bytes of a `holdfast.log.v1.Command`.
    pub fn encode(&self) -> Bytes {
        log::v1::Command::from(self.clone()).encode_to_vec().into()
    }
}

impl Expected {
    /// From the wire: 0 means absent.
    pub fn from_number(number: u64) -> Self {
        Revision::new(number).map_or(Self::Absent, Self::At)
    }

    /// As on the wire.
    pub fn number(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::At(revision) => revision.get(),
        }
    }
}

impl CommandError {
    /// As the answer of a command that came out of the log and cannot be applied.
    pub fn to_refusal(&self) -> Refusal {
        match self {
            Self::TooLarge {
                limit, found, most, ..
            } => Refusal {
                found: *found as u64,
                expected: *most as u64,
                limit: (*limit).into(),
                ..Refusal::new(Reason::TooLarge, self.to_string())
            },
            Self::Key(key::KeyError::TooLong { bytes }) => Refusal {
                found: *bytes as u64,
                expected: limits::KEY_BYTES as u64,
                limit: "key bytes".into(),
                ..Refusal::new(Reason::TooLarge, self.to_string())
            },
            _ => Refusal::new(Reason::Invalid, self.to_string()),
        }
    }
}

/// Refuses what is larger than its limit.
pub(crate) fn most(
    what: &'static str,
    limit: &'static str,
    found: usize,
    most: usize,
) -> Result<(), CommandError> {
    if found > most {
        return Err(CommandError::TooLarge {
            what,
            limit,
            found,
            most,
        });
    }
    Ok(())
}

/// Parses a key out of a message that may share a larger buffer; copies, so as not to pin it.
pub(crate) fn parse_key(bytes: &Bytes) -> Result<Key, KeyError> {
    Key::copied(bytes)
}
