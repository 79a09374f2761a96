//! Looking into a message: whether its sender may have it passed on.
//!
//! Invariant: a message that has parts which this agent does not know is refused, for they may be what
//! matters. What was understood, written down again, must be what came.

use bytes::Bytes;
use holdfast_proto::{
    KeyRange,
    v1::{self, operation::Operation as Kind},
};
use prost::Message;

use super::{
    denied::{Refused, What},
    grants::Grants,
};

/// Looks into a message.
pub(super) type Look = fn(&Grants, &Bytes) -> Result<(), Refused>;

/// What a method takes.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// To be named at all.
    Anybody,
    /// To be allowed every call; what it is about, in words.
    Operators(&'static str),
    /// To be allowed what the message is about.
    Message(Look),
}

impl Check {
    pub(super) fn pass(&self, grants: &Grants, message: &Bytes) -> Result<(), Refused> {
        match self {
            _ if grants.is_all() => Ok(()),
            Self::Anybody => Ok(()),
            Self::Operators(what) => Err(Refused::Operators(what)),
            Self::Message(look) => look(grants, message),
        }
    }
}

pub(super) fn range(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::RangeRequest = read(message)?;
    grants.read(&named(request.range)?)
}

pub(super) fn put(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::PutRequest = read(message)?;
    grants.write(&key(request.key))?;
    no_lease(request.lease)
}

pub(super) fn delete(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::DeleteRequest = read(message)?;
    grants.write(&named(request.range)?)
}

pub(super) fn transact(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::TransactRequest = read(message)?;
    let transaction = request
        .transaction
        .ok_or(Refused::Invalid("the request holds no transaction"))?;
    transaction_of(grants, &transaction)
}

pub(super) fn history(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::HistoryRequest = read(message)?;
    grants.read(&key(request.key))
}

pub(super) fn diff(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::DiffRequest = read(message)?;
    grants.read(&named(request.range)?)
}

pub(super) fn rollback(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::RollbackRequest = read(message)?;
    grants.write(&named(request.range)?)
}

/// The message that makes a watch.
pub(super) fn watch(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::WatchRequest = read(message)?;
    match request.request {
        Some(v1::watch_request::Request::Create(create)) => grants.read(&named(create.range)?),
        _ => Err(Refused::Invalid(
            "a watch begins with what is to be watched",
        )),
    }
}

pub(super) fn secret_put(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::SecretPutRequest = read(message)?;
    grants.write(&key(request.key))?;
    no_lease(request.lease)
}

pub(super) fn reveal(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::RevealRequest = read(message)?;
    grants.reveal(&key(request.key))
}

pub(super) fn secret_destroy(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::SecretDestroyRequest = read(message)?;
    grants.write(&key(request.key))
}

/// A service tells how it does with what it may read.
pub(super) fn fleet_report(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::FleetReportRequest = read(message)?;
    for report in request.reports {
        // Sets of files are the agent's own, and its word for them counts.
        if !report.set.is_empty() {
            return Err(Refused::Operators("reports of sets of files"));
        }
        grants.read(&KeyRange::prefix(report.prefix))?;
    }
    Ok(())
}

pub(super) fn fleet_list(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::FleetListRequest = read(message)?;
    grants.read(&KeyRange::prefix(request.prefix))
}

pub(super) fn fleet_forget(grants: &Grants, message: &Bytes) -> Result<(), Refused> {
    let request: v1::FleetForgetRequest = read(message)?;
    grants.write(&KeyRange::prefix(request.prefix))
}

/// All of it: also the branch that is not taken, since which one it is tells something.
fn transaction_of(grants: &Grants, transaction: &v1::Transaction) -> Result<(), Refused> {
    for compare in &transaction.compare {
        grants.read(&named(compare.range.clone())?)?;
    }
    let steps = transaction.then.iter().chain(&transaction.otherwise);
    for step in steps {
        match step.operation.as_ref().ok_or(Refused::Unknown)? {
            Kind::Range(step) => grants.read(&named(step.range.clone())?)?,
            Kind::Put(step) => {
                grants.write(&key(step.key.clone()))?;
                no_lease(step.lease)?;
            }
            Kind::Delete(step) => grants.write(&named(step.range.clone())?)?,
            Kind::Transaction(inner) => transaction_of(grants, inner)?,
        }
    }
    Ok(())
}

impl Grants {
    fn read(&self, range: &KeyRange) -> Result<(), Refused> {
        unless(self.reads(range), What::Read, range)
    }

    fn write(&self, range: &KeyRange) -> Result<(), Refused> {
        unless(self.writes(range), What::Write, range)
    }

    fn reveal(&self, range: &KeyRange) -> Result<(), Refused> {
        unless(self.reveals(range), What::Reveal, range)
    }
}

fn unless(allowed: bool, what: What, range: &KeyRange) -> Result<(), Refused> {
    match allowed {
        true => Ok(()),
        false => Err(Refused::Denied {
            what,
            range: range.clone(),
        }),
    }
}

/// Whose a lease is cannot be told here.
fn no_lease(lease: u64) -> Result<(), Refused> {
    match lease {
        0 => Ok(()),
        _ => Err(Refused::Operators("leases")),
    }
}

/// What the message says, if that is all it says.
pub(super) fn read<M: Message + Default>(message: &Bytes) -> Result<M, Refused> {
    let read = M::decode(message.clone())
        .map_err(|_| Refused::Invalid("the request cannot be read; nothing was done"))?;
    match read.encode_to_vec() == *message {
        true => Ok(read),
        false => Err(Refused::Unknown),
    }
}

fn named(range: Option<v1::KeyRange>) -> Result<KeyRange, Refused> {
    range
        .map(KeyRange::from)
        .ok_or(Refused::Invalid("the request names no keys"))
}

/// One key, as a range. What is no key at all is refused by the server.
fn key(key: Bytes) -> KeyRange {
    KeyRange::from(v1::KeyRange {
        key,
        end: Bytes::new(),
    })
}

#[cfg(test)]
mod tests;
