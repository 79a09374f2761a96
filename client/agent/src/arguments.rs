//! What the command line takes.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

/// Brings configuration, secrets and certificates of a Holdfast cluster to programs that know nothing
/// of it.
#[derive(Debug, Parser)]
#[command(
    name = "kvagent",
    version,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 4 unreachable.",
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

/// Which settings.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The settings of the agent
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    pub(crate) config: PathBuf,
}

const SETTINGS: &str = "/etc/holdfast/kvagent.toml";

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
