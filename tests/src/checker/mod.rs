//! Checks of a [`History`] against what the store promises.
//!
//! * [`linearizable`]: each key behaves like one register, judged from calls and answers alone
//!   (Wing and Gong's search with Lowe's memoisation, as in Porcupine).
//! * [`writes`]: no acknowledged write is lost, none is applied twice, a refused one never, and
//!   revisions have no gap and follow real time.
//! * [`reads`]: each read is the store's account at the revision it names, and not older than
//!   what had been acknowledged before it began.
//! * [`watches`]: ordered, unique, whole and without a hole.
//! * [`locks`]: tokens rise strictly, and no two holders at once.
//!
//! The first needs only the clients' lines. The others compare them with the store's own account
//! ([`History::changes`]), which finds more and says it better. Each check has histories that it
//! must catch, in its tests.

use std::fmt;

use crate::history::History;

pub mod linearizable;
pub mod locks;
pub mod reads;
pub mod watches;
pub mod writes;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    /// What it saw.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// Everything that is wrong with a history, worst first; empty: it holds.
pub fn check(history: &History) -> Vec<Violation> {
    let operations = history.operations();
    let mut violations = writes::check(&operations, &history.changes);
    violations.extend(reads::check(&operations, &history.changes));
    violations.extend(linearizable::check(&operations, Some(&history.changes)));
    violations.extend(watches::check(&history.lines, &history.changes));
    violations.extend(locks::check(&operations, &history.lines));
    violations
}
