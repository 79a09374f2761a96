//! An import against a cluster: read what is there, plan, write.

use crate::{
    Client, Entry, KeyRange, RangeOptions, ReadError, Transacted, WriteError,
    formats::{Current, Document, ImportPlan, PlanError, import_prefix},
};

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Keys that were set.
    pub written: usize,
    /// Keys that were deleted.
    pub deleted: usize,
    /// The revision of the last transaction; `None`: everything was so already.
    pub revision: Option<u64>,
}

/// Why an import failed, and how far it came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// What is there could not be read. Nothing was written.
    #[error("what is there now could not be read; nothing was imported")]
    Read(#[from] ReadError),
    /// No plan could be made. Nothing was written.
    #[error("nothing was imported")]
    Plan(#[from] PlanError),
    /// Somebody changed one of the keys after they were read.
    #[error(
        "one of the keys was changed meanwhile; {done} of {of} keys were imported before that, \
         import again for the rest"
    )]
    Changed {
        /// Keys done before.
        done: usize,
        /// Keys planned.
        of: usize,
    },
    /// A transaction was refused, or its outcome is not known.
    #[error("{done} of {of} keys were imported before this; import again for the rest")]
    Write {
        /// Keys done before.
        done: usize,
        /// Keys planned.
        of: usize,
        /// Why.
        source: WriteError,
    },
}

/// Reads what lies under `prefix` and says what importing `document` there would change.
pub async fn plan(
    client: &Client,
    prefix: &str,
    document: &Document,
) -> Result<ImportPlan, ImportError> {
    let range = KeyRange::prefix(import_prefix(prefix));
    let page = client.range_all(range, RangeOptions::default()).await?;
    let current = page.entries.into_iter().filter_map(current);
    Ok(ImportPlan::new(document, prefix, current)?)
}

impl ImportPlan {
    /// Carries the plan out, one transaction after the other, each whole or not at all.
    pub async fn apply(&self, client: &Client, note: &str) -> Result<Imported, ImportError> {
        let mut imported = Imported::default();
        let of = self.changes().len();
        let mut changes = self.changes().iter();
        for transaction in self.transactions() {
            let done = imported.written + imported.deleted;
            let operations = transaction.operations();
            match client.transact(transaction, note).await {
                Ok(Transacted {
                    succeeded: false, ..
                }) => {
                    return Err(ImportError::Changed { done, of });
                }
                Ok(transacted) => imported.revision = Some(transacted.revision),
                Err(source) => return Err(ImportError::Write { done, of, source }),
            }
            for change in changes.by_ref().take(operations) {
                match change.after {
                    Some(_) => imported.written += 1,
                    None => imported.deleted += 1,
                }
            }
        }
        Ok(imported)
    }
}

fn current(entry: Entry) -> Option<Current> {
    Some(Current {
        key: entry.key,
        modified: entry.modified.get(),
        value: entry.value?,
    })
}
