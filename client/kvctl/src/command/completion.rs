//! `completion`: the shell's part of the command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{arguments::Arguments, failure::Failure, session::Session};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(
    after_help = "bash: kvctl completion bash > ~/.local/share/bash-completion/completions/kvctl"
)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self, session: &Session) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "kvctl", &mut script);
        session.output.bytes(&script)
    }
}
