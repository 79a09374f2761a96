//! Reading many rows, in about the order in which they were kept.
//!
//! Rows lie side by side as they were kept. To look each of them up is to find its block, and its place
//! in it, again and again, which is a fifth of what an archive with much history costs. So whoever wants
//! many takes a row's neighbours along.

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_core::{Digest, VersionId};

use super::{Neighbours, PastReader, PastRow};

/// The rows behind the last one that was looked up.
#[derive(Default)]
pub(crate) struct Walk {
    ahead: VecDeque<Bytes>,
    are_checked: bool,
}

impl Walk {
    /// The row of a version, encoded, if it is ahead and its value is the one with this digest. `None`:
    /// look it up, which also says what is wrong with it, and then [`look_ahead`](Self::look_ahead).
    pub(crate) fn take(&mut self, id: &VersionId, digest: Digest) -> Option<Bytes> {
        let passed = self.ahead.iter().position(|row| PastRow::is_of(row, id))?;
        self.ahead.drain(..passed);
        let encoded = self.ahead.pop_front()?;
        let is_it = if self.are_checked {
            PastRow::digest_of(&encoded) == Some(digest)
        } else {
            let row = PastRow::decode(encoded.clone())?;
            row.id == *id && row.digest == digest
        };
        is_it.then_some(encoded)
    }

    /// Takes along what was kept behind the row of a version.
    pub(crate) fn look_ahead(&mut self, reader: &dyn PastReader, from: &VersionId) {
        let Neighbours { rows, are_checked } = reader.after(from);
        self.ahead = rows.into();
        self.are_checked = are_checked;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_proto::{Key, Revision, Value};

    use super::*;
    use crate::past::{Past as _, sled::SledPast};

    fn rows(count: u64) -> Vec<Arc<PastRow>> {
        let row = |number| {
            let value = Value::from("x".repeat(200) + &format!("{number}"));
            let digest = Digest::of(&value);
            let id = VersionId {
                key: Key::try_from(&*format!("walk/{}", number * 7 % 100)).unwrap(),
                revision: Revision::new(number).unwrap(),
            };
            Arc::new(PastRow { id, value, digest })
        };
        (1..=count).map(row).collect()
    }

    /// Reads rows one after the other; gives how many had to be looked up.
    fn walk<'a>(past: &SledPast, rows: impl IntoIterator<Item = &'a Arc<PastRow>>) -> usize {
        let reader = past.reader();
        let mut walk = Walk::default();
        let mut looked_up = 0;
        for row in rows {
            let read = walk.take(&row.id, row.digest).unwrap_or_else(|| {
                looked_up += 1;
                let found = reader.row(&row.id).unwrap().unwrap();
                walk.look_ahead(&*reader, &row.id);
                found.encode().into()
            });
            assert_eq!(PastRow::decode(read).as_ref(), Some(&**row));
        }
        looked_up
    }

    #[test]
    fn of_rows_in_order_few_are_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut past = SledPast::open(dir.path()).unwrap();
        let rows = rows(1_000);
        past.keep(&rows).unwrap();
        // A block of 8 KiB holds some twenty-five.
        assert!(walk(&past, &rows) < 50);
        // Those in between are passed over, and all come back in whatever order.
        assert!(walk(&past, rows.iter().step_by(3)) < 50);
        walk(&past, rows.iter().rev());
    }

    #[test]
    fn what_is_not_as_the_state_knows_it_is_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut past = SledPast::open(dir.path()).unwrap();
        let rows = rows(3);
        past.keep(&rows).unwrap();
        let reader = past.reader();
        let ahead = || {
            let mut walk = Walk::default();
            reader.row(&rows[0].id).unwrap().unwrap();
            walk.look_ahead(&*reader, &rows[0].id);
            assert!(walk.are_checked);
            walk
        };
        assert_eq!(ahead().take(&rows[0].id, rows[0].digest), None);
        assert!(ahead().take(&rows[1].id, rows[1].digest).is_some());
        assert_eq!(ahead().take(&rows[1].id, rows[2].digest), None);
        // Of an engine that was opened anew, nobody knows what was written.
        drop((reader, past));
        let past = SledPast::open(dir.path()).unwrap();
        let reader = past.reader();
        reader.row(&rows[0].id).unwrap().unwrap();
        let mut damaged = Walk::default();
        damaged.look_ahead(&*reader, &rows[0].id);
        assert!(!damaged.are_checked);
        let mut bytes = damaged.ahead[1].to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        damaged.ahead[1] = bytes.into();
        assert_eq!(damaged.take(&rows[2].id, rows[2].digest), None);
    }
}
