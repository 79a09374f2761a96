//! Why a file was not read, not written or not imported.

use std::fmt;

use holdfast_proto::{KeyError, key, limits};

use super::Format;

/// Why a file was not read. Nothing of it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// Where, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It breaks the format's own rules, or says what has no type here.
    #[error("cannot be read as {format}: {detail}")]
    Syntax {
        /// The format that was expected.
        format: Format,
        /// What is wrong, and what to do where that is known.
        detail: String,
    },
    /// The bytes are not text.
    #[error("the bytes are not {expected}; save the file as {expected}")]
    Encoding {
        /// The encoding that was expected.
        expected: &'static str,
    },
    /// A value of a type that parameters do not have.
    #[error("{name} is {found}, which has no type here; {advice}")]
    NoType {
        /// The key, relative to the top of the file.
        name: String,
        /// What was found.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A name given twice.
    #[error("{name} is given twice; keep one of them")]
    Duplicate {
        /// The key, relative to the top of the file.
        name: String,
    },
    /// The names do not make a key.
    #[error("the names make no key: {source}")]
    Key {
        /// The key, relative to the top of the file.
        name: String,
        /// Why not.
        source: KeyError,
    },
    /// A value past the limit.
    #[error(
        "{name} has {bytes} bytes; at most {} are allowed: split it",
        limits::VALUE_BYTES
    )]
    TooLarge {
        /// The key, relative to the top of the file.
        name: String,
        /// Its size.
        bytes: usize,
    },
}

impl FormatError {
    pub(super) fn at(line: usize, problem: Problem) -> Self {
        Self::maybe_at(Some(line), problem)
    }

    pub(super) fn maybe_at(line: Option<usize>, problem: Problem) -> Self {
        Self { line, problem }
    }

    pub(super) fn syntax(line: Option<usize>, format: Format, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::maybe_at(line, Problem::Syntax { format, detail })
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for FormatError {}

/// Why parameters were not written as a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The format has no way to say it that would read back the same.
    #[error("{key}: {format} cannot say {what}; choose another format")]
    Unsayable {
        /// The key.
        key: String,
        /// The format.
        format: Format,
        /// What it cannot say.
        what: String,
    },
    /// A secret is never written to a file, sealed or not.
    #[error("{key} is a secret, and no file holds one; leave it out")]
    Secret {
        /// The key.
        key: String,
    },
    /// The key is none that a file's names could make.
    #[error(
        "{key}: no file can name this key (an empty part, a plain '@', or a '%' that encodes \
         nothing); leave it out by a longer prefix"
    )]
    ForeignKey {
        /// The key.
        key: String,
    },
    /// One key is both a value and the beginning of other keys.
    #[error(
        "{key} is a value and {below} lies below it, which {format} cannot say; use env or reg"
    )]
    BothValueAndTable {
        /// The value.
        key: String,
        /// A key below it.
        below: String,
        /// The format.
        format: Format,
    },
}

impl RenderError {
    pub(super) fn unsayable(key: &str, format: Format, what: impl Into<String>) -> Self {
        Self::Unsayable {
            key: key.to_owned(),
            format,
            what: what.into(),
        }
    }
}

/// Why no import was planned. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A prefix and a name together are no key.
    #[error("{name} under this prefix makes no key: {source}; choose a shorter prefix")]
    Key {
        /// The key, relative to the top of the file.
        name: String,
        /// Why not.
        source: key::KeyError,
    },
    /// A plain value would replace a secret, and stay in the history for all to read.
    #[error(
        "{key} is a secret, and the file has a plain value for it; take it out of the file and put \
         it with `kvctl secret put`, or delete the secret first"
    )]
    Secret {
        /// The key.
        key: key::Key,
    },
}
