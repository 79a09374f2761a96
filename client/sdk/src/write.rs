//! Writes: put, delete, transactions. Each goes under one request id, however often it is sent.

use std::fmt;

use holdfast_proto::{Key, KeyRange, LeaseId, Revision, Value, v1};

use crate::{
    Client, DeleteOptions, Entry, PutOptions, Transacted, Transaction, WriteError,
    entry::{Unreadable, entries},
    error::Failure,
    reason::{self, Reason},
};

/// What must be under a key for a write to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The version written at this revision.
    At(Revision),
}

/// A put that went through.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The revision it made.
    pub revision: Revision,
    /// What was there, if asked for.
    pub previous: Option<Entry>,
}

/// A delete that went through.
#[derive(Clone, Debug, PartialEq)]
pub struct Deleted {
    /// The revision it made; `None`: nothing was there, nothing changed.
    pub revision: Option<Revision>,
    /// How many keys are gone.
    pub deleted: u64,
    /// What was there, if asked for.
    pub previous: Vec<Entry>,
}

impl Expected {
    pub(crate) fn to_wire(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::At(revision) => revision.get(),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::At(revision) => write!(f, "at revision {revision}"),
        }
    }
}

impl Client {
    /// Puts a value, whatever is there.
    pub async fn put<K>(&self, key: K, value: impl Into<Value>) -> Result<Written, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// Puts a value: only if the expected version is there, under a lease, with a note.
    pub async fn put_with<K>(
        &self,
        key: K,
        value: impl Into<Value>,
        options: PutOptions,
    ) -> Result<Written, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        let key = parse_key(key)?;
        let value = value.into();
        if let Value::Sealed(_) = value {
            return Err(WriteError::Invalid {
                message:
                    "what is sealed is not put as a value; put the secret itself, with `secrets`"
                        .to_owned(),
            });
        }
        let write = self.begin_write();
        let request = v1::PutRequest {
            request: Some(write.id().into()),
            key: key.to_bytes(),
            value: Some(value.into()),
            lease: options.lease.map_or(0, LeaseId::get),
            note: options.note,
            expected: options.expected.map(Expected::to_wire),
            previous: options.previous,
            keep_value: false,
            keep_lease: options.keep_lease,
            replace_secret: options.replace_secret,
        };
        let answer = self
            .call(self.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.kv().put(request).await }
            })
            .await
            .map_err(|failure| conflict_or(failure, options.expected, || key.clone()))?;
        Ok(Written {
            revision: Revision::new(answer.message.revision).ok_or(Unreadable("revision"))?,
            previous: answer.message.previous.map(Entry::from_wire).transpose()?,
        })
    }

    /// Deletes a key.
    pub async fn delete<K>(&self, key: K) -> Result<Deleted, WriteError>
    where
        K: TryInto<Key>,
        K::Error: fmt::Display,
    {
        let range = KeyRange::single(&parse_key(key)?);
        self.delete_range(range, DeleteOptions::default()).await
    }

    /// Deletes every key of a range, in one revision.
    pub async fn delete_range(
        &self,
        range: KeyRange,
        options: DeleteOptions,
    ) -> Result<Deleted, WriteError> {
        if options.expected.is_some() && range.as_single().is_none() {
            return Err(WriteError::Invalid {
                message: "an expected revision goes with one key, not with a range".to_owned(),
            });
        }
        let write = self.begin_write();
        let request = v1::DeleteRequest {
            request: Some(write.id().into()),
            range: Some(range.clone().into()),
            expected: options.expected.map(Expected::to_wire),
            previous: options.previous,
            note: options.note,
        };
        let answer = self
            .call(self.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.kv().delete(request).await }
            })
            .await;
        let answer = match (answer, range.as_single().map(|k| Key::new(k.clone()))) {
            (Ok(answer), _) => answer.message,
            (Err(failure), Some(Ok(key))) => {
                return Err(conflict_or(failure, options.expected, || key));
            }
            (Err(failure), _) => return Err(failure.into()),
        };
        Ok(Deleted {
            revision: Revision::new(answer.revision),
            deleted: answer.deleted,
            previous: entries(answer.previous)?,
        })
    }

    /// Runs a transaction: in one revision, or not at all. The note goes into the history.
    pub async fn transact(
        &self,
        transaction: Transaction,
        note: impl Into<String>,
    ) -> Result<Transacted, WriteError> {
        let write = self.begin_write();
        let request = v1::TransactRequest {
            request: Some(write.id().into()),
            transaction: Some(transaction.into_wire()),
            note: note.into(),
        };
        let answer = self
            .call(self.writing(), |attempt| {
                let request = attempt.request(request.clone());
                async move { attempt.kv().transact(request).await }
            })
            .await?;
        Ok(Transacted::from_wire(answer.message)?)
    }
}

pub(crate) fn conflict_or(
    failure: Failure,
    expected: Option<Expected>,
    key: impl FnOnce() -> Key,
) -> WriteError {
    match (failure, expected) {
        (Failure::Refused(status), Some(expected)) if Reason::of(&status) == Reason::Conflict => {
            WriteError::Conflict {
                key: key(),
                expected,
                found: reason::found(&status),
            }
        }
        (failure, _) => failure.into(),
    }
}

pub(crate) fn parse_key<K>(key: K) -> Result<Key, WriteError>
where
    K: TryInto<Key>,
    K::Error: fmt::Display,
{
    key.try_into().map_err(|error| WriteError::Invalid {
        message: error.to_string(),
    })
}

/// The write went through; only its answer cannot be read.
impl From<Unreadable> for WriteError {
    fn from(error: Unreadable) -> Self {
        Self::Unknown {
            waited: std::time::Duration::ZERO,
            last: error.to_string(),
        }
    }
}
