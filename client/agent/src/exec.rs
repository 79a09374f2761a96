//! Running a command with what lies under prefixes in its environment.
//!
//! `environment` is what it finds there; `follow` sees when that changes; `child` is the command while it
//! runs, `signals` are what is passed on to it, and `orphans` what it left behind; `keep` brings them
//! together, and `report` tells the fleet.

pub(crate) mod child;
pub(crate) mod environment;
pub(crate) mod follow;
pub(crate) mod keep;
pub(crate) mod orphans;
pub(crate) mod report;
pub(crate) mod signals;

use std::str::FromStr;

use rustix::process::Signal;

use crate::settings::SignalName;

/// What is done when a command's environment would be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnChange {
    /// The command keeps what it has.
    Nothing,
    /// It is ended and started anew.
    Restart,
    /// It is sent a signal, and keeps what it has.
    Signal(SignalName),
}

impl FromStr for OnChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("signal=")) {
            ("nothing", _) => Ok(Self::Nothing),
            ("restart", _) => Ok(Self::Restart),
            (_, Some(name)) => match name.parse::<SignalName>()? {
                name if name.get() == Signal::KILL => {
                    Err("KILL would end it without a successor; say restart".to_owned())
                }
                name => Ok(Self::Signal(name)),
            },
            _ => Err("say restart, signal=HUP (or another signal), or nothing".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_on_a_change_is_one_of_three() {
        assert_eq!("nothing".parse(), Ok(OnChange::Nothing));
        assert_eq!("restart".parse(), Ok(OnChange::Restart));
        for text in ["signal=HUP", "signal=SIGHUP"] {
            let hangup = OnChange::Signal("HUP".parse().unwrap());
            assert_eq!(text.parse(), Ok(hangup));
        }
        for wrong in [
            "",
            "reload",
            "signal",
            "signal=",
            "signal=KILL",
            "signal=STOP",
        ] {
            assert!(wrong.parse::<OnChange>().is_err(), "{wrong:?} was taken");
        }
    }
}
