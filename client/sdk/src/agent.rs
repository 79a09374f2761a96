//! Connections to the agent of this node: its Unix socket, and a tonic channel on top that makes itself
//! anew, also after the agent was started again.
//!
//! No TLS: nobody but this machine's own processes gets there, and the agent is told by the system who
//! asks. What the agent knows of servers is its own matter: a client that goes through it dials none.

use std::{path::Path, sync::Arc};

use tonic::transport::{Channel, Endpoint};

use crate::{ConnectError, lane::Lanes, options::ClientOptions};

/// Channels to the agent behind a socket, not connected yet.
pub(crate) fn dial(socket: &Path, options: &ClientOptions) -> Result<Lanes, ConnectError> {
    let socket: Arc<Path> = Arc::from(socket);
    let endpoint = Endpoint::from_static("http://agent")
        .http2_keep_alive_interval(options.keep_alive)
        .keep_alive_timeout(options.keep_alive)
        .keep_alive_while_idle(true);
    let channel = |_| unix::channel(&endpoint, Arc::clone(&socket), options.connect_timeout);
    let lanes = options.connections_per_endpoint.max(1);
    let channels: Result<Vec<Channel>, _> = (0..lanes).map(channel).collect();
    Ok(Lanes::new(channels?))
}

/// What is only there where there are Unix sockets.
#[cfg(unix)]
mod unix {
    use std::{io, path::Path, sync::Arc, time::Duration};

    use http::Uri;
    use hyper_util::rt::TokioIo;
    use tokio::net::UnixStream;
    use tonic::transport::{Channel, Endpoint};

    use crate::ConnectError;

    pub(super) fn channel(
        endpoint: &Endpoint,
        socket: Arc<Path>,
        timeout: Duration,
    ) -> Result<Channel, ConnectError> {
        let connector = tower::service_fn(move |_: Uri| {
            let socket = Arc::clone(&socket);
            async move {
                let connecting = tokio::time::timeout(timeout, UnixStream::connect(&socket));
                let connected = connecting.await.unwrap_or_else(|_| {
                    let text = format!("no connection within {timeout:?}");
                    Err(io::Error::new(io::ErrorKind::TimedOut, text))
                });
                connected.map(TokioIo::new).map_err(|error| {
                    let text = format!("{error}; is kvagent running, with this socket?");
                    io::Error::new(error.kind(), text)
                })
            }
        });
        Ok(endpoint.connect_with_connector_lazy(connector))
    }
}

#[cfg(not(unix))]
mod unix {
    use std::{path::Path, sync::Arc, time::Duration};

    use tonic::transport::{Channel, Endpoint};

    use crate::ConnectError;

    pub(super) fn channel(
        _: &Endpoint,
        socket: Arc<Path>,
        _: Duration,
    ) -> Result<Channel, ConnectError> {
        Err(ConnectError::NoSockets {
            socket: socket.to_path_buf(),
        })
    }
}
