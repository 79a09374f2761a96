//! The HTTP port, for machines that look after machines.
//!
//! | path | says |
//! |---|---|
//! | `/metrics` | gauges, counters and histograms, in Prometheus' text format |
//! | `/healthz` | 200 while the process does its work; 503 with the reason when it must be restarted |
//! | `/readyz` | 200 when requests may be sent here; 503 with the reason when not |
//!
//! Plain HTTP without authentication: bind it to loopback or to a network of your own. Nothing that
//! is served here tells a key or a value.

mod gauges;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use gauges::NodeVitals;

/// What the port reports on.
pub trait Vitals: Send + Sync + 'static {
    /// Why the process has to be restarted, if it has.
    fn live(&self) -> Result<(), String>;
    /// Why no request should be sent here, if none should.
    fn ready(&self) -> Result<(), String>;
    /// Brings gauges up to date, before they are read.
    fn measure(&self);
}

/// A running HTTP port. Dropping it stops it.
pub struct HttpServer {
    address: SocketAddr,
    stop: CancellationToken,
}

/// Why there is no HTTP port.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP port {address} cannot be used; choose another with --http")]
pub struct HttpError {
    /// As it was asked for.
    pub address: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl HttpServer {
    /// Serves `vitals` at `address` (`HOST:PORT`; port 0 picks a free one).
    pub async fn start(
        address: &str,
        vitals: Arc<dyn Vitals>,
        metrics: PrometheusHandle,
    ) -> Result<Self, HttpError> {
        let failed = |source| HttpError {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        tokio::spawn(keep_up(metrics.clone(), stop.clone()));
        let router = router(vitals, metrics);
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            let served = axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP port stopped");
            }
        });
        Ok(Self {
            address: bound,
            stop,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Clone)]
struct Shared {
    vitals: Arc<dyn Vitals>,
    metrics: PrometheusHandle,
}

fn router(vitals: Arc<dyn Vitals>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route(
            "/metrics",
            get(async |State(shared): State<Shared>| {
                shared.vitals.measure();
                (
                    [("content-type", "text/plain; version=0.0.4")],
                    shared.metrics.render(),
                )
            }),
        )
        .route(
            "/healthz",
            get(async |State(shared): State<Shared>| verdict(shared.vitals.live())),
        )
        .route(
            "/readyz",
            get(async |State(shared): State<Shared>| verdict(shared.vitals.ready())),
        )
        .with_state(Shared { vitals, metrics })
}

fn verdict(state: Result<(), String>) -> (StatusCode, String) {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// Histograms gather what was recorded until somebody empties their buffers.
async fn keep_up(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            _ = ticks.tick() => metrics.run_upkeep(),
            () = stop.cancelled() => return,
        }
    }
}

const UPKEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
