//! `kvagent exec`: runs a command with what lies under prefixes in its environment.

use std::{ffi::OsStr, path::Path, process::ExitCode, sync::Arc, time::Duration};

use holdfast_client::{Place, ReadError};
use tokio::sync::watch;

use crate::{
    agent,
    arguments::Exec,
    exec::{
        environment::EnvironmentError,
        follow::{Follower, Seen},
        keep::{Has, Keep},
        report::Teller,
        signals::Signals,
    },
    failure::{Exit, Failure, chain},
    settings::{check_name, host_name},
    source::Sources,
};

pub(crate) async fn run(exec: Exec) -> Result<ExitCode, Failure> {
    crate::log::start();
    check_prefixes(&exec.prefixes)?;
    let place = place(&exec)?;
    let client = agent::connect(exec.context.as_deref())?;
    let mut signals = Signals::listen().map_err(|error| {
        Failure::new(Exit::Refused, format!("signals cannot be heard: {error}"))
    })?;
    let sources = match &exec.state {
        // Not where `kvagent run` keeps the same prefixes for its sets.
        Some(state) => Sources::new(client.clone(), &state.join("exec")),
        None => Sources::unkept(client.clone()),
    };
    let opening = Follower::open(
        &sources,
        exec.prefixes.clone(),
        exec.reveal,
        place.clone(),
        exec.settle.get(),
    );
    let (follower, first) = tokio::select! {
        opened = opening => opened.map_err(not_started)?,
        signal = signals.next_end() => {
            let code = 128 + signal.as_raw();
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
    };
    let (has, what_it_has) = watch::channel(Has::now(Arc::clone(&first.environment)));
    let (told, seen) = watch::channel::<Seen>(first);
    let following = tokio::spawn(follower.run(told));
    let teller = Teller {
        instance: instance(&exec, &place),
        prefixes: exec.prefixes,
        place,
        on_change: exec.on_change,
    };
    let telling = teller.tell(&client, seen.clone(), what_it_has);
    let keep = Keep {
        words: exec.command,
        on_change: exec.on_change,
        grace: exec.grace.get(),
    };
    let ended = keep.run(seen, signals, has).await;
    // A command may be done before it is written down what the next one starts with, with no server up.
    let _ = tokio::time::timeout(TO_KEEP, sources.until_kept()).await;
    following.abort();
    telling.abort();
    ended.map(ExitCode::from)
}

fn not_started(error: EnvironmentError) -> Failure {
    let exit = match error {
        EnvironmentError::Read(ReadError::Unreachable { .. }) => Exit::Unreachable,
        EnvironmentError::Read(ReadError::Invalid { .. }) => Exit::Usage,
        _ => Exit::Refused,
    };
    Failure::new(
        exit,
        format!("the command was not started: {}", chain(&error)),
    )
}

/// What lies under two of them would be there twice.
fn check_prefixes(prefixes: &[String]) -> Result<(), Failure> {
    for (place, prefix) in prefixes.iter().enumerate() {
        let mut others = prefixes.iter().enumerate();
        let clash =
            others.find(|(other, whole)| *other != place && prefix.starts_with(whole.as_str()));
        if let Some((_, whole)) = clash {
            let why = format!("--prefix {prefix:?} lies within {whole:?}; leave out one of them");
            return Err(Failure::new(Exit::Usage, why));
        }
    }
    Ok(())
}

fn place(exec: &Exec) -> Result<Place, Failure> {
    let node = exec.node.clone().unwrap_or_else(host_name);
    let named = exec.roles.iter().map(|role| ("--role", role));
    for (field, name) in named.chain([("--node", &node)]) {
        check_name(field, name).map_err(|wrong| {
            Failure::new(Exit::Usage, format!("{}: {}", wrong.field, wrong.why))
        })?;
    }
    let roles = exec.roles.iter();
    let place = roles.fold(Place::default(), |place, role| place.role(role));
    Ok(place.node(node))
}

/// As the command would call itself, if it had the SDK.
fn instance(exec: &Exec, place: &Place) -> String {
    let program = exec.command.first().map(Path::new);
    let program = program
        .and_then(Path::file_stem)
        .map(OsStr::to_string_lossy);
    exec.instance.clone().unwrap_or_else(|| {
        format!(
            "{}/{}",
            place.node_name().unwrap_or_default(),
            program.as_deref().unwrap_or_default()
        )
    })
}

/// How much longer than its command this runs at most, to keep what the command had.
const TO_KEEP: Duration = Duration::from_secs(2);
