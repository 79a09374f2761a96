//! What every command takes, and which commands there are.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Parser, ValueEnum};

use crate::{command::Command, duration};

/// Sets, reads, compares and rolls back the parameters of a Holdfast cluster, and looks after the
/// cluster itself.
#[derive(Debug, Parser)]
#[command(
    name = "kvctl",
    version,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 outcome unknown, \
                  4 unreachable.",
    disable_help_subcommand = true
)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// The context file: which cluster, where, and as whom [default: $HOLDFAST_CONTEXT, or else
    /// holdfast/context.toml in the user's config folder]
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        value_name = "FILE"
    )]
    // Not clap's `env`: it would show the context as a part of every usage line.
    pub(crate) context: Option<PathBuf>,

    /// Go through the agent of this node, by its socket, as whom it is and as its settings let this
    /// user [default: $HOLDFAST_AGENT, or else no agent]
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        value_name = "SOCKET",
        conflicts_with = "context"
    )]
    pub(crate) agent: Option<PathBuf>,

    /// How to print results: for people, for programs, for pipes
    #[arg(
        short,
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        value_enum,
        default_value_t = Format::Table,
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,

    /// How long a request may take, with all its repeats, such as 500ms, 10s or 2m
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        value_parser = duration::parse_some,
        default_value = "10s",
        value_name = "TIME"
    )]
    pub(crate) timeout: Duration,

    /// Print no remarks beside the result
    #[arg(
        short,
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        action = ArgAction::SetTrue
    )]
    pub(crate) quiet: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns with headings
    Table,
    /// JSON in stable shapes, one document (watch: one a line)
    Json,
    /// Values as they are; lists with tabs between columns and no headings
    Raw,
}

