//! `kvagent run`: everything that the settings name, until it is told to end.

use std::{process::ExitCode, sync::Arc};

use crate::{agent::Agent, arguments::Run, failure::Failure, settings::Settings};

pub(crate) async fn run(run: &Run) -> Result<ExitCode, Failure> {
    let mut settings = Settings::load(&run.config)?;
    let agent = Agent::new(&settings)?;
    let sets = std::mem::take(&mut settings.sets);
    agent
        .keep_until_told(sets.into_iter().map(Arc::new).collect())
        .await;
    Ok(ExitCode::SUCCESS)
}
