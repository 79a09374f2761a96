//! Revisions: places in the committed history of the keyspace.

use std::{fmt, num::NonZeroU64};

/// A place in the committed history. Starts at 1 and is never reused; on the wire, 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(NonZeroU64);

impl Revision {
    /// From the wire: 0 is none.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// As a number, never 0.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The one after `revision`, or the first.
    pub fn after(revision: Option<Self>) -> Self {
        let number = revision.map_or(0, Self::get);
        Self(NonZeroU64::MIN.saturating_add(number))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_start_at_one_and_rise_by_one() {
        let first = Revision::after(None);
        assert_eq!(first.get(), 1);
        assert_eq!(Revision::after(Some(first)).get(), 2);
        assert_eq!(Revision::new(0), None);
    }
}
