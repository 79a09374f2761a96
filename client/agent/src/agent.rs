//! What all parts of a running agent share: the client, the mirrors, the statuses, and when to end.

use std::{path::Path, sync::Arc, time::Duration};

use holdfast_client::{Client, ClientOptions, Context, Place};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    failure::Failure,
    fleet,
    health::Health,
    settings::{SetSettings, Settings},
    source::Sources,
    status::Statuses,
    supervisor::Supervisor,
    systemd::Notifier,
};

/// An agent.
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) supervisor: Supervisor,
}

impl Agent {
    /// Asks no server yet.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Failure> {
        crate::log::start();
        let client = connect(settings.context.as_deref())?;
        let place = settings
            .roles
            .iter()
            .fold(Place::default(), |place, role| place.role(role));
        let supervisor = Supervisor {
            state: Arc::from(settings.state.as_path()),
            place: place.node(&settings.node),
            sources: Arc::new(Sources::new(client.clone(), &settings.state)),
            statuses: Statuses::new(),
        };
        Ok(Self { client, supervisor })
    }

    /// How these sets are.
    pub(crate) fn health(&self, sets: &[Arc<SetSettings>]) -> Health {
        let names = sets.iter().map(|set| set.name.to_string()).collect();
        Health::new(names, self.supervisor.statuses.subscribe())
    }

    /// Keeps sets, and tells the cluster how they are, until a signal says to end.
    pub(crate) async fn keep_until_told(self, sets: Vec<Arc<SetSettings>>) {
        let (stop, stopped) = watch::channel(false);
        let notifier = Notifier::start(self.health(&sets));
        let node = self.supervisor.place.clone();
        let telling = fleet::tell(&self.client, node, self.supervisor.statuses.subscribe());
        let keeping = tokio::spawn(self.supervisor.run(sets, stopped));
        until_told().await;
        notifier.stopping();
        stop.send_replace(true);
        // A hook that runs is awaited; systemd's patience ends before any sensible one.
        if tokio::time::timeout(LAST_WORDS, keeping).await.is_err() {
            tracing::warn!("a hook still runs; it is ended, and run again at the next start");
        }
        telling.abort();
    }
}

/// A client of what a context names, of the user's own if none is given. Asks no server yet.
pub(crate) fn connect(context: Option<&Path>) -> Result<Client, Failure> {
    let context = match context {
        Some(path) => Context::load(path)?,
        None => Context::discover()?,
    };
    let options = ClientOptions {
        connections_per_endpoint: 1,
        ..ClientOptions::default()
    };
    Ok(Client::lazy(&context, options)?)
}

/// Waits for SIGTERM or SIGINT.
async fn until_told() {
    let told = |kind| signal(kind).ok();
    let (Some(mut terminate), Some(mut interrupt)) =
        (told(SignalKind::terminate()), told(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// How long a hook that runs is awaited at the end.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(30);
