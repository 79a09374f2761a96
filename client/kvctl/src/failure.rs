//! What went wrong: in words on standard error, as a number to the shell.

use std::{error::Error, fmt, io, process::ExitCode};

use holdfast_client::{
    ConnectError, ContextError, LockError, OverrideError, ReadError, WatchError, WriteError,
    formats::{FormatError, ImportError, RenderError},
};

/// A command that did not do what it was asked to. Its text says what happened and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

/// How a command ends, for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nobody reads the result any more; there is nothing to say.
    Unread = 0,
    /// Refused, or failed for sure.
    Refused = 1,
    /// The command line, or what it names, makes no sense.
    Usage = 2,
    /// A write that may or may not have happened.
    Unknown = 3,
    /// No server could be reached, or no majority of them.
    Unreachable = 4,
}

impl Failure {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { exit, message }
    }

    fn from_error(exit: Exit, error: &dyn Error) -> Self {
        Self::new(exit, chain(error))
    }

    /// With words in front that say what was being done.
    pub(crate) fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit.into()
    }

    /// Says it on standard error.
    pub(crate) fn tell(&self) {
        if self.exit == Exit::Unread {
            return;
        }
        let red = anstyle::AnsiColor::Red.on_default().bold();
        anstream::eprintln!("{red}error{red:#}: {}", self.message);
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error and what it came from, in one sentence.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
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
        Self::from_error(exit_of_read(&error), &error)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::from_error(exit_of_write(&error), &error)
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        let exit = match error {
            WatchError::Unreachable { .. } => Exit::Unreachable,
            _ => Exit::Refused,
        };
        Self::from_error(exit, &error)
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let exit = match &error {
            LockError::Write(error) => exit_of_write(error),
            _ => Exit::Refused,
        };
        Self::from_error(exit, &error)
    }
}

impl From<OverrideError> for Failure {
    fn from(error: OverrideError) -> Self {
        Self::from_error(Exit::Refused, &error)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let exit = match &error {
            ImportError::Read(error) => exit_of_read(error),
            ImportError::Write { source, .. } => exit_of_write(source),
            _ => Exit::Refused,
        };
        Self::from_error(exit, &error)
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Self::from_error(Exit::Refused, &error)
    }
}

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Self::from_error(Exit::Refused, &error)
    }
}

/// Of writing a result; reading has words of its own.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Unread, "");
        }
        Self::new(
            Exit::Refused,
            format!("the result could not be written: {error}"),
        )
    }
}

fn exit_of_read(error: &ReadError) -> Exit {
    match error {
        ReadError::Unreachable { .. } => Exit::Unreachable,
        ReadError::Invalid { .. } => Exit::Usage,
        _ => Exit::Refused,
    }
}

fn exit_of_write(error: &WriteError) -> Exit {
    match error {
        WriteError::Unknown { .. } => Exit::Unknown,
        WriteError::Unreachable { .. } => Exit::Unreachable,
        WriteError::Invalid { .. } => Exit::Usage,
        _ => Exit::Refused,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn exit_codes_tell_refused_unknown_and_unreachable_apart() {
        let waited = Duration::from_secs(1);
        let last = String::new;
        let unknown = WriteError::Unknown {
            waited,
            last: last(),
        };
        let unreachable = WriteError::Unreachable {
            waited,
            last: last(),
        };
        let invalid = WriteError::Invalid { message: last() };
        assert_eq!(Failure::from(unknown).exit as u8, 3);
        assert_eq!(Failure::from(unreachable).exit as u8, 4);
        assert_eq!(Failure::from(invalid).exit as u8, 2);
        let unknown = WriteError::Unknown {
            waited,
            last: last(),
        };
        assert_eq!(Failure::from(LockError::Write(unknown)).exit as u8, 3);
        let refused = ReadError::Unauthorized { message: last() };
        assert_eq!(Failure::from(refused).exit as u8, 1);
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit as u8, 0);
    }

    #[test]
    fn a_failure_names_its_cause() {
        let source = WriteError::Invalid {
            message: "too many".to_owned(),
        };
        let failure = Failure::from(ImportError::Write {
            done: 512,
            of: 700,
            source,
        });
        assert_eq!(
            failure.message,
            "512 of 700 keys were imported before this; import again for the rest: too many; \
             nothing was written"
        );
    }
}
