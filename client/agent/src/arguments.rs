//! What the command line takes.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Parser, Subcommand};

use crate::{exec::OnChange, settings::Span};

/// Brings configuration, secrets and certificates of a Holdfast cluster to programs that know nothing
/// of it.
#[derive(Debug, Parser)]
#[command(
    name = "kvagent",
    version,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 4 unreachable; of exec, the command's.",
    disable_help_subcommand = true
)]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the agent: everything that its settings name, until it is told to end
    Run(Run),
    /// Installs sets of files and nothing else
    Render(Render),
    /// Runs a command with what lies under prefixes in its environment
    Exec(Exec),
    /// Looks at the settings and their templates, and asks no server
    Check(Check),
}

/// Which settings.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The settings of the agent
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    pub(crate) config: PathBuf,
}

/// Which sets, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Render {
    /// The settings of the agent
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    pub(crate) config: PathBuf,

    /// Only this set; may be given several times
    #[arg(long = "set", value_name = "NAME", action = ArgAction::Append)]
    pub(crate) sets: Vec<String>,

    /// Install each set once, run its hook if it changed, and end
    #[arg(long)]
    pub(crate) once: bool,

    /// Show what would change, as a unified diff, and touch nothing; secrets are not shown
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Runs a command with what lies under prefixes in its environment
///
/// The key P/db/port becomes the variable db__port: its parts are joined with `__`. Numbers and booleans
/// are written as everyone writes them, a list one item a line, bytes in base64. It counts more than an
/// inherited variable of that name. A prefix without a key, two keys of one name, and a secret without
/// --reveal are errors, and the command is not started.
///
/// Signals are passed on to the command (TERM, INT, HUP, USR1, USR2, QUIT, WINCH), and kvagent exits as
/// the command did: with its exit code, with 128 and the number of the signal that ended it, with 127 if
/// there is no such program, with 126 if it cannot be started. After TERM the command has --grace to end;
/// one that runs on for so long after INT or QUIT took them for something else, and is kept.
/// SIGKILL of kvagent itself leaves the command to whoever manages the service.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Exec {
    /// What the environment is made of; may be given several times
    #[arg(long = "prefix", value_name = "PREFIX", required = true, action = ArgAction::Append)]
    pub(crate) prefixes: Vec<String>,

    /// As whom to go to which cluster [default: $HOLDFAST_CONTEXT, else the user's own]
    #[arg(long, value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,

    /// The node whose overrides (KEY@node:NAME) count [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,

    /// A role whose overrides (KEY@role:NAME) count; may be given several times, a later one counts more
    #[arg(long = "role", value_name = "NAME", action = ArgAction::Append)]
    pub(crate) roles: Vec<String>,

    /// A folder for what it needs to start while every server is down, sealed; without it, it needs a
    /// server to start
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// Open secrets; they are in the environment then, which all processes of this user can read
    #[arg(long)]
    pub(crate) reveal: bool,

    /// What is done when the environment would be another one: restart, signal=HUP (or another
    /// signal), or nothing
    ///
    /// The environment of a process that runs cannot change: after a signal the command has to get the
    /// new values by other means. A change that leaves the environment as it is does nothing; neither
    /// does one that would leave none, or one that cannot be used.
    #[arg(long, value_name = "WHAT", default_value = "nothing")]
    pub(crate) on_change: OnChange,

    /// How long the command may take to end before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) grace: Span,

    /// How long it must be quiet before a change counts, so that many are one
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    pub(crate) settle: Span,

    /// What `kvctl fleet` calls it, the same after a restart [default: the node and the command's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,

    /// The command and its arguments, behind --; no shell reads them
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Which settings.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The settings of the agent
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    pub(crate) config: PathBuf,
}

/// Where settings are looked for.
pub(crate) const SETTINGS: &str = "/etc/holdfast/kvagent.toml";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_dry_run_needs_no_other_word() {
        let words = ["kvagent", "render", "--dry-run", "--set", "a", "--set", "b"];
        let arguments = Arguments::try_parse_from(words).unwrap();
        let Command::Render(render) = arguments.command else {
            panic!("{arguments:?}");
        };
        assert!(render.dry_run);
        assert_eq!(render.sets, ["a", "b"]);
    }
}
