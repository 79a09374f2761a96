//! The HTTP port, for machines that look after machines.
//!
//! | path | says |
//! |---|---|
//! | `/metrics` | how the sets are, in Prometheus' text format |
//! | `/healthz` | 200 while the process does its work |
//! | `/readyz` | 200 when every set is installed and no hook fails; 503 with a line for each that is not |
//!
//! Plain HTTP without authentication, as of `kvd`. Nothing that is served here tells a key or a value.

mod metrics;

use std::{io, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::oneshot};

use self::metrics::Metrics;
use crate::{failure::Failure, health::Health, settings::HttpSettings, source::Sources};

/// A running HTTP port. Dropping it stops it.
pub(crate) struct HttpServer {
    _stop: oneshot::Sender<()>,
}

/// Why there is no HTTP port.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP port {address} cannot be used; give another one with listen in [http]")]
pub(crate) struct HttpError {
    address: String,
    source: io::Error,
}

impl HttpServer {
    /// Serves until it is dropped.
    pub(crate) async fn start(
        settings: &HttpSettings,
        health: Health,
        sources: Arc<Sources>,
    ) -> Result<Self, HttpError> {
        let failed = |source| HttpError {
            address: settings.listen.clone(),
            source,
        };
        let listener = TcpListener::bind(&settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let router = router(health, sources);
        tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async {
                // Whether it is sent or dropped.
                let _: Result<(), _> = stopped.await;
            });
            if let Err(error) = serving.await {
                tracing::error!(%error, "the HTTP port stopped");
            }
        });
        tracing::info!(%address, "health and metrics are served");
        Ok(Self { _stop: stop })
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::from_error(crate::failure::Exit::Refused, &error)
    }
}

#[derive(Clone)]
struct Shared {
    health: Health,
    sources: Arc<Sources>,
    metrics: Arc<Metrics>,
}

fn router(health: Health, sources: Arc<Sources>) -> Router {
    let metrics = Arc::new(Metrics::new(health.clone()));
    Router::new()
        .route(
            "/metrics",
            get(async |State(shared): State<Shared>| {
                let text = shared
                    .metrics
                    .render(&shared.health, shared.sources.followed());
                ([("content-type", "text/plain; version=0.0.4")], text)
            }),
        )
        .route("/healthz", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async |State(shared): State<Shared>| verdict(&shared.health.not_ready())),
        )
        .with_state(Shared {
            health,
            sources,
            metrics,
        })
}

fn verdict(not_ready: &[String]) -> (StatusCode, String) {
    match not_ready {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        lines => (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n"),
    }
}
