//! Authors repeat: each is kept once in memory and shared.

use std::sync::Arc;

use imbl::OrdSet;

/// More than this many are not remembered at a time.
const MOST: usize = 1_024;

#[derive(Clone, Default)]
pub(crate) struct Authors(OrdSet<Arc<str>>);

impl Authors {
    /// The same author, shared with earlier uses.
    pub(crate) fn intern(&mut self, author: Arc<str>) -> Arc<str> {
        if let Some(known) = self.0.get(&*author) {
            return Arc::clone(known);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(Arc::clone(&author));
        author
    }
}
