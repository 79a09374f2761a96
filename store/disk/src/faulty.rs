//! Disks that fail on purpose.
//!
//! [`FaultyPast`] is an engine whose calls fail or panic when it is told to. What power cuts and
//! failing disks do to the log is shown from outside the process: see `tests/crash.rs`.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use holdfast_core::VersionId;

use crate::past::{Past, PastFault, PastReader, PastRow, memory::MemoryPast};

/// How a [`FaultyPast`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// As it should.
    None = 0,
    /// Reads fail.
    Reads = 1,
    /// Writes fail.
    Writes = 2,
}

/// Sets the fault of an engine that is in use.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<AtomicU8>);

impl Switch {
    pub(crate) fn set(&self, fault: Fault) {
        self.0.store(fault as u8, Ordering::SeqCst);
    }

    fn check(&self, fault: Fault) -> Result<(), PastFault> {
        if self.0.load(Ordering::SeqCst) == fault as u8 {
            return Err(PastFault("input/output error".to_owned()));
        }
        Ok(())
    }
}

/// A past in memory that fails on demand.
#[derive(Clone, Default)]
pub(crate) struct FaultyPast {
    rows: MemoryPast,
    pub(crate) switch: Switch,
}

impl Past for FaultyPast {
    fn keep(&mut self, rows: &[Arc<PastRow>]) -> Result<(), PastFault> {
        self.switch.check(Fault::Writes)?;
        self.rows.keep(rows)
    }

    fn forget(&mut self, ids: &[VersionId]) -> Result<(), PastFault> {
        self.switch.check(Fault::Writes)?;
        self.rows.forget(ids)
    }

    fn flush(&mut self) -> Result<(), PastFault> {
        self.switch.check(Fault::Writes)
    }

    fn reader(&self) -> Box<dyn PastReader> {
        Box::new(self.clone())
    }
}

impl PastReader for FaultyPast {
    fn row(&self, id: &VersionId) -> Result<Option<PastRow>, PastFault> {
        self.switch.check(Fault::Reads)?;
        self.rows.row(id)
    }
}
