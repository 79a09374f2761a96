//! `kvagent run`: everything that the settings name, until it is told to end.

use std::{process::ExitCode, sync::Arc};

use crate::{agent::Agent, arguments::Run, failure::Failure, http::HttpServer, settings::Settings};

pub(crate) async fn run(run: &Run) -> Result<ExitCode, Failure> {
    let mut settings = Settings::load(&run.config)?;
    let agent = Agent::new(&settings)?;
    let sets = std::mem::take(&mut settings.sets);
    let sets: Vec<_> = sets.into_iter().map(Arc::new).collect();
    let _serving = match &settings.http {
        Some(http) => Some(HttpServer::start(http, agent.health(&sets)).await?),
        None => None,
    };
    agent.keep_until_told(sets).await;
    Ok(ExitCode::SUCCESS)
}
