//! What writes and transactions need: each part its own right, whichever branch is taken.

use holdfast_core::{
    State,
    access::{Capability, Target},
};
use holdfast_proto::{
    KeyRange,
    v1::{self, compare::Target as Compared, operation::Operation as Kind},
};

use super::{Denied, Permit};

impl Permit {
    /// A put; what was there before is a read, and a lease is somebody's.
    pub(crate) fn put(&self, state: &State, put: &v1::PutOperation) -> Result<(), Denied> {
        self.write(&put.key)?;
        if put.previous {
            self.check(Capability::Read, Target::Key(&put.key))?;
        }
        match put.lease {
            0 => Ok(()),
            lease => self.use_lease(state, lease),
        }
    }

    /// A deletion; what was there before is a read.
    pub(crate) fn deletion(&self, delete: &v1::DeleteOperation) -> Result<(), Denied> {
        let Some(range) = range(delete.range.as_ref()) else {
            return Ok(());
        };
        self.delete(&range)?;
        match delete.previous {
            true => self.read(&range),
            false => Ok(()),
        }
    }

    /// All of a transaction: also of the branch that is not taken, since which one it is may be told
    /// by values that the caller must not know.
    pub(crate) fn transaction(
        &self,
        state: &State,
        transaction: &v1::Transaction,
    ) -> Result<(), Denied> {
        for compare in &transaction.compare {
            self.compare(compare)?;
        }
        let steps = transaction.then.iter().chain(&transaction.otherwise);
        for step in steps.filter_map(|step| step.operation.as_ref()) {
            match step {
                Kind::Range(read) => {
                    let Some(range) = range(read.range.as_ref()) else {
                        continue;
                    };
                    match read.keys_only || read.count_only {
                        true => self.list(&range)?,
                        false => self.read(&range)?,
                    }
                }
                Kind::Put(put) => self.put(state, put)?,
                Kind::Delete(delete) => self.deletion(delete)?,
                Kind::Transaction(inner) => self.transaction(state, inner)?,
            }
        }
        Ok(())
    }

    /// Comparing a value tells it, sooner or later. That a key is there, or since when, may be known
    /// to who lists it; and to who writes it, for a write can be made to depend on that.
    fn compare(&self, compare: &v1::Compare) -> Result<(), Denied> {
        let Some(range) = range(compare.range.as_ref()) else {
            return Ok(());
        };
        let by_value = matches!(
            compare.target,
            Some(Compared::Value(_) | Compared::Canonical(_))
        );
        match by_value {
            true => self.read(&range),
            false => self.compare_presence(&range),
        }
    }

    /// Whether keys are there, and since when.
    pub(crate) fn compare_presence(&self, range: &KeyRange) -> Result<(), Denied> {
        let listed = self.list(range);
        match listed.is_err() && self.write_all(range).is_ok() {
            true => Ok(()),
            false => listed,
        }
    }
}

/// What names no range is refused as what makes no sense, and not here.
fn range(wire: Option<&v1::KeyRange>) -> Option<KeyRange> {
    wire.cloned().map(KeyRange::from)
}
