//! Connections: TCP without delay, TLS, and a tonic channel on top that makes itself anew.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::AlertDescription;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::Endpoint;
use tower::Service;

use crate::{
    ConnectError, credentials::Credentials, gather::Gathered, lane::Lanes, options::ClientOptions,
};

/// Makes channels to nodes of one cluster.
#[derive(Clone)]
pub(crate) struct Dialer {
    credentials: Arc<Credentials>,
    connect_timeout: Duration,
    keep_alive: Duration,
    lanes: usize,
}

impl Dialer {
    pub(crate) fn new(credentials: Arc<Credentials>, options: &ClientOptions) -> Self {
        Self {
            credentials,
            connect_timeout: options.connect_timeout,
            keep_alive: options.keep_alive,
            lanes: options.connections_per_endpoint.max(1),
        }
    }

    /// Channels to `HOST:PORT`, not connected yet.
    pub(crate) fn dial(&self, address: &str) -> Result<Dialed, ConnectError> {
        let malformed = || ConnectError::Endpoint {
            endpoint: address.to_owned(),
        };
        // The scheme is a word of HTTP here; TLS is the connector's.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| malformed())?
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive)
            .keep_alive_while_idle(true);
        let alert = Alert::default();
        let connector = Connector {
            alert: alert.clone(),
            address: Arc::from(address),
            name: server_name(address).ok_or_else(malformed)?,
            credentials: Arc::clone(&self.credentials),
            timeout: self.connect_timeout,
        };
        let channel = |_| endpoint.connect_with_connector_lazy(connector.clone());
        let lanes = Lanes::new((0..self.lanes).map(channel));
        Ok(Dialed { lanes, alert })
    }
}

/// Channels to one node.
pub(crate) struct Dialed {
    pub(crate) lanes: Lanes,
    pub(crate) alert: Alert,
}

/// Whether the node said, in TLS, that it does not trust this client. With TLS 1.3 that comes after
/// the handshake, and HTTP/2 hands it on as words only.
#[derive(Clone, Default)]
pub(crate) struct Alert(Arc<AtomicBool>);

impl Alert {
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
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
    alert: Alert,
    address: Arc<str>,
    name: ServerName<'static>,
    credentials: Arc<Credentials>,
    timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
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
    async fn connect(self) -> io::Result<Link> {
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let tls = TlsConnector::from(self.credentials.current());
        Ok(Link {
            stream: Gathered::new(tls.connect(self.name, stream).await?),
            alert: self.alert,
        })
    }
}

/// A connection that notes the alert it ends with.
struct Link {
    stream: Gathered<TlsStream<TcpStream>>,
    alert: Alert,
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read
            && let Some(inner) = error.get_ref()
            && let Some(rustls::Error::AlertReceived(alert)) = inner.downcast_ref()
            && is_about_our_certificate(*alert)
        {
            self.alert.0.store(true, Ordering::Relaxed);
        }
        read
    }
}

/// Sent during a handshake only, so that nothing was asked yet over the connection.
fn is_about_our_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
