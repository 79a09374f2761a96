//! Connections of a node: over TLS from the network, and without a network from its own process.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpListener,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri, server::Connected};

use crate::{
    caller::Caller,
    tls::{self, NodeTls, PeerStream},
};

/// One connection.
pub(super) enum Connection {
    Network(PeerStream),
    Local(Local),
}

/// A connection from this process.
pub(super) struct Local {
    stream: DuplexStream,
    caller: Caller,
}

/// The connections of both kinds, as they come.
pub(super) fn all(
    listener: TcpListener,
    tls: &NodeTls,
    locals: mpsc::Receiver<Local>,
) -> impl Stream<Item = io::Result<Connection>> + Send + use<> {
    let network = tls::incoming(listener, tls).map(|stream| stream.map(Connection::Network));
    let local = ReceiverStream::new(locals).map(|local| Ok(Connection::Local(local)));
    stream::select(network, local)
}

/// A channel to the node of this process.
pub(super) fn channel(locals: mpsc::Sender<Local>, caller: Caller) -> Channel {
    Endpoint::from_static("http://embedded").connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| {
            let (locals, caller) = (locals.clone(), caller.clone());
            async move {
                let (here, there) = tokio::io::duplex(BUFFER_BYTES);
                let local = Local {
                    stream: there,
                    caller,
                };
                locals.send(local).await.map_err(|_| {
                    io::Error::new(io::ErrorKind::ConnectionRefused, "the node has stopped")
                })?;
                Ok::<_, io::Error>(TokioIo::new(here))
            }
        },
    ))
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        match self {
            Self::Network(stream) => Caller::of_peer(stream.connect_info()),
            Self::Local(local) => local.caller.clone(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Local(local) => Pin::new(&mut local.stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Local(local) => Pin::new(&mut local.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Local(local) => Pin::new(&mut local.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Network(stream) => stream.is_write_vectored(),
            Self::Local(local) => local.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream).poll_flush(context),
            Self::Local(local) => Pin::new(&mut local.stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Network(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Local(local) => Pin::new(&mut local.stream).poll_shutdown(context),
        }
    }
}

const BUFFER_BYTES: usize = 64 * 1024;
