//! Connections of this front: TLS with certificates, or plain ones on loopback.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt as _, future::Either, stream};
use holdfast_client::gather::Gathered;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tonic::transport::server::Connected;

use crate::{
    caller::Caller,
    tls::{self, NodeTls, PeerStream},
};

/// One connection, and who is at its other end.
pub(super) struct Connection {
    stream: Inner,
    caller: Caller,
}

enum Inner {
    Tls(Box<PeerStream>),
    Plain(Gathered<TcpStream>),
}

/// Who may connect.
pub(super) enum Access<'a> {
    /// Whoever has a certificate of the cluster.
    Certificates(&'a NodeTls),
    /// Anybody on this machine.
    Plaintext {
        /// The cluster's id, for whom they count as a client of it.
        cluster: &'a str,
    },
}

/// The connections of a listener, as they come.
pub(super) fn connections(
    listener: TcpListener,
    access: Access<'_>,
) -> impl Stream<Item = io::Result<Connection>> + Send + use<> {
    match access {
        Access::Certificates(tls) => {
            Either::Left(tls::incoming(listener, tls).map(|stream| stream.map(Connection::of_peer)))
        }
        Access::Plaintext { cluster } => {
            let caller = Caller::plaintext(cluster);
            Either::Right(stream::unfold(
                (listener, caller),
                |(listener, caller)| async move {
                    let stream = accept(&listener).await;
                    let connection = Connection::plain(stream, caller.clone());
                    Some((Ok(connection), (listener, caller)))
                },
            ))
        }
    }
}

/// Whether nobody else can reach an address.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The next plain connection; those from elsewhere are hung up on, whatever the listener's address
/// may have come to mean.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, from)) if is_from_here(from) => {
                if stream.set_nodelay(true).is_ok() {
                    return stream;
                }
            }
            Ok((_, address)) => {
                tracing::warn!(%address, "a plain connection from elsewhere was refused");
            }
            Err(error) => {
                // Out of file descriptors, mostly: serve those who are there and try again.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_from_here(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Connection {
    fn of_peer(stream: PeerStream) -> Self {
        Self {
            caller: Caller::of_peer(stream.connect_info()),
            stream: Inner::Tls(Box::new(stream)),
        }
    }

    fn plain(stream: TcpStream, caller: Caller) -> Self {
        Self {
            stream: Inner::Plain(Gathered::new(stream)),
            caller,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Inner::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Inner::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Inner::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Inner::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Inner::Tls(stream) => Pin::new(stream).poll_flush(context),
            Inner::Plain(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _};

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_plain_connection_says_in_one_write_what_is_said_in_one_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut connection = Connection::plain(accept(&listener).await, Caller::plaintext("c"));
        connection.write_all(b"headers ").await.unwrap();
        connection.write_all(b"message").await.unwrap();
        let mut heard = [0; 64];
        let nothing = client.read(&mut heard).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        connection.flush().await.unwrap();
        client.set_nonblocking(false).unwrap();
        let length = client.read(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"headers message");
    }
}
