//! The store through our own SDK.

use holdfast_client::{
    Client, DeleteOptions, Expected, Key, KeyRange, Operation, PutOptions, RangeOptions, ReadError,
    Revision, Transaction, WriteError,
};

use super::{Failure, Store, text};
use crate::history::Answer;

/// A client that repeats what was not answered, wherever it is answered.
pub(super) struct SdkStore(pub(super) Client);

impl Store for SdkStore {
    async fn get(&mut self, key: &str) -> Result<Answer, Failure> {
        let range = KeyRange::single(&parsed(key));
        let page = self.0.range(range, RangeOptions::default()).await?;
        let found = page.entries.first();
        Ok(Answer::Read {
            value: found.map(|entry| text(entry.value.as_ref())),
            modified: found.map_or(0, |entry| entry.modified.get()),
            revision: page.revision,
        })
    }

    async fn put(&mut self, key: &str, value: &str, note: &str) -> Result<Answer, Failure> {
        let options = PutOptions {
            note: note.to_owned(),
            ..PutOptions::default()
        };
        let done = self.0.put_with(key, value, options).await?;
        Ok(Answer::Written {
            revision: done.revision.get(),
        })
    }

    async fn compare_and_set(
        &mut self,
        key: &str,
        expected: Option<u64>,
        value: &str,
        note: &str,
    ) -> Result<Answer, Failure> {
        let expected = expected.and_then(Revision::new);
        let options = PutOptions {
            expected: Some(expected.map_or(Expected::Absent, Expected::At)),
            note: note.to_owned(),
            ..PutOptions::default()
        };
        match self.0.put_with(key, value, options).await {
            Err(WriteError::Conflict { found, .. }) => Ok(Answer::Conflict {
                found: found.map_or(0, Revision::get),
            }),
            done => Ok(Answer::Written {
                revision: done?.revision.get(),
            }),
        }
    }

    async fn delete(&mut self, key: &str, note: &str) -> Result<Answer, Failure> {
        let options = DeleteOptions {
            note: note.to_owned(),
            ..DeleteOptions::default()
        };
        let range = KeyRange::single(&parsed(key));
        let done = self.0.delete_range(range, options).await?;
        Ok(Answer::Deleted {
            existed: done.deleted > 0,
            revision: done.revision.map_or(0, Revision::get),
        })
    }

    async fn put_many(
        &mut self,
        keys: &[String],
        value: &str,
        note: &str,
    ) -> Result<Answer, Failure> {
        let mut transaction = Transaction::new();
        for key in keys {
            transaction = transaction.then(Operation::put(&parsed(key), value));
        }
        let done = self.0.transact(transaction, note).await?;
        Ok(Answer::Written {
            revision: done.revision,
        })
    }
}

fn parsed(key: &str) -> Key {
    Key::try_from(key).expect("the keys of a load are good ones")
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self {
            may_have_happened: false,
            why: error.to_string(),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self {
            may_have_happened: error.may_have_happened(),
            why: error.to_string(),
        }
    }
}
