//! What all parts of a running agent share: the client, the mirrors, the statuses, and when to end.

use std::{sync::Arc, time::Duration};

use holdfast_client::{Client, ClientOptions, Context, Place};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    failure::Failure,
    fleet,
    settings::{SetSettings, Settings},
    source::Sources,
    status::Statuses,
    supervisor::Supervisor,
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
        let context = match &settings.context {
            Some(path) => Context::load(path)?,
            None => Context::discover()?,
        };
        let options = ClientOptions {
            connections_per_endpoint: 1,
            ..ClientOptions::default()
        };
        let client = Client::lazy(&context, options)?;
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

    /// Keeps sets, and tells the cluster how they are, until a signal says to end.
    pub(crate) async fn keep_until_told(self, sets: Vec<Arc<SetSettings>>) {
        let (stop, stopped) = watch::channel(false);
        let node = self.supervisor.place.clone();
        let telling = fleet::tell(&self.client, node, self.supervisor.statuses.subscribe());
        let keeping = tokio::spawn(self.supervisor.run(sets, stopped));
        until_told().await;
        stop.send_replace(true);
        // A hook that runs is awaited; systemd's patience ends before any sensible one.
        if tokio::time::timeout(LAST_WORDS, keeping).await.is_err() {
            tracing::warn!("a hook still runs; it is ended, and run again at the next start");
        }
        telling.abort();
    }
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

const LAST_WORDS: Duration = Duration::from_secs(30);
