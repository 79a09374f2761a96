//! Standing in line for a lock or a leadership, as etcd's clients and services do it.
//!
//! A contender is the key `NAME/LEASE` (hexadecimal, no leading zeros) under that lease. All keys
//! below `NAME/` count, whoever made them, and the one created first holds: so both fronts and
//! clients that do it themselves stand in one line. A call that is given up takes its contender away.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use holdfast_core::{Entry, OperationResult, ReplyBody, State};
use holdfast_proto::{
    Key, KeyRange, LeaseId,
    etcd::mvccpb::KeyValue,
    limits,
    log::v1::command::Body,
    v1::{self, compare::Relation, compare::Target, operation::Operation as Kind},
};
use tonic::Status;

use super::{Front, convert, error, permit};
use crate::{access::Permit, caller::Caller, deadline};

/// A contender that goes away with the call that entered it, unless it is kept.
pub(super) struct Contender {
    front: Arc<Front>,
    author: Arc<str>,
    prefix: Bytes,
    pub(super) key: Bytes,
    /// The revision that created the key: its place in line, and the fencing token.
    pub(super) created: u64,
    kept: bool,
}

/// Who contends for what, saying what.
pub(super) struct Entering<'a> {
    pub(super) author: Arc<str>,
    pub(super) name: &'a [u8],
    pub(super) lease: LeaseId,
    pub(super) value: Bytes,
}

impl Contender {
    /// Gets in line, or finds the place that the lease has.
    pub(super) async fn enter(
        front: &Arc<Front>,
        entering: Entering<'_>,
        deadline: Instant,
    ) -> Result<(Self, Option<KeyValue>), Status> {
        let prefix = prefix(entering.name);
        let mut key = prefix.to_vec();
        key.extend_from_slice(format!("{:x}", entering.lease.get()).as_bytes());
        if key.len() > limits::KEY_BYTES || entering.value.len() > limits::VALUE_BYTES {
            return Err(error::too_large());
        }
        let key = Bytes::from(key);
        let put = Kind::Put(v1::PutOperation {
            key: key.clone(),
            value: Some(convert::value(entering.value)),
            lease: entering.lease.get(),
            ..v1::PutOperation::default()
        });
        let read = Kind::Range(v1::RangeOperation {
            range: Some(single(&key)),
            ..v1::RangeOperation::default()
        });
        let transaction = v1::Transaction {
            compare: vec![is_created_at(&key, 0)],
            then: vec![operation(put)],
            otherwise: vec![operation(read)],
        };
        let reply = front
            .propose(&entering.author, Body::Transact(transaction), deadline)
            .await?;
        let ReplyBody::Transact(result) = reply.body else {
            return Err(error::unexpected());
        };
        let there = match result.results.first() {
            Some(OperationResult::Range(found)) => found.entries.first().map(convert::found),
            _ => None,
        };
        let created = there
            .as_ref()
            .map_or(reply.revision, |pair| pair.create_revision.cast_unsigned());
        let contender = Self {
            front: front.clone(),
            author: entering.author,
            prefix,
            key,
            created,
            kept: false,
        };
        Ok((contender, there))
    }

    /// Waits until it is first.
    pub(super) async fn wait(&self, until: Option<Instant>) -> Result<(), Status> {
        loop {
            self.front
                .host
                .wait_for(until, |state| match self.standing(state) {
                    Standing::Behind => None,
                    Standing::First | Standing::Gone => Some(()),
                })
                .await
                .map_err(|status| error::of_ours(&status))?;
            // Others may know better: whether it is first counts once a quorum confirmed this node.
            let step = Instant::now() + STEP;
            self.front
                .barrier(until.map_or(step, |until| until.min(step)))
                .await?;
            match self.front.host.read(|state| self.standing(state)) {
                Standing::First => return Ok(()),
                Standing::Gone => return Err(error::session_expired()),
                Standing::Behind => {}
            }
        }
    }

    /// The contender outlives this call.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    fn standing(&self, state: &State) -> Standing {
        if state.revision() < self.created {
            return Standing::Behind;
        }
        match state.get(&self.key) {
            Some(own) if own.meta.created.get() == self.created => {}
            _ => return Standing::Gone,
        }
        match first(state, &self.prefix) {
            Some((key, _)) if key.as_bytes() == self.key => Standing::First,
            _ => Standing::Behind,
        }
    }
}

enum Standing {
    First,
    Behind,
    /// Its lease ran out, or somebody deleted it.
    Gone,
}

