//! `audit`: who revealed what and who did what to the cluster, and whether the log of it is whole.

mod tail;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use crate::{failure::Failure, session::Session};

/// Show and check the audit log: reveals of secrets, and admin acts
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Tail(tail::Tail),
    Verify(verify::Verify),
}

impl Audit {
    pub(crate) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        match self.action {
            Action::Tail(tail) => tail.run(session).await.map(|()| ExitCode::SUCCESS),
            Action::Verify(verify) => verify.run(session).await,
        }
    }
}
