//! What went wrong: in words on standard error, as a number to the shell. The numbers are `kvctl`'s.

use std::{error::Error, process::ExitCode};

use holdfast_client::{ConnectError, ContextError, ReadError};

use crate::{settings::SettingsError, socket::SocketError};

/// A command that did not do what it was asked to. Its text says what happened and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

/// How a command ends, for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Refused, or failed for sure.
    Refused = 1,
    /// The command line, or what it names, makes no sense.
    Usage = 2,
    /// No server could be reached, or no majority of them.
    Unreachable = 4,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { exit, message }
    }

    /// What an error and its causes say.
    pub(crate) fn from_error(exit: Exit, error: &dyn Error) -> Self {
        Self::new(exit, chain(error))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }

    /// Says it on standard error.
    pub(crate) fn tell(&self) {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        anstream::eprintln!("{red}error{red:#}: {}", self.message);
    }
}

/// An error and what it came from, in one sentence.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::from_error(Exit::Usage, &error)
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        Self::from_error(Exit::Refused, &error)
    }
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Self {
        Self::from_error(Exit::Usage, &error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match error {
            ConnectError::Unreachable { .. } | ConnectError::NoAgent { .. } => Exit::Unreachable,
            ConnectError::Unauthorized { .. } | ConnectError::AgentRefuses { .. } => Exit::Refused,
            _ => Exit::Usage,
        };
        Self::from_error(exit, &error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let exit = match error {
            ReadError::Unreachable { .. } => Exit::Unreachable,
            ReadError::Invalid { .. } => Exit::Usage,
            _ => Exit::Refused,
        };
        Self::from_error(exit, &error)
    }
}
