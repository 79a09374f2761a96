//! What keeps a set from being up to date.

use holdfast_client::ReadError;

/// Why a set was not installed.
pub(super) enum NotInstalled {
    /// By its check.
    Refused(String),
    Failed(String),
}

/// Why a set is not up to date.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    NotInstalled(String),
    #[error("the hook failed: {0}")]
    Hook(String),
}

impl From<String> for NotInstalled {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}
