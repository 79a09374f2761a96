//! Where an etcd v3 API is served, and who we are there.

use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use holdfast_client::Context;
use tonic::transport::{Channel, Endpoint};

/// One side of a comparison: etcd's, or a cluster's etcd listeners.
#[derive(Clone)]
pub struct Endpoints {
    /// One for each node, like `https://127.0.0.1:2379`.
    pub urls: Vec<String>,
    /// Whose certificate clients show; none: they speak without TLS.
    pub papers: Option<Context>,
}

impl Endpoints {
    /// A client that spreads its calls over all nodes.
    pub async fn client(&self) -> Result<Client, etcd_client::Error> {
        Client::connect(&self.urls, Some(self.options())).await
    }

    /// A client of one node.
    pub async fn client_of(&self, node: usize) -> Result<Client, etcd_client::Error> {
        Client::connect([&self.urls[node]], Some(self.options())).await
    }

    /// What clients connect with, to be refined by the caller.
    pub fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_timeout(CALL);
        match self.tls() {
            Some(tls) => options.with_tls(tls),
            None => options,
        }
    }

    /// A connection of its own to one node, for calls that no client would make.
    pub async fn channel(&self, node: usize) -> anyhow::Result<Channel> {
        let mut endpoint = Endpoint::from_shared(self.urls[node].clone())?.connect_timeout(CONNECT);
        if let Some(tls) = self.tls() {
            endpoint = endpoint.tls_config(tls)?;
        }
        Ok(endpoint.connect().await?)
    }

    fn tls(&self) -> Option<TlsOptions> {
        let papers = self.papers.as_ref()?;
        Some(
            TlsOptions::new()
                .ca_certificate(Certificate::from_pem(&papers.ca))
                .identity(Identity::from_pem(&papers.cert, &papers.key)),
        )
    }
}

const CONNECT: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(20);
