//! `keyring`: the keys that secrets are sealed by, who holds them, and how they are recovered.

mod init_recovery;
mod progress;
mod rotate;
mod shares;
mod status;
mod verify_recovery;

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
    InitRecovery(init_recovery::InitRecovery),
    VerifyRecovery(verify_recovery::VerifyRecovery),
    Status(status::Status),
    Rotate(rotate::Rotate),
}

impl Keyring {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::InitRecovery(command) => command.run(session).await,
            Action::VerifyRecovery(command) => command.run(session).await,
            Action::Status(command) => command.run(session).await,
            Action::Rotate(command) => command.run(session).await,
        }
    }
}