impl Drop for Contender {
    fn drop(&mut self) {
        if self.kept || self.front.host.closing.is_cancelled() {
            // A node that stops leaves the place in line for the call's repeat at another node.
            return;
        }
        let (front, author) = (self.front.clone(), self.author.clone());
        let (key, created) = (self.key.clone(), self.created);
        tokio::spawn(async move {
            let deadline = Instant::now() + CLEAN_UP;
            if let Err(status) = leave(&front, &author, key, created, deadline).await {
                tracing::debug!(%status, "a contender stays until its lease ends");
            }
        });
    }
}

/// Deletes a contender if it is still the one that was created then. Answers the newest revision.
pub(super) async fn leave(
    front: &Front,
    author: &str,
    key: Bytes,
    created: u64,
    deadline: Instant,
) -> Result<u64, Status> {
    let delete = Kind::Delete(v1::DeleteOperation {
        range: Some(single(&key)),
        previous: false,
    });
    let (revision, _) = if_created(front, author, &key, created, delete, deadline).await?;
    Ok(revision)
}

/// Changes what a contender says, if it is still the one that was created then.
pub(super) async fn proclaim(
    front: &Front,
    author: &str,
    key: Bytes,
    created: u64,
    value: Bytes,
    deadline: Instant,
) -> Result<u64, Status> {
    if key.is_empty() {
        return Err(error::empty_key());
    }
    if key.len() > limits::KEY_BYTES || value.len() > limits::VALUE_BYTES {
        return Err(error::too_large());
    }
    let put = Kind::Put(v1::PutOperation {
        key: key.clone(),
        value: Some(convert::value(value)),
        keep_lease: true,
        ..v1::PutOperation::default()
    });
    match if_created(front, author, &key, created, put, deadline).await? {
        (revision, true) => Ok(revision),
        (_, false) => Err(error::election_not_leader()),
    }
}

/// Does `kind` if `key` was created at that revision. Answers the newest revision, and whether.
async fn if_created(
    front: &Front,
    author: &str,
    key: &Bytes,
    created: u64,
    kind: Kind,
    deadline: Instant,
) -> Result<(u64, bool), Status> {
    let transaction = v1::Transaction {
        compare: vec![is_created_at(key, created)],
        then: vec![operation(kind)],
        otherwise: Vec::new(),
    };
    let reply = front
        .propose(author, Body::Transact(transaction), deadline)
        .await?;
    match reply.body {
        ReplyBody::Transact(result) => Ok((reply.revision, result.succeeded)),
        _ => Err(error::unexpected()),
    }
}

/// Who holds: the contender created first.
pub(super) fn first<'a>(state: &'a State, prefix: &Bytes) -> Option<(&'a Key, &'a Arc<Entry>)> {
    state
        .range(&KeyRange::prefix(prefix.clone()))
        .min_by_key(|(key, entry)| (entry.meta.created, *key))
}

/// Below which a lock's contenders are.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

impl Front {
    /// Refuses who may not take part under a name, or use this lease.
    pub(super) async fn permit_contending(
        &self,
        caller: &Caller,
        name: &[u8],
        lease: i64,
        deadline: Instant,
    ) -> Result<(), Status> {
        let contenders = permit::contenders(name);
        let may = |state: &State, permit: &Permit| {
            permit.lock(&contenders)?;
            permit.use_lease(state, lease.cast_unsigned())
        };
        self.permit(caller, deadline, may).await
    }

    /// The lease to contend under: the caller's, or one of the node's own that nobody keeps alive.
    pub(super) async fn contending_lease(
        &self,
        author: &str,
        lease: i64,
        deadline: Instant,
    ) -> Result<LeaseId, Status> {
        if let Some(lease) = convert::lease(lease) {
            return Ok(lease);
        }
        let granted = self.grant(author, 0, OWN_LEASE_TTL, deadline).await?;
        convert::lease(granted.id).ok_or_else(error::lease_not_found)
    }
}

/// How long a caller that waits on purpose has, and what a single step of it may take.
pub(super) fn deadlines(metadata: &tonic::metadata::MetadataMap) -> (Instant, Option<Instant>) {
    (deadline::of(metadata), deadline::of_wait(metadata))
}

fn is_created_at(key: &Bytes, revision: u64) -> v1::Compare {
    v1::Compare {
        range: Some(single(key)),
        relation: Relation::Equal.into(),
        target: Some(Target::Created(revision)),
    }
}

fn single(key: &Bytes) -> v1::KeyRange {
    convert::wire_range(key.clone(), Bytes::new())
}

fn operation(kind: Kind) -> v1::Operation {
    v1::Operation {
        operation: Some(kind),
    }
}

/// Until when what was just decided must be confirmed.
pub(super) fn in_a_moment() -> Instant {
    Instant::now() + MOMENT
}

const MOMENT: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_secs(5);
const CLEAN_UP: Duration = Duration::from_secs(10);
/// As etcd's services grant it, seconds.
const OWN_LEASE_TTL: i64 = 60;
