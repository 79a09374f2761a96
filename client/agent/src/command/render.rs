//! `kvagent render`: sets of files and nothing else.

use std::{process::ExitCode, sync::Arc};

use holdfast_client::ReadError;

use crate::{
    agent::Agent,
    arguments::Render,
    diff::diff,
    failure::{Exit, Failure, chain},
    keeper::KeepError,
    set::{Record, RecordFile, Wanted},
    settings::{SetSettings, Settings},
    source::Sources,
    values::Feed,
};

pub(crate) async fn run(render: &Render) -> Result<ExitCode, Failure> {
    let mut settings = Settings::load(&render.config)?;
    let sets = choose(&mut settings, &render.sets)?;
    let mut agent = Agent::new(&settings)?;
    if render.dry_run || render.once {
        // Whoever asks once is told what the cluster says, or that it says nothing.
        agent.supervisor.sources = Arc::new(Sources::unkept(agent.client.clone()));
    }
    if render.dry_run {
        return show(&agent, &settings, &sets).await;
    }
    if !render.once {
        agent.keep_until_told(sets).await;
        return Ok(ExitCode::SUCCESS);
    }
    let mut worst = None;
    for set in &sets {
        match once(&agent, set).await {
            Ok(()) => anstream::println!("{}: installed", set.name),
            Err(failure) => {
                // Each set has its chance.
                failure.tell();
                worst.get_or_insert(failure);
            }
        }
    }
    Ok(worst.map_or(ExitCode::SUCCESS, |failure| failure.exit_code()))
}

fn choose(settings: &mut Settings, names: &[String]) -> Result<Vec<Arc<SetSettings>>, Failure> {
    let sets = std::mem::take(&mut settings.sets);
    let known = |name: &&String| sets.iter().any(|set| set.name.as_str() == name.as_str());
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
        let why = format!(
            "there is no set {unknown:?}; the settings have: {}",
            all.join(", ")
        );
        return Err(Failure::new(Exit::Usage, why));
    }
    let is_chosen =
        |set: &SetSettings| names.is_empty() || names.iter().any(|name| name == set.name.as_str());
    let chosen: Vec<_> = sets.into_iter().filter(is_chosen).map(Arc::new).collect();
    match chosen.is_empty() {
        true => Err(Failure::new(
            Exit::Usage,
            "the settings have no set of files; add one with [[set]]",
        )),
        false => Ok(chosen),
    }
}

async fn once(agent: &Agent, set: &Arc<SetSettings>) -> Result<(), Failure> {
    let named = |why: String| format!("{}: {why}", set.name);
    let keeper = agent.supervisor.keeper(set);
    let keeper = keeper.map_err(|why| Failure::new(Exit::Refused, why))?;
    keeper.run_once().await.map_err(|error| match error {
        KeepError::Read(ReadError::Unreachable { .. }) => {
            Failure::new(Exit::Unreachable, named(chain(&error)))
        }
        error => Failure::new(Exit::Refused, named(chain(&error))),
    })
}

async fn show(
    agent: &Agent,
    settings: &Settings,
    sets: &[Arc<SetSettings>],
) -> Result<ExitCode, Failure> {
    let mut worst = None;
    for set in sets {
        let shown = show_set(agent, settings, set).await;
        match shown {
            Ok(diff) => anstream::print!("{diff}"),
            Err(failure) => {
                failure.tell();
                worst.get_or_insert(failure);
            }
        }
    }
    Ok(worst.map_or(ExitCode::SUCCESS, |failure| failure.exit_code()))
}

async fn show_set(
    agent: &Agent,
    settings: &Settings,
    set: &Arc<SetSettings>,
) -> Result<String, Failure> {
    let refused = |why: String| Failure::new(Exit::Refused, format!("{}: {why}", set.name));
    let supervisor = &agent.supervisor;
    let feed = Feed::open(
        &supervisor.sources,
        &set.prefixes,
        set.secrets,
        supervisor.place.clone(),
    )
    .await?;
    let values = feed
        .values()
        .await
        .map_err(|error| refused(error.to_string()))?;
    let record: Record = RecordFile::peek(&settings.state, &set.name);
    let before = record.installed.as_ref().map(|installed| installed.keys);
    let wanted = Wanted::make(set, &Arc::new(values), before);
    let wanted = wanted.map_err(|error| refused(chain(&error)))?;
    diff(set, &record, &wanted).map_err(|error| refused(chain(&error)))
}
