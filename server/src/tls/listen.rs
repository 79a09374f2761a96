//! The listening side: TLS handshakes apart from `accept`, so that a slow one holds up nobody.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::Stream;
use holdfast_client::gather::Gathered;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::{NodeTls, Peer, Standing, Trust, Vouched, Voucher};
use crate::identity::{Identity, public_key_of};

/// A connection whose other end is known.
///
/// It breaks when the authority that vouches for its other end is retired: what nobody would let in
/// any more does not stay in. One that comes after that is let in for a moment, to be told why; who has
/// another certificate by then shows it with the next connection.
pub struct PeerStream {
    stream: Gathered<TlsStream<TcpStream>>,
    peer: Peer,
    trust: Arc<Trust>,
    since: Instant,
}

impl PeerStream {
    fn check(&self) -> io::Result<()> {
        let is_told = || match self.peer.2.by {
            // Was refused from the start, and is told why in the answer to each request.
            Voucher::Retired(_) => self.since.elapsed() < TELLING,
            _ => false,
        };
        match self.trust.standing(&self.peer) {
            Standing::Shut if !is_told() => Err(retired()),
            _ => Ok(()),
        }
    }
}

fn retired() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the authority of the caller's certificate was retired",
    )
}

/// The connections of a listener, for `tonic::transport::Server::serve_with_incoming`. Accepting ends
/// when the stream is dropped.
pub fn incoming(
    listener: TcpListener,
    tls: &NodeTls,
) -> impl Stream<Item = io::Result<PeerStream>> + Send + use<> {
    let acceptor = TlsAcceptor::from(tls.server_config());
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(accept(listener, acceptor, tls.trust().clone(), sender));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    trust: Arc<Trust>,
    sender: mpsc::Sender<io::Result<PeerStream>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: serve those who are there and try again.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, trust, sender) = (acceptor.clone(), trust.clone(), sender.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(
                HANDSHAKE_TIMEOUT,
                handshake(acceptor, trust, stream, address),
            )
            .await
            {
                Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
                Ok(Err(error)) => refused(address, &error),
                Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
            }
            drop(permit);
        });
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    trust: Arc<Trust>,
    stream: TcpStream,
    address: SocketAddr,
) -> io::Result<PeerStream> {
    stream.set_nodelay(true)?;
    let retired_before = trust.retired();
    let stream = acceptor.accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    let peer = match shown.and_then(<[_]>::split_first) {
        Some((certificate, others)) => named(&trust, certificate, others, address)?,
        None => Peer(None, Some(address), Vouched::nobody()),
    };
    // It was right to show this certificate when it began: it has another one by now, or is told the next
    // time.
    if matches!(peer.2.by, Voucher::Retired(_)) && trust.retired() != retired_before {
        return Err(retired());
    }
    Ok(PeerStream {
        stream: Gathered::new(stream),
        peer,
        trust,
        since: Instant::now(),
    })
}

/// Who shows this certificate, of which TLS says that its holder has the key.
fn named(
    trust: &Trust,
    certificate: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    address: SocketAddr,
) -> io::Result<Peer> {
    let denied = |error: Box<dyn std::error::Error + Send + Sync>| {
        io::Error::new(io::ErrorKind::PermissionDenied, error)
    };
    let identity = Identity::from_certificate(certificate).map_err(|error| denied(error.into()))?;
    let by = trust
        .vouch(certificate, others, UnixTime::now())
        .map_err(|error| denied(error.into()))?;
    let public_key = public_key_of(certificate).map_err(|error| denied(error.into()))?;
    Ok(Peer(
        Some(identity),
        Some(address),
        Vouched { by, public_key },
    ))
}

/// A caller that hangs up is nobody's business; one that is refused may be somebody's problem.
fn refused(address: SocketAddr, error: &io::Error) {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied => {
            tracing::warn!(%address, %error, "a connection was refused: its certificate is not of this cluster");
        }
        _ => tracing::debug!(%address, %error, "a TLS handshake broke off"),
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

const BACKLOG: usize = 64;
const HANDSHAKES: usize = 512;
/// How long somebody is told why he is not let in.
const TELLING: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
