//! `kvagent run`: everything that the settings name, until it is told to end.

use std::{process::ExitCode, sync::Arc};

use crate::{
    agent::Agent, arguments::Run, failure::Failure, http::HttpServer, settings::Settings,
    socket::Socket,
};

pub(crate) async fn run(run: &Run) -> Result<ExitCode, Failure> {
    let mut settings = Settings::load(&run.config)?;
    let agent = Agent::new(&settings)?;
    let sets = std::mem::take(&mut settings.sets);
    let sets: Vec<_> = sets.into_iter().map(Arc::new).collect();
    let socket = match settings.socket.take() {
        Some(socket) => {
            let sources = &agent.supervisor.sources;
            Some(Socket::open(socket, &agent.client, sources)?)
        }
        None => None,
    };
    let _serving = match &settings.http {
        Some(http) => {
            let sources = Arc::clone(&agent.supervisor.sources);
            Some(HttpServer::start(http, agent.health(&sets), sources).await?)
        }
        None => None,
    };
    agent.keep_until_told(sets).await;
    if let Some(socket) = socket {
        socket.close();
    }
    Ok(ExitCode::SUCCESS)
}