/// So that a command's own options stand first in its help.
const EVERY_COMMAND: &str = "Options of every command";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

    use super::*;

    fn parse(words: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words.split_whitespace())
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn common_options_stand_before_or_behind_the_command() {
        for words in [
            "kvctl --context c.toml -o json get a",
            "kvctl get a -o json --context c.toml",
        ] {
            let arguments = parse(words).unwrap();
            assert_eq!(arguments.common.output, Format::Json);
            assert_eq!(arguments.common.context, Some("c.toml".into()));
        }
        let arguments = parse("kvctl get a --agent a.sock").unwrap();
        assert_eq!(arguments.common.agent, Some("a.sock".into()));
    }

    #[test]
    fn what_the_commands_take_is_what_the_design_promises() {
        for words in [
            "kvctl put a 1 --type integer --if-revision 0 --note why",
            "kvctl put a --file f",
            "kvctl put a -",
            "kvctl put a -5 --type integer",
            "kvctl get a --revision 3",
            "kvctl list",
            "kvctl list a/ --limit 3",
            "kvctl delete a",
            "kvctl delete a --if-revision 3 --note why",
            "kvctl delete --prefix a/",
            "kvctl delete --prefix a/ --note why",
            "kvctl txn t.json",
            "kvctl history a",
            "kvctl diff a",
            "kvctl diff a 1 2",
            "kvctl rollback a --to 3",
            "kvctl watch a/ --from 2",
            "kvctl import f.reg --prefix p --dry-run",
            "kvctl export p --format env",
            "kvctl explain billing/timeout --node db7 --role db --role web",
            "kvctl fleet",
            "kvctl fleet billing/ --check --local",
            "kvctl fleet forget billing/ --identity web --instance i1 --set s --stale",
            "kvctl fleet forget --stale",
            "kvctl override sign --prefix billing/ --expires 4h --reason why f.toml",
            "kvctl override sign --prefix p --expires 1h --reason why --format json --out f -",
            "kvctl override show f",
            "kvctl lock l -- sh -c true",
            "kvctl audit tail",
            "kvctl audit tail --follow --node n2 --from 7",
            "kvctl audit verify --node 2",
            "kvctl backup create --node n2 --out f",
            "kvctl backup list",
            "kvctl backup verify",
            "kvctl backup verify b",
            "kvctl backup drill b",
            "kvctl backup fetch --out f",
            "kvctl backup fetch b --out f",
            "kvctl member list",
            "kvctl member token --name n2 --ttl 10m --role learner",
            "kvctl member promote n2",
            "kvctl member remove 2",
            "kvctl member remove n2 --compromised --cut-off-clients --yes",
            "kvctl member transfer-leader",
            "kvctl put a 1 --replace-secret",
            "kvctl secret put a",
            "kvctl secret put a - --if-revision 0 --note why",
            "kvctl secret put a --file f",
            "kvctl secret put a --insecure-argv s",
            "kvctl secret get a --revision 3 --reason why",
            "kvctl secret get a --local",
            "kvctl secret list a/",
            "kvctl secret history a",
            "kvctl secret destroy a --revision 3 --yes",
            "kvctl secret generate a --length 20 --alphabet hex --show",
            "kvctl keyring init-recovery --shares 5 --threshold 3 --out d --replace",
            "kvctl keyring verify-recovery",
            "kvctl keyring verify-recovery --share a b --share c",
            "kvctl keyring status --watch",
            "kvctl keyring rotate --reason why --wait",
            "kvctl keyring rotate --wait",
            "kvctl status",
            "kvctl completion bash",
        ] {
            parse(words).unwrap_or_else(|error| panic!("{words}: {error}"));
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for (words, kind) in [
            ("kvctl", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("kvctl frobnicate", ErrorKind::InvalidSubcommand),
            ("kvctl put a", ErrorKind::MissingRequiredArgument),
            ("kvctl put a 1 --file f", ErrorKind::ArgumentConflict),
            (
                "kvctl get a --agent a.sock --context c.toml",
                ErrorKind::ArgumentConflict,
            ),
            ("kvctl put a 1 --type int", ErrorKind::ValueValidation),
            ("kvctl delete", ErrorKind::MissingRequiredArgument),
            ("kvctl delete --prefix", ErrorKind::InvalidValue),
            ("kvctl delete a --prefix b", ErrorKind::ArgumentConflict),
            (
                "kvctl delete --if-revision 3",
                ErrorKind::MissingRequiredArgument,
            ),
            (
                "kvctl delete --prefix a --if-revision 3",
                ErrorKind::ArgumentConflict,
            ),
            (
                "kvctl audit tail --from 1 --last 2",
                ErrorKind::ArgumentConflict,
            ),
            ("kvctl audit tail --from 0", ErrorKind::ValueValidation),
            ("kvctl backup fetch b", ErrorKind::MissingRequiredArgument),
            ("kvctl diff a 1", ErrorKind::MissingRequiredArgument),
            ("kvctl rollback a", ErrorKind::MissingRequiredArgument),
            ("kvctl rollback a --to 0", ErrorKind::ValueValidation),
            ("kvctl import f", ErrorKind::MissingRequiredArgument),
            ("kvctl export p", ErrorKind::MissingRequiredArgument),
            ("kvctl export p --format csv", ErrorKind::ValueValidation),
            ("kvctl lock l", ErrorKind::MissingRequiredArgument),
            (
                "kvctl override sign --prefix p --reason why f",
                ErrorKind::MissingRequiredArgument,
            ),
            ("kvctl fleet forget", ErrorKind::MissingRequiredArgument),
            (
                "kvctl member",
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ),
            ("kvctl secret put a - --file f", ErrorKind::ArgumentConflict),
            (
                "kvctl secret put a --insecure-argv s --file f",
                ErrorKind::ArgumentConflict,
            ),
            (
                "kvctl secret generate a --alphabet greek",
                ErrorKind::ValueValidation,
            ),
            (
                "kvctl secret generate a --length 0",
                ErrorKind::ValueValidation,
            ),
            ("kvctl keyring rotate", ErrorKind::MissingRequiredArgument),
            ("kvctl get a -o xml", ErrorKind::InvalidValue),
            ("kvctl get a --timeout soon", ErrorKind::ValueValidation),
            ("kvctl get a --timeout 0s", ErrorKind::ValueValidation),
            (
                "kvctl lock l --ttl 10ms -- true",
                ErrorKind::ValueValidation,
            ),
        ] {
            assert_eq!(
                parse(words).map(|_| ()).unwrap_err().kind(),
                kind,
                "{words}"
            );
        }
    }
}
