//! One call's place in the line for a lock.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_core::{State, lock};
use holdfast_proto::{
    Key, KeyRange, LeaseId,
    log::v1::{command::Body, reply},
    v1::{self, compare, operation::Operation as Kind},
};
use tonic::Status;

use crate::{
    deadline,
    host::Host,
    status::{Reason, invalid},
};

/// A contender that goes away with the call that entered it, unless it is kept.
pub(crate) struct Contender {
    host: Arc<Host>,
    key: Key,
    name: Key,
    lease: LeaseId,
    value: Option<v1::Value>,
    author: String,
    place: Place,
    kept: bool,
}

/// Where in line.
#[derive(Clone, Copy)]
struct Place {
    /// Revision that created the contender: its token.
    created: u64,
    /// Revision of what this call wrote.
    modified: u64,
}

impl Contender {
    /// Gets in line, or takes over the place that `lease` has.
    pub(crate) async fn enter(
        host: &Arc<Host>,
        name: &Key,
        lease: LeaseId,
        value: Option<v1::Value>,
        author: String,
        deadline: Instant,
    ) -> Result<Self, Status> {
        let mut contender = Self {
            host: Arc::clone(host),
            key: key(name, lease)?,
            name: name.clone(),
            lease,
            value,
            author,
            place: Place {
                created: 0,
                modified: 0,
            },
            // Nothing to take away yet.
            kept: true,
        };
        contender.contend(deadline).await?;
        contender.kept = false;
        Ok(contender)
    }

    /// The fencing token.
    pub(crate) fn token(&self) -> u64 {
        self.place.created
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The contender outlives this call.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// Whether it holds, as of now.
    pub(crate) async fn is_first(&self, deadline: Instant) -> Result<bool, Status> {
        self.host.barrier(deadline).await?;
        Ok(self.host.read(|state| self.standing(state)) == Some(true))
    }

    /// Waits until it holds.
    pub(crate) async fn wait(&mut self, deadline: Option<Instant>) -> Result<(), Status> {
        loop {
            let standing = self
                .host
                .wait_for(deadline, |state| match self.standing(state) {
                    Some(false) => None,
                    standing => Some(standing),
                })
                .await?;
            let step = Instant::now() + STEP;
            let step = deadline.map_or(step, |deadline| deadline.min(step));
            if standing.is_none() {
                // Somebody took the contender away, perhaps an earlier call's clean-up.
                self.contend(step).await?;
            } else if self.is_first(step).await? {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(deadline::too_late());
            }
        }
    }

    /// Leaves the line.
    pub(crate) async fn leave(&mut self, deadline: Instant) -> Result<(), Status> {
        self.kept = true;
        take_away(
            &self.host,
            &self.key,
            self.place,
            self.author.clone(),
            deadline,
        )
        .await
    }

    /// `None`: not in line any more. Else whether it is first.
    fn standing(&self, state: &State) -> Option<bool> {
        let own = state.get(self.key.as_bytes())?;
        if own.meta.created.get() != self.place.created {
            return None;
        }
        let (first, _) = lock::holder(state, &self.name)?;
        Some(*first == self.key)
    }

    /// Puts the key: as it was created if it is there, under the lease in any case.
    async fn contend(&mut self, deadline: Instant) -> Result<(), Status> {
        let value = self.value.clone().unwrap_or_else(|| v1::Value {
            kind: Some(v1::value::Kind::Text(String::new())),
        });
        let put = Kind::Put(v1::PutOperation {
            key: self.key.to_bytes(),
            value: Some(value),
            lease: self.lease.get(),
            ..v1::PutOperation::default()
        });
        let read = Kind::Range(v1::RangeOperation {
            range: Some(KeyRange::single(&self.key).into()),
            keys_only: true,
            ..v1::RangeOperation::default()
        });
        let transaction = v1::Transaction {
            compare: Vec::new(),
            then: [put, read]
                .into_iter()
                .map(|operation| v1::Operation {
                    operation: Some(operation),
                })
                .collect(),
            otherwise: Vec::new(),
        };
        let body = Body::Transact(transaction);
        let reply = self
            .host
            .propose_own(self.author.clone(), String::new(), body, deadline)
            .await?
            .into_wire();
        self.place = own_place(&reply).ok_or_else(|| {
            Reason::Internal.status("the store did not say where in line the contender is")
        })?;
        Ok(())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if self.kept || self.host.closing.is_cancelled() {
            // A node that stops leaves the place in line for the call's repeat at another node.
            return;
        }
        let (host, key, place) = (self.host.clone(), self.key.clone(), self.place);
        let author = std::mem::take(&mut self.author);
        tokio::spawn(async move {
            let deadline = Instant::now() + CLEAN_UP;
            if let Err(status) = take_away(&host, &key, place, author, deadline).await {
                tracing::debug!(%key, %status, "a contender stays until its lease ends");
            }
        });
    }
}

/// Deletes the contender if it is as this call wrote it.
async fn take_away(
    host: &Host,
    key: &Key,
    place: Place,
    author: String,
    deadline: Instant,
) -> Result<(), Status> {
    let body = Body::Transact(v1::Transaction {
        compare: vec![v1::Compare {
            range: Some(KeyRange::single(key).into()),
            relation: compare::Relation::Equal.into(),
            target: Some(compare::Target::Modified(place.modified)),
        }],
        then: vec![v1::Operation {
            operation: Some(Kind::Delete(delete(key))),
        }],
        otherwise: Vec::new(),
    });
    host.propose_own(author, String::new(), body, deadline)
        .await?;
    Ok(())
}

/// The read behind the put of a contention.
fn own_place(reply: &holdfast_proto::log::v1::Reply) -> Option<Place> {
    use v1::operation_result::Result as Done;
    let Some(reply::Body::Transact(result)) = &reply.body else {
        return None;
    };
    result
        .results
        .iter()
        .find_map(|result| match &result.result {
            Some(Done::Range(range)) => range.entries.first().map(|entry| Place {
                created: entry.created,
                modified: entry.modified,
            }),
            _ => None,
        })
}

/// The contender's key.
pub(crate) fn key(name: &Key, lease: LeaseId) -> Result<Key, Status> {
    lock::contender_key(name, lease)
        .map_err(|_| invalid("the lock's name is too long; with '/' and 16 more it must fit a key"))
}

/// The deletion of one key.
pub(crate) fn delete(key: &Key) -> v1::DeleteOperation {
    v1::DeleteOperation {
        range: Some(KeyRange::single(key).into()),
        previous: false,
    }
}

/// Holds while `key` is the contender of `token`.
pub(crate) fn is_created_at(key: &Key, token: u64) -> v1::Compare {
    v1::Compare {
        range: Some(KeyRange::single(key).into()),
        relation: compare::Relation::Equal.into(),
        target: Some(compare::Target::Created(token)),
    }
}

const STEP: Duration = Duration::from_secs(5);
const CLEAN_UP: Duration = Duration::from_secs(10);
