//! `keyring`: the keys that secrets are sealed by, who holds them, and how they are recovered.

mod progress;
mod rotate;
mod status;

use clap::Subcommand;

use crate::{failure::Failure, session::Session};

/// Look after the keys that secrets are sealed by
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Keyring {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Status(status::Status),
    Rotate(rotate::Rotate),
}

impl Keyring {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::Status(command) => command.run(session).await,
            Action::Rotate(command) => command.run(session).await,
        }
    }
}
