//! `fleet`: who runs which revision, who is stale, and who refused what and why.

mod forget;
mod show;

use std::process::ExitCode;

use clap::Subcommand;
use holdfast_client::{FleetEntry, Standing};

use super::get::consistency;
use crate::{failure::Failure, session::Session};

/// Show who runs which revision of a configuration, who is stale, and who refused it and why
///
/// The worst come first. Each service says what it uses, and says so again each minute; one that was
/// not heard for three minutes is stale. What it said last is kept for 30 days.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Fleet {
    #[command(subcommand)]
    action: Option<Action>,

    /// Only configurations, and sets of files, of prefixes that begin so [default: all]
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    /// Exit with 1 unless somebody reports, and all that do use the newest revision, without an
    /// override and without a problem
    #[arg(long)]
    check: bool,

    /// Take what the asked node has, though it may be old; works without a majority
    #[arg(long)]
    local: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    Forget(forget::Forget),
}

impl Fleet {
    pub(crate) async fn run(self, session: &Session) -> Result<ExitCode, Failure> {
        let client = session.connect().await?;
        if let Some(Action::Forget(forget)) = self.action {
            forget.run(session, &client).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let fleet = client.fleet();
        let fleet = fleet
            .list_with(self.prefix.clone(), consistency(self.local))
            .await?;
        show::show(session, &self.prefix, &fleet)?;
        let is_well = |entry: &FleetEntry| entry.standing() == Standing::Applied;
        let all_well = !fleet.entries.is_empty() && fleet.entries.iter().all(is_well);
        Ok(match self.check && !all_well {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }
}
