//! What is done after a set was installed, and before.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use rustix::process::Signal;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Span, Wrong};

/// What is done once a set was installed. It is repeated until it succeeds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookSettings {
    /// A program and its arguments. No shell reads them.
    exec: Option<Vec<String>>,
    /// A signal to the process that a pid file names.
    signal: Option<SignalTo>,
    /// A unit that systemd is to reload.
    reload: Option<String>,
    /// How long one attempt may take; then it is killed, with all that it started.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: Span,
    /// How many attempts there are for one change; if left out, there is no end of them.
    pub(crate) attempts: Option<u32>,
    /// The wait after the first failure; it doubles with each.
    #[serde(default = "default_backoff")]
    pub(crate) backoff: Span,
    /// The longest wait.
    #[serde(default = "default_longest_backoff")]
    pub(crate) longest_backoff: Span,
}

/// A program that looks at a new set before it is installed; if it fails, the set is not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// The program and its arguments. `{folder}` stands for the folder of the new set.
    pub(crate) exec: Vec<String>,
    /// How long it may take.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: Span,
}

/// A signal and whom it is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalTo {
    /// The file that holds the number of the process.
    pub(crate) pid_file: PathBuf,
    /// Which signal.
    #[serde(default = "default_signal")]
    pub(crate) signal: SignalName,
    /// What the process must be called (`/proc/PID/comm`): a number that is left in an old file may be
    /// somebody else's by now.
    pub(crate) program: Option<String>,
}

/// What a hook does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    /// Runs a program.
    Exec(&'a [String]),
    /// Sends a signal.
    Signal(&'a SignalTo),
    /// Has systemd reload a unit.
    Reload(&'a str),
}

/// A signal, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignalName(Signal);

impl HookSettings {
    /// What it does.
    pub(crate) fn action(&self) -> Action<'_> {
        match (&self.exec, &self.signal, &self.reload) {
            (Some(exec), _, _) => Action::Exec(exec),
            (_, Some(signal), _) => Action::Signal(signal),
            (_, _, reload) => Action::Reload(reload.as_deref().unwrap_or_default()),
        }
    }

    pub(super) fn check(&self) -> Result<(), Wrong> {
        let named = [
            self.exec.is_some(),
            self.signal.is_some(),
            self.reload.is_some(),
        ];
        if named.into_iter().filter(|named| *named).count() != 1 {
            return Err(Wrong::new(
                "exec",
                "a hook is one of exec, signal and reload; give exactly one",
            ));
        }
        if let Some(exec) = &self.exec {
            check_exec(exec)?;
        }
        if let Some(signal) = &self.signal
            && !signal.pid_file.is_absolute()
        {
            let why = "it must be an absolute path, such as \"/run/nginx.pid\"";
            return Err(Wrong::new("signal.pid_file", why));
        }
        if let Some(unit) = &self.reload
            && !is_unit(unit)
        {
            let why = format!("{unit:?} is no unit; name one such as \"nginx.service\"");
            return Err(Wrong::new("reload", why));
        }
        if self.attempts == Some(0) {
            let why = "a hook that is never tried does nothing; leave the hook out instead";
            return Err(Wrong::new("attempts", why));
        }
        match self.backoff > self.longest_backoff {
            true => Err(Wrong::new(
                "longest_backoff",
                "it is shorter than backoff; raise it",
            )),
            false => Ok(()),
        }
    }
}

impl Check {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        check_exec(&self.exec)
    }
}

fn check_exec(exec: &[String]) -> Result<(), Wrong> {
    match exec.first() {
        Some(program) if !program.is_empty() => Ok(()),
        _ => Err(Wrong::new(
            "exec",
            "it names no program; give one with its arguments, such as [\"nginx\", \"-t\"]",
        )),
    }
}

/// Nothing that `systemctl` could take for an option.
fn is_unit(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.@\\".contains(&byte);
    name.contains('.') && !name.starts_with(['-', '.']) && name.bytes().all(fits)
}

impl SignalName {
    pub(crate) fn get(self) -> Signal {
        self.0
    }
}

impl FromStr for SignalName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let bare = name.strip_prefix("SIG").unwrap_or(name);
        let found = SIGNALS.iter().find(|(known, _)| *known == bare);
        found.map(|(_, signal)| Self(*signal)).ok_or_else(|| {
            let known: Vec<&str> = SIGNALS.iter().map(|(known, _)| *known).collect();
            format!("{name:?} is no signal; give one of {}", known.join(", "))
        })
    }
}

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SIGNALS.iter().find(|(_, signal)| *signal == self.0);
        write!(f, "SIG{}", name.map_or("?", |(name, _)| name))
    }
}

impl<'de> Deserialize<'de> for SignalName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

const SIGNALS: [(&str, Signal); 8] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("TERM", Signal::TERM),
    ("WINCH", Signal::WINCH),
];

fn default_signal() -> SignalName {
    SignalName(Signal::HUP)
}

fn default_timeout() -> Span {
    Span::of(Duration::from_secs(30))
}

fn default_backoff() -> Span {
    Span::of(Duration::from_secs(1))
}

fn default_longest_backoff() -> Span {
    Span::of(Duration::from_secs(60))
}
