//! Connections: TCP without delay, TLS, and a tonic channel on top that makes itself anew.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use crate::{ConnectError, options::ClientOptions};

/// Makes channels to nodes of one cluster.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: Arc<rustls::ClientConfig>,
    connect_timeout: Duration,
    keep_alive: Duration,
    lanes: usize,
}

impl Dialer {
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>, options: &ClientOptions) -> Self {
        Self {
            tls,
            connect_timeout: options.connect_timeout,
            keep_alive: options.keep_alive,
            lanes: options.connections_per_endpoint.max(1),
        }
    }

    /// Channels to `HOST:PORT`, not connected yet.
    pub(crate) fn dial(&self, address: &str) -> Result<Vec<Channel>, ConnectError> {
        let malformed = || ConnectError::Endpoint {
            endpoint: address.to_owned(),
        };
        // The scheme is a word of HTTP here; TLS is the connector's.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| malformed())?
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive)
            .keep_alive_while_idle(true);
        let connector = Connector {
            address: Arc::from(address),
            name: server_name(address).ok_or_else(malformed)?,
            tls: TlsConnector::from(Arc::clone(&self.tls)),
            timeout: self.connect_timeout,
        };
        Ok((0..self.lanes)
            .map(|_| endpoint.connect_with_connector_lazy(connector.clone()))
            .collect())
    }
}

/// What TLS calls the other side. Not verified by it: see [`crate::tls`].
fn server_name(address: &str) -> Option<ServerName<'static>> {
    let (host, _) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).ok()
}

#[derive(Clone)]
struct Connector {
    address: Arc<str>,
    name: ServerName<'static>,
    tls: TlsConnector,
    timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let timeout = this.timeout;
            tokio::time::timeout(timeout, this.connect())
                .await
                .map_err(|_| {
                    let text = format!("no connection within {timeout:?}");
                    io::Error::new(io::ErrorKind::TimedOut, text)
                })?
                .map(TokioIo::new)
        })
    }
}

impl Connector {
    async fn connect(self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        self.tls.connect(self.name, stream).await
    }
}
