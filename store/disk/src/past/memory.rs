//! A past in memory: for tests, and for a node whose sled folder cannot be opened at all.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use holdfast_core::VersionId;
use parking_lot::RwLock;

use super::{Past, PastFault, PastReader, PastRow};

/// Rows in an ordered map, encoded as on disk.
#[derive(Clone, Default)]
pub(crate) struct MemoryPast(Arc<RwLock<BTreeMap<VersionId, Bytes>>>);

impl Past for MemoryPast {
    fn keep(&mut self, rows: &[Arc<PastRow>]) -> Result<(), PastFault> {
        let mut kept = self.0.write();
        kept.extend(rows.iter().map(|row| (row.id.clone(), row.encode().into())));
        Ok(())
    }

    fn forget(&mut self, ids: &[VersionId]) -> Result<(), PastFault> {
        let mut kept = self.0.write();
        for id in ids {
            kept.remove(id);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PastFault> {
        Ok(())
    }

    fn reader(&self) -> Box<dyn PastReader> {
        Box::new(self.clone())
    }
}

impl PastReader for MemoryPast {
    fn row(&self, id: &VersionId) -> Result<Option<PastRow>, PastFault> {
        let Some(bytes) = self.0.read().get(id).cloned() else {
            return Ok(None);
        };
        PastRow::decode(bytes)
            .map(Some)
            .ok_or_else(|| PastFault("a row does not check".to_owned()))
    }
}
